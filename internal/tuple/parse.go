package tuple

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// collationIDMax is the largest id in _collation, whose rows never change.
const collationIDMax = 276

// FormatFieldsMax is how many fields a format may declare.
const FormatFieldsMax = FieldNoMax + 1

// ParseFormat reads a space format as it stands in field 7 of the rows of _space: an array of maps with name, type
// and so on; unknown keys are skipped. Errors: 141 with the text of Tarantool 2.6; or 9, then the message is the
// reason alone and the caller, who knows the space, makes the whole text of it. Whether two fields have one name is for
// the caller to see.
func ParseFormat(b []byte) ([]Field, error) {
	n, b, err := msgpack.ReadArrayLen(b)
	if err != nil {
		return nil, errBody()
	}
	if n > FormatFieldsMax {
		return nil, errcode.Newf(errcode.CreateSpace, "format has too many fields")
	}
	fields := make([]Field, n)
	for i := range fields {
		rest, err := msgpack.Skip(b)
		if err != nil {
			return nil, errBody()
		}
		if err := fields[i].parse(b, i+1); err != nil {
			return nil, err
		}
		b = rest
	}
	return fields, nil
}

// parse reads field number i (from 1) of a format; b is checked.
func (d *Field) parse(b []byte, i int) error {
	if msgpack.TypeOf(b[0]) != msgpack.TypeMap {
		return errcode.Newf(errcode.CreateSpace, "field %d is not map", i)
	}
	n, b, _ := msgpack.ReadMapLen(b)
	known := true
	for range n {
		key, rest, err := msgpack.ReadStr(b)
		if err != nil {
			return errcode.Newf(errcode.CreateSpace, "field %d format is not map with string keys", i)
		}
		o := option{key: string(key), value: rest}
		switch o.key {
		case "name":
			d.Name = o.str()
		case "type":
			d.Type, known = parseStoredType(o.enum())
		case "is_nullable":
			d.Nullable = o.boolean()
		case "nullable_action":
			d.OnNil = parseNilAction(o.enum())
		case "collation":
			d.Collation = o.unsigned()
		case "default": // for SQL alone
			o.str()
		}
		if o.bad != "" {
			return errcode.New(errcode.WrongSpaceFormat, i, o.bad)
		}
		b = msgpack.SkipTrusted(rest)
	}
	return d.check(i, known)
}

// check refuses what makes no sense together, in the order of Tarantool 2.6.
func (d *Field) check(i int, knownType bool) error {
	switch {
	case d.Name == "":
		return errcode.Newf(errcode.CreateSpace, "field %d name is not specified", i)
	case len(d.Name) > 65000:
		return errcode.Newf(errcode.CreateSpace, "field %d name is too long", i)
	case !IsIdentifier(d.Name):
		return errcode.New(errcode.Identifier, d.Name)
	case !knownType:
		return errcode.Newf(errcode.CreateSpace, "field %d has unknown field type", i)
	case d.OnNil == nilUnknown:
		return errcode.Newf(errcode.CreateSpace, "field %d has unknown field on conflict nullable action", i)
	case !d.OnNil.agrees(d.Nullable):
		return errcode.Newf(errcode.CreateSpace, "field %d has conflicting nullability and nullable action properties", i)
	case d.Collation != 0 && d.Type != String && d.Type != Scalar && d.Type != Any:
		return errcode.Newf(errcode.CreateSpace, "collation is reasonable only for string, scalar and any fields")
	case d.Collation > collationIDMax:
		return errcode.New(errcode.WrongCollationOptions, i, "collation was not found by ID")
	}
	return nil
}

// IsIdentifier tells whether Tarantool 2.6 takes a name: it is not empty, UTF-8, and each character is assigned, no control
// character and no separator of lines or paragraphs.
func IsIdentifier(name string) bool {
	for _, r := range name {
		if r == utf8.RuneError || !unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Zs, unicode.Cf, unicode.Co) {
			return false
		}
	}
	return name != ""
}

// option is one pair of an options map; bad says what is wrong with the value.
type option struct {
	key   string
	value []byte
	bad   string
}

func (o *option) want(ok bool, kind string) bool {
	if !ok {
		o.bad = "'" + o.key + "' must be " + kind
	}
	return ok
}

