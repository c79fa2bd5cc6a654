package box

import (
	"fmt"
	"math"
	"strconv"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

const (
	nameBytesMax       = 65000
	engineNameBytesMax = 16
	shownNameBytes     = 64 // of a name that is too long
)

// SpaceDef is a parsed row of _space.
type SpaceDef struct {
	ID, Owner  uint32
	Name       string
	Engine     string
	FieldCount uint32
	Temporary  bool
	Local      bool
	// Global: the rows are in the catalog of the cluster.
	Global bool
	Fields []tuple.Field
}

func (d *SpaceDef) space() *Space {
	return &Space{ID: d.ID, Owner: d.Owner, Name: d.Name, Engine: d.Engine, FieldCount: d.FieldCount,
		Temporary: d.Temporary, Local: d.Local, global: d.Global, Fields: d.Fields}
}

// ParseSpaceRow reads a row of _space: [id, owner, name, engine, field_count, flags, format]. Errors carry the numbers
// and texts that Tarantool 2.6 gives to a client that inserts such a row, and come in its order.
func ParseSpaceRow(row []byte) (SpaceDef, error) { return parseSpaceRow(row, errcode.CreateSpace) }

// parseSpaceRow makes errors about the space as a whole with the given number: 9 where it is created, 12 where it is altered.
func parseSpaceRow(row []byte, code errcode.Code) (SpaceDef, error) {
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
	if err := d.checkHead(id, code); err != nil {
		return d, err
	}
	flags := b
	if b, err = msgpack.Skip(b); err != nil {
		return d, err
	}
	if err := d.parseFormat(b, code); err != nil {
		return d, err
	}
	if err := d.parseFlags(flags, code); err != nil {
		return d, err
	}
	return d, d.checkNames()
}

func (d *SpaceDef) checkHead(id uint64, code errcode.Code) error {
	switch {
	case len(d.Name) > nameBytesMax:
		return errcode.New(code, d.Name[:shownNameBytes], "space name is too long")
	case !tuple.IsIdentifier(d.Name):
		return errcode.New(errcode.Identifier, d.Name)
	case id > 1<<31-1:
		return errcode.New(code, d.Name, "space id is too big")
	case id == 0:
		return errcode.New(code, d.Name, "space id 0 is reserved")
	case len(d.Engine) > engineNameBytesMax:
		return errcode.New(code, d.Name, "space engine name is too long")
	case !tuple.IsIdentifier(d.Engine):
		return errcode.New(errcode.Identifier, d.Engine)
	}
	return nil
}

func (d *SpaceDef) parseFlags(b []byte, code errcode.Code) error {
	wrong := func(text string) error { return errcode.New(errcode.WrongSpaceOptions, 5, text) }
	var group uint64
	var view, sync, hasSQL bool
	_, err := eachOption(b, wrong, func(key string, value []byte) (err error) {
		switch key {
		case "temporary":
			d.Temporary, err = boolOption(key, value, wrong)
		case "group_id":
			group, err = uintOption(key, value, wrong)
		case "view":
			view, err = boolOption(key, value, wrong)
		case "is_sync":
			sync, err = boolOption(key, value, wrong)
		case "defer_deletes": // of a newer Tarantool, for vinyl
			_, err = boolOption(key, value, wrong)
		case "sql":
			if hasSQL = msgpack.TypeOf(value[0]) == msgpack.TypeStr; !hasSQL {
				return wrong("'sql' must be string")
			}
		case flagDistribution:
			name, _, notStr := msgpack.ReadStr(value)
			if d.Global = notStr == nil && string(name) == distributionGlobal; !d.Global {
				return wrong("'distribution' must be 'global'")
			}
		case "checks":
		default:
			return wrong(fmt.Sprintf("unexpected option '%s'", key))
		}
		return err
	})
	d.Local = group == 1
	switch {
	case err != nil:
		return err
	case group > 1:
		return errcode.New(errcode.NoSuchGroup, strconv.FormatUint(group, 10))
	case view && !hasSQL:
		return errcode.New(errcode.ViewMissingSQL)
	case view:
		return errcode.New(errcode.NotImplemented, "a view")
	case d.Global && (d.Local || d.Temporary || sync):
		return errcode.New(code, d.Name, "a global table has no options but its distribution")
	case sync && d.Local:
		return errcode.New(code, d.Name, "local space can't be synchronous")
	}
	return nil
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

// boolOption reads the value of an option that is true or false.
func boolOption(key string, value []byte, wrong func(string) error) (bool, error) {
	v, _, err := msgpack.ReadBool(value)
	if err != nil {
		return false, wrong("'" + key + "' must be boolean")
	}
	return v, nil
}

func uintOption(key string, value []byte, wrong func(string) error) (uint64, error) {
	if msgpack.TypeOf(value[0]) != msgpack.TypeUint || msgpack.UintTrusted(value) > math.MaxUint32 {
		return 0, wrong("'" + key + "' must be unsigned")
	}
	return msgpack.UintTrusted(value), nil
}

func intOption(key string, value []byte, wrong func(string) error) (int64, error) {
	v, _, err := msgpack.ReadInt(value)
	if err != nil {
		return 0, wrong("'" + key + "' must be integer")
	}
	return v, nil
}

func floatOption(key string, value []byte, wrong func(string) error) (float64, error) {
	switch msgpack.TypeOf(value[0]) {
	case msgpack.TypeUint:
		return float64(msgpack.UintTrusted(value)), nil
	case msgpack.TypeInt:
		return float64(msgpack.IntTrusted(value)), nil
	case msgpack.TypeFloat32, msgpack.TypeFloat64:
		return msgpack.FloatTrusted(value), nil
	}
	return 0, wrong("'" + key + "' must be float")
}

func (d *SpaceDef) parseFormat(b []byte, code errcode.Code) error {
	fields, err := tuple.ParseFormat(b)
	if errcode.Is(err, errcode.CreateSpace) {
		return errcode.New(code, d.Name, err.Error())
	}
	if err != nil {
		return err
	}
	if d.FieldCount != 0 && len(fields) > int(d.FieldCount) {
		return errcode.New(code, d.Name, "exact_field_count must be either 0 or >= formatted field count")
	}
	if err := checkDefaults(b); err != nil {
		return err
	}
	d.Fields = fields
	return nil
}

func (d *SpaceDef) checkNames() error {
	seen := make(map[string]bool, len(d.Fields))
	for _, f := range d.Fields {
		if seen[f.Name] {
			return errcode.New(errcode.SpaceFieldIsDuplicate, f.Name)
		}
		seen[f.Name] = true
	}
	return nil
}

func isDictionary(id uint32) bool {
	return id == dictionary.SpaceSpace || id == dictionary.SpaceIndex || id == dictionary.SpaceTruncate ||
		id == dictionary.SpaceCKConstraint || id == dictionary.SpaceFKConstraint ||
		isSequenceSpace(id)
}
