package differential

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// ops makes the operations of an UPDATE or UPSERT. Operations on parts of a field come before all others, and are alone in
// an UPSERT: in other places some of them end the real server.
func (g *generator) ops(s *space, base int, upsert bool) []byte {
	r := g.rand
	if chance(r, 1) {
		return g.badOps()
	}
	g.paths = nil
	if chance(r, 30) {
		g.paths = g.somePaths(s, upsert)
	}
	n := len(g.paths)
	if n == 0 || !upsert && chance(r, 30) {
		n++
		if chance(r, 40) {
			n += r.IntN(4)
		}
	}
	if chance(r, 2) {
		n = 0
	}
	g.alone, g.upsert = n == 1, upsert
	b := msgpack.AppendArrayHeader(nil, n)
	for i := range n {
		switch {
		case i < len(g.paths):
			b = g.op(b, s, base, &g.paths[i])
		case chance(r, 3):
			b = g.badOp(b)
		default:
			b = g.op(b, s, base, nil)
		}
	}
	return b
}

var opNames = []string{"=", "=", "=", "=", "+", "+", "+", "-", "-", "&", "|", "^", ":", ":", "#", "#", "!", "!"}

// op makes an operation on a random field, or on what a path leads to, that mostly fits what is there.
func (g *generator) op(b []byte, s *space, base int, way *target) []byte {
	r := g.rand
	at := r.IntN(s.width() + 2)
	// Most operations leave the primary key alone, or nothing would ever be updated.
	if len(s.indexes) > 0 && at == s.indexes[0].parts[0].field && chance(r, 80) {
		at = r.IntN(s.width() + 2)
	}
	kind, _ := s.kindAt(at)
	if way != nil {
		kind = way.kind()
	}
	name := pick(r, opNames)
	if fitting := opsOf[kind]; fitting != nil && chance(r, 80) {
		name = pick(r, fitting)
	}
	n := 3
	if name == ":" {
		n = 5
	}
	b = msgpack.AppendStr(msgpack.AppendArrayHeader(b, n), name)
	if way != nil {
		b = msgpack.AppendStr(b, way.path)
	} else {
		b = g.opField(b, s, base, at)
	}
	if chance(r, 3) && name != "#" {
		b = g.appendAny(b)
		if name == ":" {
			b = g.appendAny(g.appendAny(b))
		}
		return b
	}
	if way != nil && (name == "=" || name == "!") {
		return g.appendAny(b)
	}
	return g.opArgs(b, s, name, at)
}

// opsOf lists the operations that a value of a type takes.
var opsOf = map[string][]string{
	"unsigned": {"=", "+", "+", "-", "&", "|", "^"}, "integer": {"=", "+", "-", "+", "-", "|"}, "number": {"=", "+", "-"}, "double": {"=", "+", "-"},
	"decimal": {"=", "+", "-"}, "string": {"=", ":", ":"}, "array": {"=", "=", "!"}, "map": {"=", "=", "!"},
}

// opField names field at (0-based) in one of the ways there are.
func (g *generator) opField(b []byte, s *space, base, at int) []byte {
	r := g.rand
	switch n := r.IntN(100); {
	case n < 70:
		return msgpack.AppendInt(b, int64(at+base))
	case n < 80 && (g.alone || !g.upsert): // 2.6 counts from the end before it knows which operations of an UPSERT will fail
		return msgpack.AppendInt(b, -1-int64(r.IntN(s.width()+2)))
	case n < 95:
		if at < len(s.fields) {
			return msgpack.AppendStr(b, s.fields[at].name)
		}
		return msgpack.AppendStr(b, fmt.Sprintf("[%d]", at+1))
	case n < 97 && g.alone:
		return msgpack.AppendStr(b, pick(r, []string{"", "nope", "nope.a", "[0]", "[1", "[*]", "f1[*]", ".f1", "f1.", "f1..a", "f1[\"a\"", "f1['a']", "[1].a",
			"[1][1]", "f1 ", "é", "\xff", "f1[\xff]", "[99]", "[\"f1\"]", "[-1]", "[1]a", "f1a[2]", "f2[999]"}))
	case n < 99:
		return msgpack.AppendInt(b, pick(r, []int64{-100, 100, 1 << 31, -1 << 30, -1<<31 - 1, 1<<31 - 3, 1 << 40, -1 << 63, 0}))
	}
	return append(b, packJSON(pick(r, []string{"null", "true", "1.5", "[1]", "{}"}))...)
}

