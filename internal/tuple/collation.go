package tuple

import (
	"bytes"
	"encoding/binary"
	"sync"
	"unicode/utf8"

	"golang.org/x/text/collate"
	"golang.org/x/text/language"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// The collations that keys may have, by their ids in _collation. None and binary order bytewise; unicode compares
// letters, then accents, then case; unicode_ci letters alone.
const (
	CollationNone      = 0
	CollationUnicode   = 1
	CollationUnicodeCI = 2
	CollationBinary    = 3
)

// asciiMax bounds the characters whose weights are kept in tables.
const asciiMax = utf8.RuneSelf

// collation orders strings as the Unicode collation algorithm does with the root table. It is immutable but for the list
// of idle collators, which may be taken by any goroutine: a collator has working memory and serves one at a time.
//
// Nothing in ASCII contracts, expands or has an accent. So strings of ASCII alone are compared by a table, and only
// others need a collator.
type collation struct {
	foldCase bool // unicode_ci
	weights  [asciiMax]uint16
	idle     sync.Pool // of *collator
}

// collator is what one comparison with characters beyond ASCII needs.
type collator struct {
	c      *collate.Collator
	buffer collate.Buffer
}

// collatorBytesMax is the longest string after which a collator is kept: its working memory grows with the string.
const collatorBytesMax = 64 << 10

// newCollation returns the collation with the given id, nil for those that order bytewise.
func newCollation(id uint32) *collation {
	if id != CollationUnicode && id != CollationUnicodeCI {
		return nil
	}
	l := &collation{foldCase: id == CollationUnicodeCI}
	w := l.take()
	for c := range l.weights {
		w.buffer.Reset()
		key := primaries(w.c.Key(&w.buffer, []byte{byte(c)}))
		if len(key) == 2 {
			l.weights[c] = binary.BigEndian.Uint16(key)
		}
	}
	l.idle.Put(w)
	return l
}

func (l *collation) take() *collator {
	if w, ok := l.idle.Get().(*collator); ok {
		return w
	}
	if l.foldCase {
		return &collator{c: collate.New(language.Und, collate.Loose)}
	}
	return &collator{c: collate.New(language.Und)}
}

func (l *collation) put(w *collator, size int) {
	if size <= collatorBytesMax {
		l.idle.Put(w)
	}
}

// primaries cuts the weights of the first level from a sort key: of two or three bytes each, up to a zero weight. None
// of them is below 256.
func primaries(key []byte) []byte {
	n := 0
	for n+2 <= len(key) && (key[n] != 0 || key[n+1] != 0) {
		if key[n] >= 0x80 {
			n++
		}
		n += 2
	}
	return key[:min(n, len(key))]
}

// compare orders two strings: negative, 0 or positive.
func (l *collation) compare(a, b []byte) int {
	if r, ok := l.compareASCII(a, b); ok {
		return r
	}
	w := l.take()
	r := w.c.Compare(a, b)
	l.put(w, max(len(a), len(b)))
	return r
}

// compareASCII compares strings of ASCII; ok is false if there are others in them.
func (l *collation) compareASCII(a, b []byte) (r int, ok bool) {
	third := 0
	i, j := 0, 0
	for {
		for i < len(a) && j < len(b) && a[i] == b[j] && a[i] < asciiMax {
			i++
			j++
		}
		var x, y byte
		var v, w uint16
		for v == 0 && i < len(a) {
			if x = a[i]; x >= asciiMax {
				return 0, false
			}
			v = l.weights[x]
			i++
		}
		for w == 0 && j < len(b) {
			if y = b[j]; y >= asciiMax {
				return 0, false
			}
			w = l.weights[y]
			j++
		}
		if v != w {
			// A character of what follows might change the weights before it.
			return int(v) - int(w), isASCII(a[i:]) && isASCII(b[j:])
		}
		if v == 0 {
			break
		}
		if third == 0 {
			third = int(y&0x20) - int(x&0x20) // letters of one weight differ in nothing else; small ones come first
		}
	}
	if l.foldCase {
		return 0, true
	}
	return third, true
}

func isASCII(s []byte) bool {
	for len(s) >= 8 {
		if binary.LittleEndian.Uint64(s)&0x8080808080808080 != 0 {
			return false
		}
		s = s[8:]
	}
	for _, c := range s {
		if c >= asciiMax {
			return false
		}
	}
	return true
}

// hint returns the first eight bytes of the primary weights; never 0, which is nil's.
func (l *collation) hint(s []byte) uint64 {
	h := uint64(0)
	if isASCII(s) {
		n := 0
		for _, c := range s {
			if v := l.weights[c]; v != 0 {
				h |= uint64(v) << (48 - 16*n)
				if n++; n == 4 {
					break
				}
			}
		}
		return max(h, 1)
	}
	w := l.take()
	w.buffer.Reset()
	key := primaries(w.c.Key(&w.buffer, s))
	var first [8]byte
	copy(first[:], key)
	l.put(w, len(s))
	return max(binary.BigEndian.Uint64(first[:]), 1)
}

// exact reports whether strings with the same hint are equal: all weights are in it, and no other level counts.
func (l *collation) exact(h uint64) bool { return l.foldCase && h&0xffffff == 0 }

// hash mixes the primary weights into h: strings that are equal have the same.
func (l *collation) hash(h uint64, s []byte) uint64 {
	if isASCII(s) {
		return l.hashASCII(h, s)
	}
	w := l.take()
	w.buffer.Reset()
	key := primaries(w.c.Key(&w.buffer, s))
	for len(key) > 0 {
		n := 2
		if key[0] >= 0x80 {
			n = 3
		}
		n = min(n, len(key))
		v := uint64(0)
		for _, c := range key[:n] {
			v = v<<8 | uint64(c)
		}
		h = mix(h, v)
		key = key[n:]
	}
	l.put(w, len(s))
	return h
}

func (l *collation) hashASCII(h uint64, s []byte) uint64 {
	for _, c := range s {
		if v := l.weights[c]; v != 0 {
			h = mix(h, uint64(v))
		}
	}
	return h
}

// compareCollated orders two values of a part, at least one of which may be no string (in a scalar part).
func compareCollated(l *collation, x, y []byte) int {
	if msgpack.TypeOf(x[0]) == msgpack.TypeStr && msgpack.TypeOf(y[0]) == msgpack.TypeStr {
		a, b := msgpack.RawTrusted(x), msgpack.RawTrusted(y)
		if bytes.Equal(a, b) {
			return 0
		}
		return l.compare(a, b)
	}
	return compareValues(x, y)
}

// StringOrder returns how strings are compared under the collation with the given id: negative, 0 or positive. nil stands
// for the collations that order bytewise. What it returns may be called by any goroutine.
func StringOrder(id uint32) func(a, b []byte) int {
	if l := newCollation(id); l != nil {
		return l.compare
	}
	return nil
}
