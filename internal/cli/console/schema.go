package console

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// userSpaceMin is the first number of a space that is not of the system.
const userSpaceMin = 512

// space is what a row of _vspace and the rows of _vindex say.
type space struct {
	id      uint32
	name    string
	engine  string
	fields  []tuple.Field
	indexes []index
}

type index struct {
	id     uint32
	name   string
	kind   string
	unique bool
	parts  []tuple.Part
}

// schema is what the user may see of the server's schema at one version.
type schema struct {
	version uint64
	spaces  []space // sorted by id
}

// newSchema reads the replies to a select of all of _vspace and of all of _vindex. Rows that do not look like one are
// left out: names serve for convenience, numbers work without them.
func newSchema(version uint64, spaces, indexes []byte) *schema {
	s := &schema{version: version}
	eachRow(spaces, func(row []byte) {
		id, name := uintAt(row, 0), textAt(row, 2)
		if name == "" {
			return
		}
		sp := space{id: uint32(id), name: name, engine: textAt(row, 3)}
		if f := tuple.FieldAt(row, 6); f != nil {
			sp.fields, _ = tuple.ParseFormat(f)
		}
		s.spaces = append(s.spaces, sp)
	})
	slices.SortFunc(s.spaces, func(a, b space) int { return cmp.Compare(a.id, b.id) })
	eachRow(indexes, func(row []byte) {
		sp := s.byID(uint32(uintAt(row, 0)))
		if sp == nil {
			return
		}
		ix := index{id: uint32(uintAt(row, 1)), name: textAt(row, 2), kind: textAt(row, 3), unique: uniqueOption(tuple.FieldAt(row, 4))}
		if f := tuple.FieldAt(row, 5); f != nil {
			ix.parts, _ = tuple.ParseParts(f)
		}
		sp.indexes = append(sp.indexes, ix)
	})
	return s
}

// eachRow calls a function for each array of an array of arrays.
func eachRow(data []byte, visit func(row []byte)) {
	n, b, err := msgpack.ReadArrayLen(data)
	if err != nil {
		return
	}
	for range n {
		row := b[:msgpack.SizeTrusted(b)]
		if b = b[len(row):]; msgpack.TypeOf(row[0]) == msgpack.TypeArray {
			visit(row)
		}
	}
}

func uintAt(row []byte, field int) uint64 {
	if f := tuple.FieldAt(row, field); f != nil {
		v, _, _ := msgpack.ReadUint(f)
		return v
	}
	return 0
}

func textAt(row []byte, field int) string {
	if f := tuple.FieldAt(row, field); f != nil {
		v, _, _ := msgpack.ReadStr(f)
		return string(v)
	}
	return ""
}

// uniqueOption reads the option of an index, which is unique unless it says otherwise.
func uniqueOption(opts []byte) bool {
	if opts == nil {
		return true
	}
	n, b, err := msgpack.ReadMapLen(opts)
	for ; err == nil && n > 0; n-- {
		key, value, errKey := msgpack.ReadStr(b)
		if errKey != nil {
			return true
		}
		if string(key) == "unique" {
			unique, _, err := msgpack.ReadBool(value)
			return unique || err != nil
		}
		b = msgpack.SkipTrusted(value)
	}
	return true
}

func (s *schema) byID(id uint32) *space {
	at, found := slices.BinarySearchFunc(s.spaces, id, func(sp space, id uint32) int { return cmp.Compare(sp.id, id) })
	if !found {
		return nil
	}
	return &s.spaces[at]
}

// space finds a space. One that is named by number need not be known.
func (s *schema) space(n name) (*space, error) {
	if n.byID {
		if sp := s.byID(n.id); sp != nil {
			return sp, nil
		}
		return &space{id: n.id, name: strconv.FormatUint(uint64(n.id), 10)}, nil
	}
	for i := range s.spaces {
		if s.spaces[i].name == n.text {
			return &s.spaces[i], nil
		}
	}
	return nil, errcode.New(errcode.NoSuchSpace, n.text)
}

// index finds the number of an index.
func (sp *space) index(n name) (uint32, error) {
	if n.byID {
		return n.id, nil
	}
	for _, ix := range sp.indexes {
		if ix.name == n.text {
			return ix.id, nil
		}
	}
	return 0, errcode.New(errcode.NoSuchIndexName, n.text, sp.name)
}

// columns are the names of the space's fields.
func (sp *space) columns() []string {
	names := make([]string, len(sp.fields))
	for i, f := range sp.fields {
		names[i] = f.Name
	}
	return names
}

// fieldName names a field by its number from 0.
func (sp *space) fieldName(number uint32) string {
	if int(number) < len(sp.fields) {
		return sp.fields[number].Name
	}
	return strconv.FormatUint(uint64(number)+1, 10)
}

// freeID returns the first number from `from` on that no known space has.
func (s *schema) freeID(from uint32) uint32 {
	for s.byID(from) != nil {
		from++
	}
	return from
}

// names serve completion.
type names struct {
	spaces  []string
	indexes map[string][]string // by the name of the space
}

func (s *schema) names() names {
	n := names{indexes: map[string][]string{}}
	for _, sp := range s.spaces {
		n.spaces = append(n.spaces, sp.name)
		for _, ix := range sp.indexes {
			n.indexes[sp.name] = append(n.indexes[sp.name], ix.name)
		}
	}
	return n
}
