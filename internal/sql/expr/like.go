package expr

import (
	"bytes"
	"unicode/utf8"
)

// likeBytesMax is the longest pattern of LIKE, in bytes.
const likeBytesMax = 50000

// What a pattern or a string has at its end, and in the place of bytes that are no UTF-8.
const (
	endOfText = 0xffff
	noUTF8    = utf8.RuneError
)

// verdict is how a pattern fits: noMore tells that no later place will fit either.
type verdict uint8

const (
	fits verdict = iota
	differs
	noMore
	badPattern
)

// like is called with the pattern, the string, and the escape character if there is one.
func like(c *call) (Value, error) {
	if len(c.args) != 2 && len(c.args) != 3 {
		return wrongCount("LIKE", "2 or 3", len(c.args))
	}
	pattern, s := c.args[0], c.args[1]
	if pattern.null() || s.null() {
		return null, nil
	}
	for _, v := range c.args[:2] {
		if v.form != isText {
			return null, inconsistent("text", v.kindName())
		}
	}
	if len(pattern.bytes) > likeBytesMax {
		return null, failed("LIKE pattern is too complex")
	}
	l := matcher{escape: endOfText, same: c.order}
	if len(c.args) == 3 {
		if c.args[2].null() {
			return null, nil
		}
		e := c.args[2].raw()
		if countCharacters(e) != 1 {
			return null, failed("ESCAPE expression must be a single character")
		}
		l.escape = rune(firstCharacter(e))
	}
	if l.same == nil {
		l.same = bytes.Compare
	}
	switch l.match(pattern.bytes, s.bytes) {
	case badPattern:
		return null, failed("LIKE pattern can only contain UTF-8 characters")
	case fits:
		return boolean(true), nil
	}
	return boolean(false), nil
}

type matcher struct {
	escape rune
	same   func(a, b []byte) int
}

// step cuts the first character off a string.
func step(s []byte) (r rune, c, rest []byte) {
	if len(s) == 0 {
		return endOfText, nil, nil
	}
	r, n := utf8.DecodeRune(s)
	return r, s[:n], s[n:]
}

func (l *matcher) match(pattern, s []byte) verdict {
	for len(pattern) > 0 {
		p, pc, rest := step(pattern)
		pattern = rest
		if p == noUTF8 {
			return badPattern
		}
		if p == '%' {
			return l.matchAny(pattern, s)
		}
		escaped := p == l.escape
		if escaped {
			if p, pc, pattern = step(pattern); p == noUTF8 {
				return badPattern
			} else if p == endOfText {
				return differs
			}
		}
		r, rc, left := step(s)
		s = left
		switch {
		case r == noUTF8:
			return differs
		case l.same(pc, rc) == 0:
		case p == '_' && !escaped && r != endOfText:
		default:
			return differs
		}
	}
	if len(s) == 0 {
		return fits
	}
	return differs
}

// matchAny goes on behind a percent sign.
func (l *matcher) matchAny(pattern, s []byte) verdict {
	var p, r rune
	var pc, rc []byte
	for p = '%'; p == '%' || p == '_'; {
		if p, pc, pattern = step(pattern); p == noUTF8 {
			return badPattern
		}
		if p != '_' {
			continue
		}
		if r, _, s = step(s); r == noUTF8 {
			return differs
		} else if r == endOfText {
			return noMore
		}
	}
	if p == endOfText {
		return fits
	}
	if p == l.escape {
		if p, pc, pattern = step(pattern); p == noUTF8 {
			return badPattern
		} else if p == endOfText {
			return noMore
		}
	}
	for len(s) > 0 {
		if r, rc, s = step(s); r == noUTF8 {
			return differs
		}
		if l.same(pc, rc) != 0 {
			continue
		}
		if v := l.match(pattern, s); v != differs {
			return v
		}
	}
	return noMore
}
