package box

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

const (
	typeTree = "TREE"
	typeHash = "HASH"

	nameBytesMax = 65000
	indexIDMax   = 127
	partsMax     = 255
	fieldNoMax   = 32767
)

// SpaceDef is a parsed row of _space.
type SpaceDef struct {
	ID, Owner  uint32
	Name       string
	Engine     string
	FieldCount uint32
	Temporary  bool
	Local      bool
	Fields     []tuple.Field
}

// IndexDef is a parsed row of _index.
type IndexDef struct {
	SpaceID, ID uint32
	Name        string
	Type        string
	Unique      bool
	Parts       []tuple.Part
	Key         *tuple.KeyDef
}

func (d *SpaceDef) space() *Space {
	return &Space{ID: d.ID, Owner: d.Owner, Name: d.Name, Engine: d.Engine, FieldCount: d.FieldCount,
		Temporary: d.Temporary, Fields: d.Fields}
}

// ParseSpaceRow reads a row of _space: [id, owner, name, engine, field_count, flags, format]. Errors carry the numbers
// and texts that Tarantool 2.6 gives to a client that inserts such a row.
func ParseSpaceRow(row []byte) (SpaceDef, error) {
	var d SpaceDef
	n, b, err := msgpack.ReadArrayLen(row)
	if err != nil || n < 7 {
		return d, errcode.New(errcode.FieldMissing, fmt.Sprint(n+1))
	}
	var id, owner, count uint64
	var name, engine []byte
	if id, b, err = msgpack.ReadUint(b); err != nil {
		return d, err
	}
	if owner, b, err = msgpack.ReadUint(b); err != nil {
		return d, err
	}
	if name, b, err = msgpack.ReadStr(b); err != nil {
		return d, err
	}
	if engine, b, err = msgpack.ReadStr(b); err != nil {
		return d, err
	}
	if count, b, err = msgpack.ReadUint(b); err != nil {
		return d, err
	}
	d = SpaceDef{ID: uint32(id), Owner: uint32(owner), Name: string(name), Engine: string(engine), FieldCount: uint32(count)}
	if id > 1<<31-1 {
		return d, errcode.New(errcode.CreateSpace, d.Name, "space id is too big")
	}
	if err := checkIdentifier(d.Name); err != nil {
		return d, err
	}
	if b, err = d.parseFlags(b); err != nil {
		return d, err
	}
	return d, d.parseFormat(b)
}

func (d *SpaceDef) parseFlags(b []byte) ([]byte, error) {
	wrong := func(text string) error { return errcode.New(errcode.WrongSpaceOptions, 5, text) }
	return eachOption(b, wrong, func(key string, value []byte) (err error) {
		switch key {
		case "temporary":
			if d.Temporary, _, err = msgpack.ReadBool(value); err != nil {
				return wrong("'temporary' must be boolean")
			}
		case "group_id":
			group, _, err := msgpack.ReadUint(value)
			if err != nil || group > 1 {
				return wrong("'group_id' must be unsigned")
			}
			d.Local = group == 1
		case "view", "is_sync", "defer_deletes", "sql":
		default:
			return wrong(fmt.Sprintf("unexpected option '%s'", key))
		}
		return nil
	})
}