func (o *option) str() string {
	if !o.want(msgpack.TypeOf(o.value[0]) == msgpack.TypeStr, "string") {
		return ""
	}
	return string(msgpack.RawTrusted(o.value))
}

func (o *option) enum() string {
	if !o.want(msgpack.TypeOf(o.value[0]) == msgpack.TypeStr, "enum") {
		return ""
	}
	return string(msgpack.RawTrusted(o.value))
}

func (o *option) boolean() bool {
	o.want(msgpack.TypeOf(o.value[0]) == msgpack.TypeBool, "boolean")
	return o.value[0] == 0xc3
}

func (o *option) unsigned() uint32 {
	v, _, err := msgpack.ReadUint(o.value)
	if !o.want(err == nil && msgpack.TypeOf(o.value[0]) == msgpack.TypeUint && v < 1<<32, "unsigned") {
		return 0
	}
	return uint32(v)
}

// parseStoredType finds a type by name as rows may have it: in any case. Of the short names rows have only some, as in
// Tarantool: the others are for its Lua interface, which stores the full name.
func parseStoredType(name string) (FieldType, bool) {
	switch name = strings.ToLower(name); name {
	case "uint", "int":
		return Any, false
	}
	return ParseFieldType(name)
}

// EncodeFormat appends a space format as ParseFormat reads it, with the pairs in Tarantool's usual order: name, type,
// then is_nullable and collation if they say something.
func EncodeFormat(dst []byte, fields []Field) []byte {
	dst = msgpack.AppendArrayHeader(dst, len(fields))
	for _, d := range fields {
		n := 2
		if d.Nullable {
			n++
		}
		if d.Collation != 0 {
			n++
		}
		dst = msgpack.AppendMapHeader(dst, n)
		dst = msgpack.AppendStr(msgpack.AppendStr(dst, "name"), d.Name)
		dst = msgpack.AppendStr(msgpack.AppendStr(dst, "type"), d.Type.String())
		if d.Nullable {
			dst = msgpack.AppendBool(msgpack.AppendStr(dst, "is_nullable"), true)
		}
		if d.Collation != 0 {
			dst = msgpack.AppendUint(msgpack.AppendStr(dst, "collation"), uint64(d.Collation))
		}
	}
	return dst
}

// ParseParts reads index parts as they stand in field 6 of the rows of _index, in both forms: [[0, "unsigned"], …]
// and [{field = 0, type = "unsigned", is_nullable = true}, …]. Errors: 107 and 108 with the texts of Tarantool 2.6.
// Whether the parts make an index is for NewKeyDef to say.
func ParseParts(b []byte) ([]Part, error) {
	n, b, err := msgpack.ReadArrayLen(b)
	if err != nil {
		return nil, errBody()
	}
	if n == 0 {
		return nil, nil
	}
	parts := make([]Part, n)
	maps := msgpack.TypeOf(b[0]) != msgpack.TypeArray
	for i := range parts {
		rest, err := msgpack.Skip(b)
		if err != nil {
			return nil, errBody()
		}
		if maps {
			err = parts[i].parseMap(b, i+1)
		} else {
			err = parts[i].parsePair(b)
		}
		if err != nil {
			return nil, err
		}
		b = rest
	}
	for i, p := range parts {
		if p.Collation > collationIDMax {
			return nil, errcode.New(errcode.WrongIndexOptions, i+1, "collation was not found by ID")
		}
	}
	return parts, nil
}

func (p *Part) parsePair(b []byte) error {
	wrong := func(text string) error {
		return errcode.New(errcode.WrongIndexParts, text)
	}
	if msgpack.TypeOf(b[0]) != msgpack.TypeArray {
		return wrong("expected an array")
	}
	n, b := msgpack.ArrayLenTrusted(b)
	switch {
	case n < 1:
		return wrong("expected a non-empty array")
	case n < 2:
		return wrong("a field type is missing")
	case msgpack.TypeOf(b[0]) != msgpack.TypeUint:
		return wrong("field id must be an integer")
	}
	p.Field = uint32(min(msgpack.UintTrusted(b), 1<<31))
	b = msgpack.SkipTrusted(b)
	if msgpack.TypeOf(b[0]) != msgpack.TypeStr {
		return wrong("field type must be a string")
	}
	t, ok := parseStoredType(string(msgpack.RawTrusted(b)))
	if !ok {
		return wrong("unknown field type")
	}
	p.Type = t
	return nil
}

