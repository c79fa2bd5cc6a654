package console

import (
	"math"
	"slices"
	"strings"

	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// createSpace reads NAME [FORMAT]; FORMAT is an array of fields, or one operand NAME:TYPE for each field.
func (p *parser) createSpace(c *command) error {
	if err := p.newName(c); err != nil {
		return err
	}
	if len(p.rest) == 0 {
		return nil
	}
	if p.rest[0].kind == bracketed {
		return p.eachOf("FORMAT", func(v []byte) error { return c.addField(readField(v)) })
	}
	for len(p.rest) > 0 {
		name, kind, _ := strings.Cut(p.next().text, ":")
		kind, nullable := strings.CutSuffix(kind, "?")
		if err := c.addField(fieldDef{name: name, kind: kind, nullable: nullable}, nil); err != nil {
			return err
		}
	}
	return nil
}

// eachOf reads an array and hands over its elements.
func (p *parser) eachOf(what string, take func(v []byte) error) error {
	v, err := p.array(what)
	if err != nil {
		return err
	}
	n, b := msgpack.ArrayLenTrusted(v)
	for range n {
		if err := take(b); err != nil {
			return err
		}
		b = msgpack.SkipTrusted(b)
	}
	return nil
}

// fieldDef is what an element of a format, or of the parts of an index, says. Its name may be a number.
type fieldDef struct {
	name      string
	number    uint64
	kind      string
	nullable  bool
	collation string
}

func (c *command) addField(d fieldDef, err error) error {
	if err != nil {
		return err
	}
	if d.name == "" {
		return syntaxf("a field of the format has no name")
	}
	f := tuple.Field{Name: d.name, Nullable: d.nullable}
	if d.kind == "" {
		d.kind = "any"
	}
	var known bool
	if f.Type, known = tuple.ParseFieldType(d.kind); !known {
		return syntaxf("field %s: unknown type %s", d.name, clip(d.kind))
	}
	if d.collation != "" {
		return syntaxf("field %s: a collation is given to the parts of an index", d.name)
	}
	if slices.ContainsFunc(c.format, func(o tuple.Field) bool { return o.Name == d.name }) {
		return syntaxf("two fields have the name %s", d.name)
	}
	c.format = append(c.format, f)
	return nil
}

// readField reads "name", ["name","type"] or {"name":…,"type":…,"is_nullable":…}; numbers stand for names in parts, and
// "field" for "name".
func readField(v []byte) (d fieldDef, err error) {
	switch msgpack.TypeOf(v[0]) {
	case msgpack.TypeStr, msgpack.TypeUint:
		return d, d.nameIs(v)
	case msgpack.TypeArray:
		n, b := msgpack.ArrayLenTrusted(v)
		if n < 1 || n > 2 {
			return d, syntaxf("a field is written [name, type]")
		}
		if err = d.nameIs(b); err == nil && n == 2 {
			d.kind, err = textOf(msgpack.SkipTrusted(b), "type")
		}
		return d, err
	case msgpack.TypeMap:
		n, b, err := msgpack.ReadMapLen(v)
		for ; n > 0 && err == nil; n-- {
			var key string
			if key, err = textOf(b, "key"); err == nil {
				b = msgpack.SkipTrusted(b)
				err = d.set(key, b)
				b = msgpack.SkipTrusted(b)
			}
		}
		return d, err
	}
	return d, syntaxf("a field is a name, an array or an object")
}

func (d *fieldDef) set(key string, v []byte) (err error) {
	switch key {
	case "name", "field":
		return d.nameIs(v)
	case "type":
		d.kind, err = textOf(v, key)
	case "collation":
		d.collation, err = textOf(v, key)
	case "is_nullable":
		if d.nullable, _, err = msgpack.ReadBool(v); err != nil {
			err = syntaxf("is_nullable is true or false")
		}
	default:
		err = syntaxf("a field has no key %s", clip(key))
	}
	return err
}

func (d *fieldDef) nameIs(v []byte) (err error) {
	if msgpack.TypeOf(v[0]) == msgpack.TypeUint {
		if d.number = msgpack.UintTrusted(v); d.number == 0 || d.number > math.MaxUint32 {
			return syntaxf("fields are counted from 1")
		}
		return nil
	}
	d.name, err = textOf(v, "name")
	return err
}

func textOf(v []byte, what string) (string, error) {
	s, _, err := msgpack.ReadStr(v)
	if err != nil {
		return "", syntaxf("the %s of a field is a string", what)
	}
	return string(s), nil
}

// createIndex reads SPACE NAME [tree|hash] [unique|nonunique] PARTS; PARTS is an array, or one operand FIELD or FIELD:TYPE
// for each part.
func (p *parser) createIndex(c *command) error {
	if err := p.name(&c.space, "SPACE"); err != nil {
		return err
	}
	if err := p.newName(c); err != nil {
		return err
	}
	c.kind = "tree"
	if w, ok := p.word("tree", "hash"); ok {
		c.kind = w
	}
	w, _ := p.word("unique", "nonunique")
	c.nonunique = w == "nonunique"
	if len(p.rest) == 0 {
		return syntaxf("PARTS are missing")
	}
	if p.rest[0].kind == bracketed {
		return p.eachOf("PARTS", func(v []byte) error { return c.addPart(readField(v)) })
	}
	for len(p.rest) > 0 {
		name, kind, _ := strings.Cut(p.next().text, ":")
		var v []byte
		var err error
		if strings.Trim(name, "0123456789") == "" {
			v, err = parseValue(name)
		} else {
			v = msgpack.AppendStr(nil, name)
		}
		d := fieldDef{kind: kind}
		if err == nil {
			err = d.nameIs(v)
		}
		if err := c.addPart(d, err); err != nil {
			return err
		}
	}
	return nil
}

func (c *command) addPart(d fieldDef, err error) error {
	if err != nil {
		return err
	}
	if d.name == "" && d.number == 0 {
		return syntaxf("a part of the index names no field")
	}
	if _, known := tuple.ParseFieldType(d.kind); d.kind != "" && !known {
		return syntaxf("unknown type %s", clip(d.kind))
	}
	c.parts = append(c.parts, part{
		field: fieldRef{name: d.name, number: uint32(d.number)}, kind: d.kind, nullable: d.nullable, collation: d.collation,
	})
	return nil
}