// somePaths makes JSON paths that begin at fields and go on into them, mostly to something that was seen in a tuple. All are
// written in one manner, and none goes on where another ends: 2.6 tells the manners apart where it has opened a value, and
// cannot go on inside of what it has just set.
func (g *generator) somePaths(s *space, one bool) []target {
	r := g.rand
	quoted := chance(r, 25)
	var tup []byte
	if len(s.recent) > 0 && !chance(r, 10) {
		tup = pick(r, s.recent)
	}
	n := 1
	if !one {
		n += r.IntN(5)
	}
	at := g.deepField(s, tup)
	var paths []target
	for range n {
		if chance(r, 20) {
			at = g.deepField(s, tup)
		}
		path := fmt.Sprintf("[%d]", at+1)
		if at < len(s.fields) && isPlainName(s.fields[at].name) {
			path = s.fields[at].name
		}
		rest, value := g.walk(fieldOf(tup, at), quoted)
		path += rest
		if !slices.ContainsFunc(paths, func(t target) bool { return len(path) > len(t.path) && strings.HasPrefix(path, t.path) }) {
			paths = append(paths, target{path, value})
		}
	}
	return paths
}

// target is a path with the value that it leads to, nil if nothing is there.
type target struct {
	path  string
	value []byte
}

func (t *target) kind() string {
	if t.value == nil {
		return "map"
	}
	switch msgpack.TypeOf(t.value[0]) {
	case msgpack.TypeUint:
		return "unsigned"
	case msgpack.TypeInt:
		return "integer"
	case msgpack.TypeFloat32, msgpack.TypeFloat64:
		return "double"
	case msgpack.TypeStr:
		return "string"
	}
	return "any"
}

// isPlainName tells whether a path may begin with the name.
func isPlainName(name string) bool { return len(name) == 2 && name[0] == 'f' }

// deepField picks a field that holds an array or a map, if there is one.
func (g *generator) deepField(s *space, tup []byte) int {
	at := 0
	for range 8 {
		at = g.rand.IntN(s.width() + 2)
		if v := fieldOf(tup, at); len(v) > 1 && isTree(v) {
			break
		}
	}
	return at
}

func isTree(v []byte) bool {
	t := msgpack.TypeOf(v[0])
	return t == msgpack.TypeArray || t == msgpack.TypeMap
}

// walk goes down into a value and returns the path and what is there; at each step it may go where there is nothing.
func (g *generator) walk(v []byte, quoted bool) (path string, value []byte) {
	r := g.rand
	for depth := 0; depth < 4; depth++ {
		var steps []step
		if v != nil {
			steps = stepsOf(v)
		}
		next := step{index: 1 + r.IntN(4)}
		if chance(r, 50) {
			next = step{key: pick(r, []string{"a", "b", "c", "d", "new"})}
		}
		if len(steps) > 0 && !chance(r, 8) {
			next = pick(r, steps)
		}
		switch {
		case next.key == "":
			path += fmt.Sprintf("[%d]", next.index)
		case quoted:
			path += `["` + next.key + `"]`
		default:
			path += "." + next.key
		}
		if v = next.value; v == nil || !isTree(v) || chance(r, 35) {
			break
		}
	}
	return path, v
}

// step is one step of a path, with the value that it leads to, nil if nothing is there.
type step struct {
	key   string
	index int
	value []byte
}

func stepsOf(v []byte) []step {
	var steps []step
	if n, b, err := msgpack.ReadMapLen(v); err == nil {
		for range n {
			value := msgpack.SkipTrusted(b)
			key, _, err := msgpack.ReadStr(b)
			b = msgpack.SkipTrusted(value)
			if err == nil && len(key) > 0 {
				steps = append(steps, step{key: string(key), value: value[:len(value)-len(b)]})
			}
		}
		return steps
	}
	n, b, err := msgpack.ReadArrayLen(v)
	for i := 0; err == nil && i < n; i++ {
		rest := msgpack.SkipTrusted(b)
		steps = append(steps, step{index: i + 1, value: b[:len(b)-len(rest)]})
		b = rest
	}
	return steps
}

func (g *generator) opArgs(b []byte, s *space, name string, at int) []byte {
	r := g.rand
	switch name {
	case "=", "!":
		return g.fieldValue(b, s, at)
	case "+", "-":
		switch kind, _ := s.kindAt(at); {
		case kind == "unsigned" || kind == "integer" || kind == "double":
		case kind == "decimal" && chance(r, 70):
			return g.appendOf(b, kind)
		default: // nothing that would bring a decimal near one of the floats
			return msgpack.AppendInt(b, int64(r.IntN(16))-8)
		}
		if chance(r, 70) {
			return g.appendInteger(b)
		}
		return g.appendNumber(b)
	case "&", "|", "^":
		return g.appendUnsigned(b)
	case "#":
		if chance(r, 8) {
			return msgpack.AppendInt(b, pick(r, []int64{0, -1, 100, 1 << 20}))
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