// parseMap reads part number i (from 1); b is checked.
func (p *Part) parseMap(b []byte, i int) error {
	wrong := func(text string) error { return errcode.New(errcode.WrongIndexOptions, i, text) }
	if msgpack.TypeOf(b[0]) != msgpack.TypeMap {
		return wrong("index part is expected to be a map")
	}
	typeName, order := "", "asc"
	n, b, _ := msgpack.ReadMapLen(b)
	for range n {
		key, rest, err := msgpack.ReadStr(b)
		if err != nil {
			return wrong("key must be a string")
		}
		o := option{key: string(key), value: rest}
		switch o.key {
		case "field":
			p.Field = o.unsigned()
		case "type":
			typeName = o.enum()
		case "is_nullable":
			p.Nullable = o.boolean()
		case "nullable_action":
			p.OnNil = parseNilAction(o.enum())
		case "collation":
			p.Collation = o.unsigned()
		case "path":
			p.Path = o.str()
		case "exclude_null":
			p.ExcludeNull = o.boolean()
		case "sort_order":
			order = strings.ToLower(o.enum())
		default:
			return wrong("unexpected option '" + o.key + "'")
		}
		if o.bad != "" {
			return wrong(o.bad)
		}
		b = msgpack.SkipTrusted(rest)
	}
	t, ok := parseStoredType(typeName)
	switch {
	case !ok:
		return wrong("index part: unknown field type")
	case p.Collation != 0 && t != String && t != Scalar:
		return wrong("collation is reasonable only for string and scalar parts")
	case !p.OnNil.agrees(p.Nullable):
		return wrong("index part: conflicting nullability and nullable action properties")
	case order != "asc" && order != "desc":
		return wrong("index part: unknown sort order")
	}
	if _, err := parsePath(p.Path); errcode.Is(err, errcode.WrongIndexOptions) {
		return wrong("invalid path")
	}
	p.Type, p.Descending = t, order == "desc"
	return nil
}

// EncodeParts appends index parts as ParseParts reads them: in the short form where the parts say no more than field
// and type, else as maps.
func EncodeParts(dst []byte, parts []Part) []byte {
	dst = msgpack.AppendArrayHeader(dst, len(parts))
	plain := true
	for _, p := range parts {
		plain = plain && !p.Nullable && !p.ExcludeNull && p.Collation == 0 && p.Path == "" && !p.Descending
	}
	for _, p := range parts {
		if plain {
			dst = msgpack.AppendUint(msgpack.AppendArrayHeader(dst, 2), uint64(p.Field))
			dst = msgpack.AppendStr(dst, p.Type.String())
			continue
		}
		dst = p.appendMap(dst)
	}
	return dst
}

func (p *Part) appendMap(dst []byte) []byte {
	n := 2
	for _, set := range []bool{p.Nullable, p.ExcludeNull, p.Collation != 0, p.Path != "", p.Descending} {
		if set {
			n++
		}
	}
	dst = msgpack.AppendMapHeader(dst, n)
	dst = msgpack.AppendUint(msgpack.AppendStr(dst, "field"), uint64(p.Field))
	dst = msgpack.AppendStr(msgpack.AppendStr(dst, "type"), p.Type.String())
	if p.Nullable {
		dst = msgpack.AppendBool(msgpack.AppendStr(dst, "is_nullable"), true)
	}
	if p.ExcludeNull {
		dst = msgpack.AppendBool(msgpack.AppendStr(dst, "exclude_null"), true)
	}
	if p.Collation != 0 {
		dst = msgpack.AppendUint(msgpack.AppendStr(dst, "collation"), uint64(p.Collation))
	}
	if p.Path != "" {
		dst = msgpack.AppendStr(msgpack.AppendStr(dst, "path"), p.Path)
	}
	if p.Descending {
		dst = msgpack.AppendStr(msgpack.AppendStr(dst, "sort_order"), "desc")
	}
	return dst
}
