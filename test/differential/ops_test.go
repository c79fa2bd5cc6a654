package differential

import (
	"fmt"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// ops makes the operations of an UPDATE or UPSERT. Operations on parts of a field come before all others, and are alone in
// an UPSERT: in other places some of them end the real server.
func (g *generator) ops(s *space, base int, upsert bool) []byte {
	r := g.rand
	if chance(r, 1) {
		return g.badOps()
	}
	n := 1
	if chance(r, 40) {
		n += r.IntN(4)
	}
	if chance(r, 2) {
		n = 0
	}
	if upsert && chance(r, 10) {
		return g.op(msgpack.AppendArrayHeader(nil, 1), s, base, true)
	}
	b := msgpack.AppendArrayHeader(nil, n)
	nested := !upsert && chance(r, 25)
	for range n {
		if nested = nested && chance(r, 60); !nested && chance(r, 3) {
			b = g.badOp(b)
			continue
		}
		b = g.op(b, s, base, nested)
	}
	return b
}

var opNames = []string{"=", "=", "=", "=", "+", "+", "+", "-", "-", "&", "|", "^", ":", ":", "#", "#", "!", "!"}

func (g *generator) op(b []byte, s *space, base int, nested bool) []byte {
	r := g.rand
	name := pick(r, opNames)
	n := 3
	if name == ":" {
		n = 5
	}
	b = msgpack.AppendStr(msgpack.AppendArrayHeader(b, n), name)
	at := r.IntN(s.width() + 2)
	// Most operations leave the primary key alone, or nothing would ever be updated.
	if len(s.indexes) > 0 && at == s.indexes[0].parts[0].field && chance(r, 70) {
		at = r.IntN(s.width() + 2)
	}
	if nested {
		b = msgpack.AppendStr(b, g.path(s, at))
	} else {
		b = g.opField(b, s, base, at)
	}
	if chance(r, 3) {
		b = g.appendAny(b)
		if name == ":" {
			b = g.appendAny(g.appendAny(b))
		}
		return b
	}
	return g.opArgs(b, s, name, at)
}

// opField names field at (0-based) in one of the ways there are.
func (g *generator) opField(b []byte, s *space, base, at int) []byte {
	r := g.rand
	switch n := r.IntN(100); {
	case n < 70:
		return msgpack.AppendInt(b, int64(at+base))
	case n < 80:
		return msgpack.AppendInt(b, -1-int64(r.IntN(s.width()+2)))
	case n < 95:
		if at < len(s.fields) {
			return msgpack.AppendStr(b, s.fields[at].name)
		}
		return msgpack.AppendStr(b, fmt.Sprintf("[%d]", at+1))
	case n < 97:
		return msgpack.AppendStr(b, pick(r, []string{"", "nope", "nope.a", "[0]", "[1", "[*]", "f1[*]", ".f1", "f1.", "f1..a", "f1[\"a\"", "f1['a']", "[1].a",
			"[1][1]", "f1 ", "é", "\xff", "f1[\xff]", "[99]", "[\"f1\"]", "[-1]", "[1]a", "f1a[2]", "f2[999]"}))
	case n < 99:
		return msgpack.AppendInt(b, pick(r, []int64{-100, 100, 1 << 31, -1 << 30, -1<<31 - 1, 1<<31 - 3, 1 << 40, -1 << 63, 0}))
	}
	return g.appendAny(b)
}

// path is a JSON path that begins at field at and goes on into it.
func (g *generator) path(s *space, at int) string {
	r := g.rand
	// Paths belong into arrays and maps, if there are any.
	for range 4 {
		if kind, _ := s.kindAt(at); kind == "map" || kind == "array" || kind == "any" {
			break
		}
		at = r.IntN(s.width() + 2)
	}
	path := fmt.Sprintf("[%d]", at+1)
	if at < len(s.fields) && !chance(r, 25) {
		path = s.fields[at].name
	}
	for range 1 + r.IntN(3) {
		if chance(r, 40) {
			path += fmt.Sprintf("[%d]", 1+r.IntN(4))
			continue
		}
		if key := pick(r, []string{"a", "b", "c", "d", "new"}); chance(r, 70) {
			path += "." + key
		} else {
			path += `["` + key + `"]`
		}
	}
	return path
}

func (g *generator) opArgs(b []byte, s *space, name string, at int) []byte {
	r := g.rand
	switch name {
	case "=", "!":
		return g.fieldValue(b, s, at)
	case "+", "-":
		if kind, _ := s.kindAt(at); kind == "decimal" && chance(r, 70) {
			return g.appendDecimal(b)
		}
		if chance(r, 70) {
			return g.appendInteger(b)
		}
		return g.appendNumber(b)
	case "&", "|", "^":
		return g.appendUnsigned(b)
	case "#":
		if chance(r, 8) {
			return msgpack.AppendInt(b, pick(r, []int64{0, -1, 100, 1<<32 - 1}))
		}
		return msgpack.AppendUint(b, uint64(1+r.IntN(3)))
	}
	b = msgpack.AppendInt(b, pick(r, []int64{0, 1, 2, 3, 5, 100, -1, -2, -5, -100, 1<<31 - 1}))
	b = msgpack.AppendInt(b, pick(r, []int64{0, 1, 2, 5, 100, -1, -2, -5, -100, 1<<31 - 1, -1 << 20}))
	return appendString(r, b)
}

// badOps is something that is not a list of operations.
func (g *generator) badOps() []byte {
	switch g.rand.IntN(3) {
	case 0:
		return msgpack.AppendArrayHeader(nil, 0)
	case 1:
		b := msgpack.AppendArrayHeader(nil, 4001)
		for range 4001 {
			b = append(b, packJSON(`["=",2,1]`)...)
		}
		return b
	}
	return packJSON(`["=",1,1]`)
}

// badOp is something that is not an operation.
func (g *generator) badOp(b []byte) []byte {
	bad := []string{"[]", "[1]", `[1,1,1]`, `["="]`, `["=",1]`, `["=",1,2,3]`, `["==",1,2]`, `["",1,2]`, `["x",1,2]`, `[":",1,2]`, `[":",1,2,3]`, `["#",1]`,
		`[null,1,2]`, `["=",null,2]`, `["=",1.5,2]`, `["=",[1],2]`, `["+",1,"a"]`, `["&",1,-1]`, `["#",1,-1]`, `["#",1,0]`, `["!",1]`, `["+",1,null]`, `[":",1,"a",1,"a"]`,
		`[":",1,1,1,1]`, `[":",1,1.5,1,"a"]`, `{"a":1}`, `1`, `null`, `["|",1,1.5]`, `["*",1,1]`, `["insert",1,1]`, `["=",true,1]`, `["-","f1"]`}
	return append(b, packJSON(pick(g.rand, bad))...)
}