// eachOption visits the pairs of an options map and returns what follows the map. wrong makes the error for what is no
// option at all.
func eachOption(b []byte, wrong func(string) error, visit func(key string, value []byte) error) ([]byte, error) {
	n, b, err := msgpack.ReadMapLen(b)
	if err != nil {
		return nil, err
	}
	for range n {
		var key []byte
		if key, b, err = msgpack.ReadStr(b); err != nil {
			return nil, wrong("key must be a string")
		}
		value := b
		if b, err = msgpack.Skip(b); err != nil {
			return nil, err
		}
		if err := visit(string(key), value); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (d *SpaceDef) parseFormat(b []byte) error {
	fields, err := tuple.ParseFormat(b)
	if errcode.Is(err, errcode.CreateSpace) {
		return errcode.New(errcode.CreateSpace, d.Name, err.Error())
	}
	if err != nil {
		return err
	}
	if d.FieldCount != 0 && len(fields) > int(d.FieldCount) {
		return errcode.New(errcode.AlterSpace, d.Name, "exact_field_count must be either 0 or >= formatted field count")
	}
	seen := make(map[string]bool, len(fields))
	for _, f := range fields {
		if seen[f.Name] {
			return errcode.New(errcode.SpaceFieldIsDuplicate, f.Name)
		}
		seen[f.Name] = true
	}
	d.Fields = fields
	return nil
}

// checkIdentifier refuses names that are empty, too long, not UTF-8 or not printable.
func checkIdentifier(name string) error {
	ok := name != "" && len(name) <= nameBytesMax && utf8.ValidString(name)
	for _, r := range name {
		ok = ok && unicode.IsPrint(r)
	}
	if !ok {
		return errcode.New(errcode.Identifier, name)
	}
	return nil
}

// ParseIndexRow reads a row of _index: [id, iid, name, type, opts, parts]. The space's name is not known here: errors name
// its id until the caller puts the name in.
func ParseIndexRow(row []byte) (IndexDef, error) {
	var d IndexDef
	n, b, err := msgpack.ReadArrayLen(row)
	if err != nil || n < 6 {
		return d, errcode.New(errcode.FieldMissing, fmt.Sprint(n+1))
	}
	var space, id uint64
	var name, typ []byte
	if space, b, err = msgpack.ReadUint(b); err != nil {
		return d, err
	}
	if id, b, err = msgpack.ReadUint(b); err != nil {
		return d, err
	}
	if name, b, err = msgpack.ReadStr(b); err != nil {
		return d, err
	}
	if typ, b, err = msgpack.ReadStr(b); err != nil {
		return d, err
	}
	d = IndexDef{SpaceID: uint32(space), ID: uint32(id), Name: string(name), Type: strings.ToUpper(string(typ)), Unique: true}
	if id > indexIDMax {
		d.ID = indexIDMax + 1
	}
	if b, err = d.parseOptions(b); err != nil {
		return d, err
	}
	if n, _, err := msgpack.ReadArrayLen(b); err == nil && n == 0 {
		return d, nil // check refuses it, with the names
	}
	d.Parts, err = tuple.ParseParts(b)
	return d, err
}

func (d *IndexDef) parseOptions(b []byte) ([]byte, error) {
	wrong := func(text string) error { return errcode.New(errcode.WrongIndexOptions, 4, text) }
	return eachOption(b, wrong, func(key string, value []byte) (err error) {
		switch key {
		case "unique":
			if d.Unique, _, err = msgpack.ReadBool(value); err != nil {
				return wrong("'unique' must be boolean")
			}
		case "hint", "dimension", "distance", "range_size", "page_size", "run_count_per_level", "run_size_ratio",
			"bloom_fpr", "lsn", "sql":
		default:
			return wrong(fmt.Sprintf("unexpected option '%s'", key))
		}
		return nil
	})
}

// check completes the definition for its space and refuses what an index cannot be.
func (d *IndexDef) check(sp *Space) error {
	refuse := func(text string) error { return errcode.New(errcode.ModifyIndex, d.Name, sp.Name, text) }
	if err := checkIdentifier(d.Name); err != nil {
		return err
	}
	switch {
	case d.ID > indexIDMax:
		return refuse("index id too big")
	case len(d.Parts) == 0:
		return refuse("part count must be positive")
	case len(d.Parts) > partsMax:
		return refuse("too many key parts")
	case d.ID == 0 && !d.Unique:
		return refuse("primary key must be unique")
	case d.Type != typeTree && d.Type != typeHash:
		return errcode.New(errcode.IndexType, d.Name, sp.Name)
	case d.Type == typeHash && !d.Unique:
		return refuse("HASH index must be unique")
	}
	if err := d.checkParts(sp, refuse); err != nil {
		return err
	}
	key, err := tuple.NewKeyDef(d.Parts)
	if errcode.Is(err, errcode.ModifyIndex) {
		return refuse(err.Error())
	}
	if err != nil {
		return err
	}
	d.Key = key
	return nil
}

func (d *IndexDef) checkParts(sp *Space, refuse func(string) error) error {
	for i, p := range d.Parts {
		switch p.Type {
		case tuple.Any, tuple.Array, tuple.Map:
			return refuse(fmt.Sprintf("field type '%s' is not supported", p.Type))
		}
		if p.Field > fieldNoMax {
			return refuse("field no is too big")
		}
		if p.Nullable && d.ID == 0 {
			return errcode.New(errcode.NullablePrimary, sp.Name)
		}
		if p.Nullable && d.Type == typeHash {
			return errcode.New(errcode.Unsupported, typeHash, "nullable parts")
		}
		for _, q := range d.Parts[:i] {
			if q.Field == p.Field && q.Path == p.Path {
				return refuse("same key part is indexed twice")
			}
		}
	}
	return nil
}

func isDictionary(id uint32) bool {
	return id == dictionary.SpaceSpace || id == dictionary.SpaceIndex || id == dictionary.SpaceTruncate
}
