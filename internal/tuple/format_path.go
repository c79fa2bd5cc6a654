package tuple

import (
	"strconv"

	"github.com/lycosadb/lycosa/internal/errcode"
)

// pathRule is what index parts ask of a value within a field: the field itself is at the root of a tree of them.
type pathRule struct {
	token    token
	name     string // as error texts show it: [2]["a"][1]
	kind     FieldType
	leaf     bool // an index part is this value
	nullable bool // of a leaf
	within   []*pathRule
}

// narrowPath adds the demand of an index part that has a path. The field, and every value on the way, must be a map or
// an array as the path says; only the last one may be required.
func (f *Format) narrowPath(p Part) error {
	tokens, err := parsePath(p.Path)
	if err != nil {
		return err
	}
	if err := f.narrowRoot(p, tokens[0].holder()); err != nil {
		return err
	}
	if f.paths == nil {
		f.paths = map[int]*pathRule{}
	}
	at := f.paths[int(p.Field)]
	if at == nil {
		at = &pathRule{name: "[" + strconv.Itoa(int(p.Field)+1) + "]"}
		f.paths[int(p.Field)] = at
	}
	for i, t := range tokens {
		at = at.enter(t)
		kind := p.Type
		if i+1 < len(tokens) {
			kind = tokens[i+1].holder()
		}
		if err := at.narrow(kind); err != nil {
			return err
		}
	}
	at.nullable = p.Nullable && (at.nullable || !at.leaf)
	at.leaf = true
	return nil
}

// narrowRoot makes the field a map or an array and leaves it to the leaves whether it may be missing.
func (f *Format) narrowRoot(p Part, kind FieldType) error {
	err := f.narrow(Part{Field: p.Field, Type: kind, Nullable: true})
	if errcode.Is(err, errcode.FormatMismatchIndexPart) {
		return errcode.New(errcode.IndexPartTypeMismatch, strconv.Itoa(int(p.Field)+1), f.rules[p.Field].kind.String(), kind.String())
	}
	return err
}

// holder is the type of a value that has a child of this token.
func (t *token) holder() FieldType {
	if t.kind == tokenKey {
		return Map
	}
	return Array
}

// enter returns the rule of a child.
func (r *pathRule) enter(t token) *pathRule {
	for _, c := range r.within {
		if c.token.kind == t.kind && c.token.index == t.index && string(c.token.key) == string(t.key) {
			return c
		}
	}
	c := &pathRule{token: t}
	if t.kind == tokenKey {
		c.name = r.name + `["` + string(t.key) + `"]`
	} else {
		c.name = r.name + "[" + strconv.Itoa(int(t.index)+1) + "]"
	}
	r.within = append(r.within, c)
	return c
}

func (r *pathRule) narrow(kind FieldType) error {
	switch {
	case contains(r.kind, kind):
		r.kind = kind
	case contains(kind, r.kind):
	default:
		return errcode.New(errcode.IndexPartTypeMismatch, r.name, r.kind.String(), kind.String())
	}
	return nil
}

// checkTypes finds a value below r that is there and has the wrong type; b is the value of r, or nil.
func (r *pathRule) checkTypes(b []byte) error {
	for _, c := range r.within {
		v := below(c, b)
		if v == nil {
			continue
		}
		bit := kindBit(v)
		if bit&c.kind.mask() == 0 && (bit != bitNil || c.leaf && !c.nullable) {
			return errcode.Newf(errcode.Code(23), "Tuple field %s type does not match one required by operation: expected %s",
				c.name, c.kind)
		}
		if err := c.checkTypes(v); err != nil {
			return err
		}
	}
	return nil
}

// checkMissing finds a required value below r that is not there.
func (r *pathRule) checkMissing(b []byte) error {
	for _, c := range r.within {
		v := below(c, b)
		if v == nil && c.leaf && !c.nullable {
			return errcode.New(errcode.FieldMissing, c.name)
		}
		if err := c.checkMissing(v); err != nil {
			return err
		}
	}
	return nil
}

func below(c *pathRule, b []byte) []byte {
	if b == nil {
		return nil
	}
	return c.token.child(b)
}

// validatePaths checks what lies within fields of a tuple whose fields are checked.
func (f *Format) validatePaths(tup []byte) error {
	for _, missing := range []bool{false, true} {
		c := newCursor(tup)
		for i := range f.rules {
			r := f.paths[i]
			if r == nil {
				continue
			}
			check := r.checkTypes
			if missing {
				check = r.checkMissing
			}
			if err := check(c.at(uint32(i))); err != nil {
				return err
			}
		}
	}
	return nil
}
