package tuple

import (
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// pathTokensMax bounds how deep a path of an index part goes.
const pathTokensMax = 32

// special is what a part has beyond field and type. Definitions without any such part do not look here.
type special struct {
	coll *collation // nil: bytewise
	path []token    // within the field; nil: the field itself
}

// specials compiles what parts have beyond field and type; nil if none has anything. Paths are checked.
func specials(parts []Part) []special {
	var list []special
	for i, p := range parts {
		s := special{coll: newCollation(p.Collation)}
		if p.Path != "" {
			s.path, _ = parsePath(p.Path)
		}
		if s.coll == nil && s.path == nil {
			continue
		}
		if list == nil {
			list = make([]special, len(parts))
		}
		list[i] = s
	}
	return list
}

// parsePath cuts the path of an index part into tokens. The error is 14 or 108, as NewKeyDef has them.
func parsePath(path string) ([]token, error) {
	var tokens []token
	l := pathLexer{src: []byte(path)}
	for {
		t, _ := l.next()
		switch {
		case t.kind == tokenEnd:
			return tokens, nil
		case t.kind == tokenBad:
			return nil, errcode.Newf(errcode.WrongIndexOptions, "invalid path")
		case t.kind == tokenAny:
			return nil, errcode.Newf(errcode.ModifyIndex, "multikey indexes are not supported")
		case len(tokens) == pathTokensMax:
			return nil, errcode.Newf(errcode.ModifyIndex, "the path is too deep")
		}
		tokens = append(tokens, t)
	}
}

// samePlace reports whether two checked parts are the same value of a tuple.
func samePlace(p, q Part) bool {
	if p.Field != q.Field {
		return false
	}
	if p.Path == q.Path {
		return true
	}
	a, _ := parsePath(p.Path)
	b, _ := parsePath(q.Path)
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].kind != b[i].kind || a[i].index != b[i].index || string(a[i].key) != string(b[i].key) {
			return false
		}
	}
	return true
}

// covers reports whether equal values of part p of one definition are equal for part q of another.
func (p Part) covers(q Part) bool {
	bytewise := p.Collation == CollationNone || p.Collation == CollationBinary
	return samePlace(p, q) && (bytewise || p.Collation == q.Collation)
}

// child returns the bytes of an element or of a map's value from it on, nil if there is none.
func (t *token) child(b []byte) []byte {
	switch msgpack.TypeOf(b[0]) {
	case msgpack.TypeArray:
		n, rest := msgpack.ArrayLenTrusted(b)
		if t.kind != tokenIndex || int(t.index) >= n {
			return nil
		}
		for range t.index {
			rest = msgpack.SkipTrusted(rest)
		}
		return rest
	case msgpack.TypeMap:
		if t.kind != tokenKey {
			return nil
		}
		n, rest, _ := msgpack.ReadMapLen(b)
		for range n {
			value := msgpack.SkipTrusted(rest)
			if msgpack.TypeOf(rest[0]) == msgpack.TypeStr && string(msgpack.RawTrusted(rest)) == string(t.key) {
				return value
			}
			rest = msgpack.SkipTrusted(value)
		}
	}
	return nil
}

// follow goes from a field, or nil, to where the path leads; nil if that is not there.
func (s *special) follow(b []byte) []byte {
	for i := range s.path {
		if b == nil {
			return nil
		}
		b = s.path[i].child(b)
	}
	return b
}

// value returns the bytes of part i from it on, nil if the tuple does not have it.
func (k *KeyDef) value(c *cursor, i int) []byte {
	b := c.at(k.parts[i].Field)
	if k.special != nil {
		return k.special[i].follow(b)
	}
	return b
}

// compareSpecial orders two values of part i, as compareField does for parts that are not special.
func (k *KeyDef) compareSpecial(i int, x, y []byte) int {
	if l := k.special[i].coll; l != nil && x != nil && y != nil {
		return compareCollated(l, x, y)
	}
	return compareField(&k.parts[i], x, y)
}

func (k *KeyDef) compareSpecialFrom(a, b []byte, from int) int {
	ca, cb := newCursor(a), newCursor(b)
	for i := from; i < len(k.parts); i++ {
		if r := k.compareSpecial(i, k.value(&ca, i), k.value(&cb, i)); r != 0 {
			return r
		}
	}
	return 0
}

func (k *KeyDef) compareSpecialKeyFrom(tup, key []byte, from, n int) int {
	c := newCursor(tup)
	for i := from; i < n; i++ {
		if r := k.compareSpecial(i, k.value(&c, i), key); r != 0 {
			return r
		}
		if i+1 < n {
			key = msgpack.SkipTrusted(key)
		}
	}
	return 0
}

// hintSpecial is Hint where the first part is special.
func (k *KeyDef) hintSpecial(tup []byte) uint64 {
	c := newCursor(tup)
	b := k.value(&c, 0)
	if b == nil {
		return 0
	}
	return k.valueHint(b)
}

// valueHint is the hint of a value of the first part.
func (k *KeyDef) valueHint(b []byte) uint64 {
	if k.coll == nil || msgpack.TypeOf(b[0]) != msgpack.TypeStr {
		if k.hint == hintCollated {
			return 0
		}
		return hintValue(k.hint, b)
	}
	h := k.coll.hint(msgpack.RawTrusted(b))
	if k.hint == hintCollated {
		return h
	}
	return classString<<60 | h>>4
}

// hashSpecial hashes a value of part i.
func (k *KeyDef) hashSpecial(h uint64, i int, b []byte) uint64 {
	if l := k.special[i].coll; l != nil && msgpack.TypeOf(b[0]) == msgpack.TypeStr {
		return l.hash(h, msgpack.RawTrusted(b))
	}
	return hashValue(h, b)
}
