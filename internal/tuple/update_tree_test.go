package tuple

import (
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// TestTreeModel compares several operations with paths in one request with the same operations one after another on
// ordinary maps and slices. Requests that are refused are left out: what may not be done together is said by
// testdata/update.txt.
func TestTreeModel(t *testing.T) {
	applied := 0
	rapid.Check(t, func(t *rapid.T) {
		value := drawTree(t, 3)
		tup := appendTree([]byte{0x91}, value)
		var ops []treeOp
		for range rapid.IntRange(1, 6).Draw(t, "operations") {
			ops = append(ops, drawTreeOp(t, value))
		}
		b := msgpack.AppendArrayHeader(nil, len(ops))
		for _, op := range ops {
			b = op.encode(b)
		}
		got, err := Update(nil, tup, b, 0, nil)
		if err != nil {
			if !errcode.Is(err, errcode.UpdateField) && !errcode.Is(err, errcode.NoSuchFieldName) && !errcode.Is(err, errcode.UpdateArgType) {
				t.Fatalf("%v: %v", ops, err)
			}
			return
		}
		applied++
		want := any([]any{value})
		for _, op := range ops {
			want = op.apply(want, append([]any{0}, op.steps...))
		}
		if msgpack.Check(got) != nil || !reflect.DeepEqual(readTree(got), want) {
			t.Fatalf("%v of %x: %x, want %v", ops, tup, got, want)
		}
	})
	if applied == 0 {
		t.Error("every request was refused")
	}
}

// treeOp is an operation on what steps, strings and indexes from 0, lead to.
type treeOp struct {
	code  string
	steps []any
	arg   int64
}

func drawTreeOp(t *rapid.T, value any) treeOp {
	op := treeOp{code: rapid.SampledFrom([]string{"=", "!", "#", "+"}).Draw(t, "code"), arg: int64(rapid.IntRange(1, 9).Draw(t, "arg"))}
	if op.code == "#" {
		op.arg = 1
	}
	for depth := rapid.IntRange(1, 3).Draw(t, "depth"); depth > 0; depth-- {
		switch v := value.(type) {
		case map[string]any:
			key := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "key")
			op.steps, value = append(op.steps, key), v[key]
		case []any:
			i := rapid.IntRange(0, len(v)).Draw(t, "index")
			op.steps, value = append(op.steps, i), nil
			if i < len(v) {
				value = v[i]
			}
		}
	}
	if len(op.steps) == 0 {
		op.steps = []any{0}
	}
	return op
}

func (op treeOp) encode(b []byte) []byte {
	path := "[1]"
	for _, s := range op.steps {
		if i, ok := s.(int); ok {
			path += fmt.Sprintf("[%d]", i+1)
		} else {
			path += fmt.Sprintf(".%s", s)
		}
	}
	b = msgpack.AppendStr(msgpack.AppendStr(msgpack.AppendArrayHeader(b, 3), op.code), path)
	return msgpack.AppendInt(b, op.arg)
}

// apply does the operation on v, which may be changed, and returns the result.
func (op treeOp) apply(v any, steps []any) any {
	if len(steps) > 1 {
		switch v := v.(type) {
		case map[string]any:
			v[steps[0].(string)] = op.apply(v[steps[0].(string)], steps[1:])
		case []any:
			v[steps[0].(int)] = op.apply(v[steps[0].(int)], steps[1:])
		}
		return v
	}
	switch v := v.(type) {
	case map[string]any:
		key := steps[0].(string)
		switch op.code {
		case "#":
			delete(v, key)
		case "+":
			v[key] = v[key].(int64) + op.arg
		default:
			v[key] = op.arg
		}
		return v
	case []any:
		i := steps[0].(int)
		switch {
		case op.code == "#":
			return append(append([]any{}, v[:i]...), v[i+1:]...)
		case op.code == "+":
			v[i] = v[i].(int64) + op.arg
		case op.code == "!" || i == len(v):
			return append(append(append([]any{}, v[:i]...), op.arg), v[i:]...)
		default:
			v[i] = op.arg
		}
		return v
	}
	return v
}

func drawTree(t *rapid.T, depth int) any {
	switch kind := rapid.IntRange(0, 3).Draw(t, "kind"); {
	case depth == 0 || kind == 0 && depth < 3:
		return int64(rapid.IntRange(0, 9).Draw(t, "leaf"))
	case kind == 1:
		list := []any{}
		for range rapid.IntRange(0, 4).Draw(t, "length") {
			list = append(list, drawTree(t, depth-1))
		}
		return list
	}
	m := map[string]any{}
	for _, key := range []string{"a", "b", "c"} {
		if rapid.Bool().Draw(t, "there") {
			m[key] = drawTree(t, depth-1)
		}
	}
	return m
}

func appendTree(b []byte, v any) []byte {
	switch v := v.(type) {
	case []any:
		b = msgpack.AppendArrayHeader(b, len(v))
		for _, e := range v {
			b = appendTree(b, e)
		}
		return b
	case map[string]any:
		b = msgpack.AppendMapHeader(b, len(v))
		for _, key := range []string{"c", "a", "b"} {
			if e, ok := v[key]; ok {
				b = appendTree(msgpack.AppendStr(b, key), e)
			}
		}
		return b
	}
	return msgpack.AppendInt(b, v.(int64))
}

func readTree(b []byte) any {
	if n, rest, err := msgpack.ReadArrayLen(b); err == nil {
		list := []any{}
		for range n {
			list = append(list, readTree(rest))
			rest = msgpack.SkipTrusted(rest)
		}
		return list
	}
	if n, rest, err := msgpack.ReadMapLen(b); err == nil {
		m := map[string]any{}
		for range n {
			value := msgpack.SkipTrusted(rest)
			m[string(msgpack.RawTrusted(rest))] = readTree(value)
			rest = msgpack.SkipTrusted(value)
		}
		return m
	}
	i, _, _ := msgpack.ReadInt(b)
	return i
}
