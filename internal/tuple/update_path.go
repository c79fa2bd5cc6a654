package tuple

import (
	"bytes"
	"unicode"
	"unicode/utf8"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// A JSON path is a.b["c"][1]: names and numbers, counted from 1.
type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenIndex
	tokenKey
	tokenAny // [*]
	tokenBad
)

type token struct {
	kind  tokenKind
	index int32 // from 0
	key   []byte
}

// pathLexer cuts a path into tokens. seen counts characters, for error texts.
type pathLexer struct {
	src  []byte
	pos  int
	seen int
}

// next returns the next token; of a bad one also the position of the character that is wrong, from 1.
func (l *pathLexer) next() (token, int) {
	if l.pos == len(l.src) {
		return token{}, 0
	}
	start := l.pos
	c, ok := l.symbol()
	switch {
	case !ok:
		return token{kind: tokenBad}, l.seen + 1
	case c == '[':
		return l.bracket()
	case c == '.':
		if l.pos == len(l.src) {
			return token{kind: tokenBad}, l.seen + 1
		}
		return l.identifier()
	case start != 0:
		return token{kind: tokenBad}, l.seen
	}
	l.pos, l.seen = start, 0
	return l.identifier()
}

// symbol reads one character.
func (l *pathLexer) symbol() (rune, bool) {
	c, n := utf8.DecodeRune(l.src[l.pos:])
	if c == utf8.RuneError && n <= 1 {
		return 0, false
	}
	l.pos += n
	l.seen++
	return c, true
}

func (l *pathLexer) bracket() (t token, at int) {
	if l.pos == len(l.src) {
		return token{kind: tokenBad}, l.seen
	}
	switch c := l.src[l.pos]; c {
	case '"', '\'':
		t, at = l.quoted(rune(c))
	case '*':
		l.pos++
		l.seen++
		t.kind = tokenAny
	default:
		t, at = l.number()
	}
	if t.kind == tokenBad {
		return t, at
	}
	if l.pos == len(l.src) || l.src[l.pos] != ']' {
		return token{kind: tokenBad}, l.seen + 1
	}
	l.pos++
	l.seen++
	return t, 0
}

func (l *pathLexer) quoted(quote rune) (token, int) {
	l.pos++
	l.seen++
	start := l.pos
	for {
		c, ok := l.symbol()
		if !ok {
			return token{kind: tokenBad}, l.seen + 1
		}
		if c != quote {
			continue
		}
		if l.pos-1 == start {
			return token{kind: tokenBad}, l.seen
		}
		return token{kind: tokenKey, key: l.src[start : l.pos-1]}, 0
	}
}

func (l *pathLexer) number() (token, int) {
	start, v := l.pos, int64(0)
	for l.pos < len(l.src) && l.src[l.pos] >= '0' && l.src[l.pos] <= '9' {
		v = min(v*10+int64(l.src[l.pos]-'0'), 1<<31)
		l.pos++
	}
	if v == 0 {
		return token{kind: tokenBad}, l.seen + 1
	}
	l.seen += l.pos - start
	return token{kind: tokenIndex, index: int32(v - 1)}, 0
}

func (l *pathLexer) identifier() (token, int) {
	start := l.pos
	for l.pos < len(l.src) {
		before := l.pos
		c, ok := l.symbol()
		if !ok || !(c == '_' || unicode.IsLetter(c) || before > start && unicode.IsDigit(c)) {
			if before == start {
				return token{kind: tokenBad}, max(l.seen, 1)
			}
			if ok {
				l.pos = before
				l.seen--
			}
			break
		}
	}
	return token{kind: tokenKey, key: l.src[start:l.pos]}, 0
}

// place is where in a field's value a path leads.
type place struct {
	parent     int // start of the array or map that holds the target
	parentEnd  int
	index      int    // of the target in its parent (pairs count as one)
	start, end int    // the value; both at the end of the parent if there is none yet
	keyStart   int    // of a map's pair
	key        []byte // last token, for a new pair of a map; nil if it was an index
	found      bool
}

// locate follows the rest of the path through v. Only the last step of = and ! may lead to something that is not there yet.
func (op *operation) locate(v []byte, l pathLexer) (p place, err error) {
	p.end, p.found = len(v), true
	for {
		t, at := l.next()
		switch t.kind {
		case tokenEnd:
			return p, nil
		case tokenBad:
			return p, op.errPath(at)
		case tokenAny:
			return p, op.errPath(l.seen - 1)
		}
		if p.step(v, t) {
			continue
		}
		if last, at := l.next(); last.kind == tokenBad {
			return p, op.errPath(at)
		} else if last.kind != tokenEnd || op.code != '=' && op.code != '!' {
			return p, op.errNoField()
		}
		return p, op.checkNew(v, p, t)
	}
}

