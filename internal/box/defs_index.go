package box

import (
	"fmt"
	"strings"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

const (
	typeTree = "TREE"
	typeHash = "HASH"
	// Tarantool has these too, we do not.
	typeRTree  = "RTREE"
	typeBitset = "BITSET"

	indexIDMax = 127
	partsMax   = 255
	fieldNoMax = 32767
)

// IndexDef is a parsed row of _index.
type IndexDef struct {
	SpaceID, ID uint32
	Name        string
	Type        string
	Unique      bool
	Parts       []tuple.Part
	Key         *tuple.KeyDef

	// rawParts is the last field of the row, until check has made Parts of it.
	rawParts []byte
}

// ParseIndexRow reads a row of _index: [id, iid, name, type, opts, parts], but for the parts, whose meaning depends on the
// space.
func ParseIndexRow(row []byte) (IndexDef, error) {
	var d IndexDef
	if err := checkIndexRow(row); err != nil {
		return d, err
	}
	_, b := msgpack.ArrayLenTrusted(row)
	space := msgpack.UintTrusted(b)
	b = msgpack.SkipTrusted(b)
	id := msgpack.UintTrusted(b)
	b = msgpack.SkipTrusted(b)
	name := msgpack.RawTrusted(b)
	b = msgpack.SkipTrusted(b)
	kind := msgpack.RawTrusted(b)
	b = msgpack.SkipTrusted(b)
	d = IndexDef{SpaceID: uint32(space), ID: uint32(min(id, indexIDMax+1)), Name: string(name),
		Type: strings.ToUpper(string(kind)), Unique: true}
	var err error
	d.rawParts, err = d.parseOptions(b)
	return d, err
}

// checkIndexRow checks that a row has the fields that it must have and no others.
func checkIndexRow(row []byte) error {
	n, b, err := msgpack.ReadArrayLen(row)
	if err != nil {
		return err
	}
	want := [...]msgpack.Type{msgpack.TypeUint, msgpack.TypeUint, msgpack.TypeStr, msgpack.TypeStr, msgpack.TypeMap, msgpack.TypeArray}
	got := make([]string, 0, n)
	ok := n == len(want)
	for i := range n {
		rest, err := msgpack.Skip(b)
		if err != nil {
			return err
		}
		t := msgpack.TypeOf(b[0])
		ok = ok && t == want[i]
		got = append(got, rowTypeName(t))
		b = rest
	}
	if ok {
		return nil
	}
	return errcode.New(errcode.WrongIndexRecord, strings.Join(got, ", "),
		"space id (unsigned), index id (unsigned), name (string), type (string), options (map), parts (array)")
}

func rowTypeName(t msgpack.Type) string {
	switch t {
	case msgpack.TypeUint:
		return "unsigned"
	case msgpack.TypeInt:
		return "integer"
	case msgpack.TypeBool:
		return "boolean"
	case msgpack.TypeFloat32:
		return "float"
	case msgpack.TypeFloat64:
		return "double"
	case msgpack.TypeStr:
		return "string"
	case msgpack.TypeBin:
		return "varbinary"
	case msgpack.TypeExt:
		return "extension"
	}
	return t.String()
}

// parseOptions reads the options and returns what follows them. Those of other engines mean nothing but must be right.
func (d *IndexDef) parseOptions(b []byte) (rest []byte, err error) {
	wrong := func(text string) error { return errcode.New(errcode.WrongIndexOptions, 4, text) }
	distance := "euclid"
	pageSize, rangeSize, runs := int64(8192), int64(0), int64(2)
	ratio, fpr := 3.5, 0.05
	var function uint64
	rest, err = eachOption(b, wrong, func(key string, value []byte) (err error) {
		switch key {
		case "unique":
			d.Unique, err = boolOption(key, value, wrong)
		case "dimension", "lsn":
			_, err = intOption(key, value, wrong)
		case "distance":
			if msgpack.TypeOf(value[0]) != msgpack.TypeStr {
				return wrong("'distance' must be enum")
			}
			distance = strings.ToLower(string(msgpack.RawTrusted(value)))
		case "range_size":
			rangeSize, err = intOption(key, value, wrong)
		case "page_size":
			pageSize, err = intOption(key, value, wrong)
		case "run_count_per_level":
			runs, err = intOption(key, value, wrong)
		case "run_size_ratio":
			ratio, err = floatOption(key, value, wrong)
		case "bloom_fpr":
			fpr, err = floatOption(key, value, wrong)
		case "func":
			if function, err = uintOption(key, value, wrong); err == nil && function != 0 {
				return errcode.New(errcode.NotImplemented, "a functional index")
			}
		case "hint", "sql": // hint is of a newer Tarantool
		default:
			return wrong(fmt.Sprintf("unexpected option '%s'", key))
		}
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case distance != "euclid" && distance != "manhattan":
		return nil, wrong("distance must be either 'euclid' or 'manhattan'")
	case pageSize <= 0 || rangeSize > 0 && pageSize > rangeSize:
		return nil, wrong("page_size must be greater than 0 and less than or equal to range_size")
	case runs <= 0:
		return nil, wrong("run_count_per_level must be greater than 0")
	case ratio <= 1:
		return nil, wrong("run_size_ratio must be greater than 1")
	case fpr <= 0 || fpr > 1:
		return nil, wrong("bloom_fpr must be greater than 0 and less than or equal to 1")
	}
	return rest, nil
}

// check completes the definition for its space and refuses what an index cannot be.
func (d *IndexDef) check(sp *Space) error {
	refuse := func(text string) error { return errcode.New(errcode.ModifyIndex, d.Name, sp.Name, text) }
	if len(d.Name) > nameBytesMax {
		return errcode.New(errcode.ModifyIndex, d.Name[:shownNameBytes], sp.Name, "index name is too long")
	}
	if !tuple.IsIdentifier(d.Name) {
		return errcode.New(errcode.Identifier, d.Name)
	}
	var err error
	if d.Parts, err = tuple.ParseParts(d.rawParts); err != nil {
		return err
	}
	switch {
	case d.ID > indexIDMax:
		return refuse("index id too big")
	case d.ID == 0 && !d.Unique:
		return refuse("primary key must be unique")
	case len(d.Parts) == 0:
		return refuse("part count must be positive")
	case len(d.Parts) > partsMax:
		return refuse("too many key parts")
	}
	if err := d.checkParts(sp, refuse); err != nil {
		return err
	}
	d.Key, err = tuple.NewKeyDef(d.Parts)
	if errcode.Is(err, errcode.ModifyIndex) {
		return refuse(err.Error())
	}
	return err
}

// checkParts refuses what the parts and the type of the index do not allow together.
func (d *IndexDef) checkParts(sp *Space, refuse func(string) error) error {
	nullable := false
	for i, p := range d.Parts {
		if p.Field > fieldNoMax {
			return refuse("field no is too big")
		}
		for _, q := range d.Parts[:i] {
			if q.Field == p.Field && q.Path == p.Path {
				return refuse("same key part is indexed twice")
			}
		}
		nullable = nullable || p.Nullable
	}
	switch {
	case nullable && d.ID == 0:
		return errcode.New(errcode.NullablePrimary, sp.Name)
	case nullable && d.Type != typeTree && d.knownType():
		return errcode.New(errcode.Unsupported, d.Type, "nullable parts")
	case d.Type == typeRTree && d.Unique:
		return refuse("RTREE index can not be unique")
	case d.Type == typeBitset && d.Unique:
		return refuse("BITSET can not be unique")
	case d.Type != typeTree && d.Type != typeHash:
		return errcode.New(errcode.IndexType, d.Name, sp.Name)
	case d.Type == typeHash && !d.Unique:
		return refuse("HASH index must be unique")
	}
	for _, p := range d.Parts {
		switch p.Type {
		case tuple.Any, tuple.Array, tuple.Map:
			return refuse(fmt.Sprintf("field type '%s' is not supported", p.Type))
		}
	}
	return nil
}

// knownType tells whether Tarantool has such an index, which is what decides the error.
func (d *IndexDef) knownType() bool {
	switch d.Type {
	case typeTree, typeHash, typeBitset, typeRTree:
		return true
	}
	return false
}
