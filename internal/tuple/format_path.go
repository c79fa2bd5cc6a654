package tuple

import (
	"strconv"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
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
// an array as the path says, and not nil; but it need not be there, even if it is declared so, unless the last one must.
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
	if !at.leaf {
		at.leaf, at.nullable = true, true
		f.leaves = append(f.leaves, pathLeaf{field: p.Field, path: tokens, rule: at})
	}
	at.nullable = at.nullable && p.Nullable
	return nil
}

// pathLeaf is a value that an index part wants.
type pathLeaf struct {
	field uint32
	path  []token
	rule  *pathRule
}

// narrowRoot makes the field a map or an array and leaves it to the leaves whether it may be missing.
func (f *Format) narrowRoot(p Part, kind FieldType) error {
	err := f.narrowKind(p.Field, kind)
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

// child returns the rule of a child, nil if it has none.
func (r *pathRule) child(t token) *pathRule {
	for _, c := range r.within {
		if c.token.kind == t.kind && c.token.index == t.index && string(c.token.key) == string(t.key) {
			return c
		}
	}
	return nil
}

// enter returns the rule of a child, which it makes if there is none.
func (r *pathRule) enter(t token) *pathRule {
	if c := r.child(t); c != nil {
		return c
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

// checkTypes finds, in the order of the bytes, a value below r that has the wrong type; b is the value of r.
func (r *pathRule) checkTypes(b []byte) error {
	switch msgpack.TypeOf(b[0]) {
	case msgpack.TypeArray:
		n, rest := msgpack.ArrayLenTrusted(b)
		for i := range n {
			if err := r.checkChild(token{kind: tokenIndex, index: int32(i)}, rest); err != nil {
				return err
			}
			rest = msgpack.SkipTrusted(rest)
		}
	case msgpack.TypeMap:
		n, rest, _ := msgpack.ReadMapLen(b)
		for range n {
			value := msgpack.SkipTrusted(rest)
			if msgpack.TypeOf(rest[0]) == msgpack.TypeStr {
				if err := r.checkChild(token{kind: tokenKey, key: msgpack.RawTrusted(rest)}, value); err != nil {
					return err
				}
			}
			rest = msgpack.SkipTrusted(value)
		}
	}
	return nil
}

func (r *pathRule) checkChild(t token, v []byte) error {
	c := r.child(t)
	if c == nil {
		return nil
	}
	if bit := kindBit(v); bit&c.kind.mask() == 0 && !(bit == bitNil && c.leaf && c.nullable) {
		return errcode.New(errcode.FieldType, c.name, c.kind)
	}
	return c.checkTypes(v)
}

// checkLeaves finds a required value within the fields of a tuple that is not there.
func (f *Format) checkLeaves(tup []byte) error {
	for i := range f.leaves {
		l := &f.leaves[i]
		if l.rule.nullable {
			continue
		}
		c := newCursor(tup)
		v := c.at(l.field)
		for at := 0; v != nil && at < len(l.path); at++ {
			v = l.path[at].child(v)
		}
		if v == nil {
			return errcode.New(errcode.FieldMissing, l.rule.name)
		}
	}
	return nil
}

// isDoubleWithin tells whether an index part declares what the rest of a path leads to, inside of a field, to be double.
func (f *Format) isDoubleWithin(field int, path pathLexer) bool {
	if f == nil || f.paths[field] == nil {
		return false
	}
	r := f.paths[field]
	for path.pos < len(path.src) && r != nil {
		t, _ := path.next()
		r = r.child(t)
	}
	return r != nil && r.kind == Double
}