// step goes from the value at p to one of its elements; false if it has no such element.
func (p *place) step(v []byte, t token) bool {
	parent, end := p.start, p.end
	*p = place{parent: parent, parentEnd: end, start: end, end: end, keyStart: end, key: t.key}
	b := v[parent:end]
	switch {
	case msgpack.TypeOf(b[0]) == msgpack.TypeArray && t.kind == tokenIndex:
		n, rest := msgpack.ArrayLenTrusted(b)
		p.index = min(int(t.index), n)
		if int(t.index) >= n {
			return false
		}
		for range t.index {
			rest = msgpack.SkipTrusted(rest)
		}
		p.start = end - len(rest)
	case msgpack.TypeOf(b[0]) == msgpack.TypeMap:
		n, rest, _ := msgpack.ReadMapLen(b)
		for ; n > 0 && !keyIs(rest, t); n-- {
			rest = msgpack.SkipTrusted(msgpack.SkipTrusted(rest))
		}
		if n == 0 {
			return false
		}
		p.keyStart = end - len(rest)
		p.start = end - len(msgpack.SkipTrusted(rest))
	default:
		return false
	}
	p.end = p.start + msgpack.SizeTrusted(v[p.start:])
	p.found = true
	return true
}

// keyIs reports whether the map key at b is the one that t names.
func keyIs(b []byte, t token) bool {
	if t.kind == tokenIndex {
		i, _, err := msgpack.ReadInt(b)
		return err == nil && i == int64(t.index)+1
	}
	return msgpack.TypeOf(b[0]) == msgpack.TypeStr && bytes.Equal(msgpack.RawTrusted(b), t.key)
}

// checkNew checks that the missing element t may be added to its parent.
func (op *operation) checkNew(v []byte, p place, t token) error {
	kind := msgpack.TypeOf(v[p.parent])
	if t.kind == tokenKey {
		if kind != msgpack.TypeMap {
			return errcode.New(errcode.UpdateField, op.name(), "can not access by key a non-map field")
		}
		return nil
	}
	if kind != msgpack.TypeArray {
		return errcode.New(errcode.UpdateField, op.name(), "can not access by index a non-array field")
	}
	if int(t.index) > p.index {
		return op.errNoField()
	}
	return nil
}

// rewrite returns v with the operation applied at p.
func (op *operation) rewrite(v []byte, p place) ([]byte, error) {
	out := make([]byte, 0, len(v)+len(op.value)+len(p.key)+16)
	switch {
	case op.code == '!' || op.code == '=' && !p.found:
		return op.rewriteInsert(out, v, p)
	case op.code == '#':
		return op.rewriteDelete(out, v, p)
	case op.code == '=':
		out = append(append(out, v[:p.start]...), op.value...)
	default:
		var err error
		if out, err = op.compute(append(out, v[:p.start]...), v[p.start:]); err != nil {
			return nil, err
		}
	}
	return append(out, v[p.end:]...), nil
}

// rewriteInsert adds an element before the place in an array, or a pair in front of a map.
func (op *operation) rewriteInsert(out, v []byte, p place) ([]byte, error) {
	out = append(out, v[:p.parent]...)
	b := v[p.parent:]
	if msgpack.TypeOf(b[0]) == msgpack.TypeArray {
		n, rest := msgpack.ArrayLenTrusted(b)
		out = msgpack.AppendArrayHeader(out, n+1)
		out = append(out, rest[:p.start-len(v)+len(rest)]...)
		out = append(out, op.value...)
		return append(out, v[p.start:]...), nil
	}
	if p.found {
		return nil, errcode.New(errcode.UpdateField, op.name(), "the key exists already")
	}
	n, rest, _ := msgpack.ReadMapLen(b)
	out = msgpack.AppendStrBytes(msgpack.AppendMapHeader(out, n+1), p.key)
	return append(append(out, op.value...), rest...), nil
}

func (op *operation) rewriteDelete(out, v []byte, p place) ([]byte, error) {
	out = append(out, v[:p.parent]...)
	b := v[p.parent:]
	if msgpack.TypeOf(b[0]) == msgpack.TypeArray {
		n, rest := msgpack.ArrayLenTrusted(b)
		count := int(min(op.uint, uint64(n-p.index)))
		out = msgpack.AppendArrayHeader(out, n-count)
		out = append(out, rest[:p.start-len(v)+len(rest)]...)
		tail := v[p.start:]
		for range count {
			tail = msgpack.SkipTrusted(tail)
		}
		return append(out, tail...), nil
	}
	if op.uint != 1 {
		return nil, errcode.New(errcode.UpdateField, op.name(), "can delete only 1 field from a map in a row")
	}
	n, rest, _ := msgpack.ReadMapLen(b)
	out = msgpack.AppendMapHeader(out, n-1)
	out = append(out, rest[:p.keyStart-len(v)+len(rest)]...)
	return append(out, v[p.end:]...), nil
}
