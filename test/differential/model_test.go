package differential

import (
	"encoding/json"
	"fmt"
	"strings"

	vm "github.com/vmihailenco/msgpack/v5"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

const (
	spaceSpace    = 280
	spaceIndex    = 288
	spaceTruncate = 330
	// firstID and lastID bound the ids of the spaces that the test makes.
	firstID, lastID = 512, 517
)

// space is what the generator knows of a user space, read from the reference's dictionary.
type space struct {
	id         uint32
	name       string
	fieldCount int
	// flags are the options of the space as JSON.
	flags   string
	fields  []field
	indexes []index
	// sequence tells that one makes values for field auto.
	sequence bool
	auto     int
	// recent holds tuples that the reference showed lately: their values make keys that meet something.
	recent [][]byte
}

type field struct {
	name, kind string
	nullable   bool
}

type index struct {
	id     uint32
	name   string
	hash   bool
	unique bool
	parts  []part
}

type part struct {
	field     int
	kind      string
	nullable  bool
	path      string
	collation int
}

// nullable tells whether a part may be nil.
func (ix *index) nullable() bool {
	for _, p := range ix.parts {
		if p.nullable {
			return true
		}
	}
	return false
}

// recentMax bounds the remembered tuples of a space.
const recentMax = 24

func (s *space) remember(row []byte) {
	if len(s.recent) < recentMax {
		s.recent = append(s.recent, nil)
	}
	copy(s.recent[1:], s.recent)
	s.recent[0] = row
}

func (s *space) index(id uint32) *index {
	for i := range s.indexes {
		if s.indexes[i].id == id {
			return &s.indexes[i]
		}
	}
	return nil
}

// kindAt returns the type that field i (0-based) must have: the declared one, or the narrower one of an index.
func (s *space) kindAt(i int) (kind string, nullable bool) {
	kind, nullable = "any", true
	if i < len(s.fields) {
		kind, nullable = s.fields[i].kind, s.fields[i].nullable
	}
	for _, ix := range s.indexes {
		for _, p := range ix.parts {
			if p.field != i {
				continue
			}
			if p.path != "" {
				kind = "map"
				if p.path[0] == '[' {
					kind = "array"
				}
				continue
			}
			nullable = nullable && p.nullable
			if kind == "any" || kind == "scalar" || kind == "number" && p.kind != "scalar" {
				kind = p.kind
			}
		}
	}
	return kind, nullable
}

// within returns the index parts that lie inside of field i.
func (s *space) within(i int) []part {
	var parts []part
	for _, ix := range s.indexes {
		for _, p := range ix.parts {
			if p.field == i && p.path != "" {
				parts = append(parts, p)
			}
		}
	}
	return parts
}

// width is the number of fields that a tuple has at least, unless trailing ones may be missing.
func (s *space) width() int {
	n := len(s.fields)
	for _, ix := range s.indexes {
		for _, p := range ix.parts {
			n = max(n, p.field+1)
		}
	}
	return min(n, widthMax)
}

// widthMax bounds the fields that tuples are given.
const widthMax = 20

// readModel makes the model of what the rows of _space and _index say, keeping what was remembered of spaces.
func readModel(old map[uint32]*space, spaceRows, indexRows [][]byte) (map[uint32]*space, error) {
	model := make(map[uint32]*space)
	for _, row := range spaceRows {
		var v []any
		if err := vm.Unmarshal(row, &v); err != nil || len(v) < 7 {
			return nil, fmt.Errorf("row of _space %s: %w", shown(row), err)
		}
		s := &space{id: uint32(number(v[0])), name: fmt.Sprint(v[2]), fieldCount: number(v[4])}
		flags, err := json.Marshal(v[5])
		if err != nil {
			return nil, fmt.Errorf("row of _space %s: %w", shown(row), err)
		}
		s.flags = string(flags)
		if before := old[s.id]; before != nil {
			s.recent = before.recent
		}
		for _, f := range list(v[6]) {
			m, _ := f.(map[string]any)
			d := field{name: fmt.Sprint(m["name"]), kind: "any", nullable: m["is_nullable"] == true}
			if kind, ok := m["type"].(string); ok {
				d.kind = fullKind(kind)
			}
			s.fields = append(s.fields, d)
		}
		model[s.id] = s
	}
	for _, row := range indexRows {
		var v []any
		if err := vm.Unmarshal(row, &v); err != nil || len(v) < 6 {
			return nil, fmt.Errorf("row of _index %s: %w", shown(row), err)
		}
		s := model[uint32(number(v[0]))]
		if s == nil {
			return nil, fmt.Errorf("row of _index %s: no such space", shown(row))
		}
		s.indexes = append(s.indexes, readIndex(v))
	}
	return model, nil
}

func readIndex(v []any) index {
	ix := index{id: uint32(number(v[1])), name: fmt.Sprint(v[2]), unique: true}
	ix.hash = strings.EqualFold(fmt.Sprint(v[3]), "hash")
	if opts, ok := v[4].(map[string]any); ok && opts["unique"] == false {
		ix.unique = false
	}
	for _, p := range list(v[5]) {
		switch p := p.(type) {
		case []any:
			ix.parts = append(ix.parts, part{field: number(p[0]), kind: fullKind(fmt.Sprint(p[1]))})
		case map[string]any:
			d := part{field: number(p["field"]), kind: fullKind(fmt.Sprint(p["type"])), nullable: p["is_nullable"] == true}
			d.path, _ = p["path"].(string)
			d.collation = number(p["collation"])
			ix.parts = append(ix.parts, d)
		}
	}
	return ix
}

// firstUint reads the first field of a row, 0 if it is no small number.
func firstUint(row []byte) uint32 {
	_, b, err := msgpack.ReadArrayLen(row)
	if err != nil {
		return 0
	}
	v, _, err := msgpack.ReadUint(b)
	if err != nil {
		return 0
	}
	return uint32(v)
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

// fullKind resolves the short names of types.
func fullKind(name string) string {
	switch name = strings.ToLower(name); name {
	case "uint", "num":
		return "unsigned"
	case "int":
		return "integer"
	case "str":
		return "string"
	case "*":
		return "any"
	}
	return name
}

func number(v any) int {
	switch v := v.(type) {
	case int8:
		return int(v)
	case uint8:
		return int(v)
	case uint16:
		return int(v)
	case uint32:
		return int(v)
	case uint64:
		return int(v)
	case int64:
		return int(v)
	case int16:
		return int(v)
	case int32:
		return int(v)
	}
	return 0
}
