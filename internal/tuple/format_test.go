package tuple

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/lycosadb/lycosa/internal/meter"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"pgregory.net/rapid"
)

func TestValidate(t *testing.T) {
	part := func(field uint32, kind FieldType, nullable bool) *KeyDef {
		return mustKeyDef(t, Part{Field: field, Type: kind, Nullable: nullable})
	}
	declared := []Field{{Name: "id", Type: Unsigned}, {Name: "name", Type: String},
		{Name: "x", Type: Integer, Nullable: true}, {Name: "y"}, {Name: "z", Type: Number}}
	for _, c := range []struct {
		fields []Field
		count  uint32
		keys   []*KeyDef
		tup    string
		want   string
	}{ // texts and order of checks as a Tarantool 2.6.0 answered
		{declared, 0, nil, "91a178", "error 23 Tuple field 1 type does not match one required by operation: expected unsigned"},
		{declared, 0, nil, "9101", "error 39 Tuple field 2 required by space format is missing"},
		{declared, 0, nil, "920102", "error 23 Tuple field 2 type does not match one required by operation: expected string"},
		{declared, 0, nil, "9301a16105", "error 39 Tuple field 4 required by space format is missing"},
		{declared, 0, nil, "9501a16105c005", ""},
		{declared, 0, nil, "9501c005c005", "error 23 Tuple field 2 type does not match one required by operation: expected string"},
		{declared, 0, nil, "9501a161050605c0", "error 20 Invalid MsgPack - packet body"},
		{declared, 0, nil, "9401a16105c0", "error 39 Tuple field 5 required by space format is missing"},
		{declared, 0, nil, "9501a1610506a173", "error 23 Tuple field 5 type does not match one required by operation: expected number"},
		{declared[:2], 2, nil, "9101", "error 38 Tuple field count 1 does not match space field count 2"},
		{declared[:2], 2, nil, "93a178a17803", "error 38 Tuple field count 3 does not match space field count 2"},
		{nil, 0, []*KeyDef{part(2, Unsigned, false)}, "9101", "error 39 Tuple field 3 required by space format is missing"},
		{nil, 0, []*KeyDef{part(2, Unsigned, false)}, "930102a178",
			"error 23 Tuple field 3 type does not match one required by operation: expected unsigned"},
		{nil, 0, []*KeyDef{part(0, Unsigned, false), part(4, String, true)}, "93010203", ""},
		{nil, 0, []*KeyDef{part(0, Unsigned, false), part(4, String, true)}, "95010204c0c0", ""},
		{nil, 0, []*KeyDef{part(0, Unsigned, false), part(4, String, true)}, "95010204c005",
			"error 23 Tuple field 5 type does not match one required by operation: expected string"},
		{nil, 0, []*KeyDef{part(0, Double, false)}, "9101",
			"error 23 Tuple field 1 type does not match one required by operation: expected double"},
		{nil, 0, []*KeyDef{part(0, Double, false)}, "91ca3fc00000",
			"error 23 Tuple field 1 type does not match one required by operation: expected double"},
		{nil, 0, []*KeyDef{part(0, Scalar, false)}, "91d80200112233445566778899aabbccddeeff",
			"error 23 Tuple field 1 type does not match one required by operation: expected scalar"},
		{nil, 0, []*KeyDef{part(0, Scalar, false)}, "91c7030102123c", ""},
		{nil, 0, []*KeyDef{part(0, Number, false)}, "91c70301021d3c", // not decimal digits
			"error 23 Tuple field 1 type does not match one required by operation: expected number"},
		{declared[:1], 0, nil, "c0", "error 22 Tuple/Key must be MsgPack array"},
		{declared[:1], 0, nil, "", "error 20 Invalid MsgPack - packet body"},
		{declared[:1], 0, nil, "9201", "error 20 Invalid MsgPack - packet body"},
		{declared[:1], 0, nil, "9201c1", "error 20 Invalid MsgPack - packet body"},
	} {
		f, err := NewFormat(c.fields, c.count, c.keys)
		if err != nil {
			t.Fatal(err)
		}
		if got := render(nil, f.Validate(unhex(t, c.tup))); got != c.want {
			t.Errorf("%s: %s, want %s", c.tup, got, c.want)
		}
	}
}

func TestFormatAndIndexTypes(t *testing.T) {
	name := []Field{{Name: "id", Type: Unsigned}, {Name: "name", Type: String}, {Name: "any"}}
	for _, c := range []struct {
		fields []Field
		parts  []Part
		want   string
	}{
		{name, []Part{{Field: 1, Type: Unsigned}},
			"error 27 Field 2 has type 'string' in space format, but type 'unsigned' in index definition"},
		{name, []Part{{Field: 1, Type: Scalar}}, ""},
		{name, []Part{{Field: 2, Type: Integer}}, ""},
		{nil, []Part{{Field: 4, Type: String}, {Field: 4, Type: Unsigned}},
			"error 24 Field 5 has type 'string' in one index, but type 'unsigned' in another"},
		{nil, []Part{{Field: 4, Type: String}, {Field: 4, Type: Scalar}}, ""},
	} {
		var keys []*KeyDef
		for _, p := range c.parts {
			keys = append(keys, mustKeyDef(t, p))
		}
		_, err := NewFormat(c.fields, 0, keys)
		if got := render(nil, err); got != c.want {
			t.Errorf("%v: %s, want %s", c.parts, got, c.want)
		}
	}
}

// enc writes a value given as Go literals: maps as pairs{…} to keep their order.
type pairs []any

func enc(dst []byte, v any) []byte {
	switch v := v.(type) {
	case int:
		return msgpack.AppendInt(dst, int64(v))
	case string:
		return msgpack.AppendStr(dst, v)
	case bool:
		return msgpack.AppendBool(dst, v)
	case []any:
		dst = msgpack.AppendArrayHeader(dst, len(v))
		for _, x := range v {
			dst = enc(dst, x)
		}
		return dst
	case pairs:
		dst = msgpack.AppendMapHeader(dst, len(v)/2)
		for _, x := range v {
			dst = enc(dst, x)
		}
		return dst
	}
	return msgpack.AppendNil(dst)
}

// TestParseParts has the texts that a Tarantool 2.6.0 gave for inserts into _index.
func TestParseParts(t *testing.T) {
	const wrong = "error 107 Wrong index parts: "
	const tail = "; expected field1 id (number), field1 type (string), ..."
	const option = "error 108 Wrong index options (field 1): "
	for _, c := range []struct {
		in   any
		want string
	}{
		{[]any{[]any{0, "unsigned"}}, ""},
		{[]any{}, ""}, // the caller refuses it
		{[]any{5}, option + "index part is expected to be a map"},
		{[]any{[]any{0}}, wrong + "a field type is missing" + tail},
		{[]any{[]any{0, "unsigned"}, []any{1, "zzz"}}, wrong + "unknown field type" + tail},
		{[]any{pairs{"field", 0, "type", "zzz"}}, option + "index part: unknown field type"},
		{[]any{[]any{0, 5}}, wrong + "field type must be a string" + tail},
		{[]any{[]any{0, "num"}}, ""},
		{[]any{[]any{0, "UNSIGNED"}}, ""},
		{[]any{[]any{"x", "unsigned"}}, wrong + "field id must be an integer" + tail},
		{[]any{[]any{-1, "unsigned"}}, wrong + "field id must be an integer" + tail},
		{[]any{pairs{"type", "unsigned"}}, ""},
		{[]any{pairs{"field", 0}}, option + "index part: unknown field type"},
		{[]any{pairs{"field", 0, "type", "unsigned", "foo", 1}}, option + "unexpected option 'foo'"},
		{[]any{pairs{"field", "a", "type", "unsigned"}}, option + "'field' must be unsigned"},
		{[]any{pairs{"field", 0, "type", 5}}, option + "'type' must be enum"},
		{[]any{pairs{"field", 0, "type", "unsigned", "is_nullable", 5}}, option + "'is_nullable' must be boolean"},
		{[]any{pairs{"field", 0, "type", "unsigned", "collation", 1}},
			option + "collation is reasonable only for string and scalar parts"},
		{[]any{pairs{"field", 0, "type", "string", "collation", 277}}, option + "collation was not found by ID"},
		{[]any{pairs{"field", 0, "type", "string", "collation", "unicode"}}, option + "'collation' must be unsigned"},
		{[]any{[]any{0, "unsigned"}, pairs{"field", 3, "type", "string"}}, wrong + "expected an array" + tail},
		{[]any{pairs{"field", 3, "type", "string"}, []any{0, "unsigned"}},
			"error 108 Wrong index options (field 2): index part is expected to be a map"},
		{[]any{pairs{"field", 3, "type", "string", "nullable_action", "ignore", "is_nullable", true}},
			option + "index part: conflicting nullability and nullable action properties"},
		{[]any{[]any{0, "unsigned", "x"}}, ""},
	} {
		_, err := ParseParts(enc(nil, c.in))
		if got := render(nil, err); got != c.want {
			t.Errorf("%v: %s, want %s", c.in, got, c.want)
		}
	}
}

// TestParseFormat has the texts that a Tarantool 2.6.0 gave for inserts into _space; of error 9 the reason alone.
func TestParseFormat(t *testing.T) {
	for _, c := range []struct {
		in   any
		want string
	}{
		{[]any{5}, "error 9 field 1 is not map"},
		{[]any{pairs{"type", "unsigned"}}, "error 9 field 1 name is not specified"},
		{[]any{pairs{"name", "a"}}, ""},
		{[]any{pairs{"name", "a", "type", "zzz"}}, "error 9 field 1 has unknown field type"},
		{[]any{pairs{"name", "a"}, pairs{"name", "b", "type", 5}}, "error 141 Wrong space format (field 2): 'type' must be enum"},
		{[]any{pairs{"name", "a", "type", "num"}}, ""},
		{[]any{pairs{"name", "a", "foo", 1}}, ""},
		{[]any{pairs{5, "a", "name", "b"}}, "error 9 field 1 format is not map with string keys"},
		{[]any{pairs{"name", 5}}, "error 141 Wrong space format (field 1): 'name' must be string"},
		{[]any{pairs{"name", "a", "is_nullable", 5}}, "error 141 Wrong space format (field 1): 'is_nullable' must be boolean"},
		{[]any{pairs{"name", "a"}, pairs{"name", "a"}}, ""},
		{[]any{pairs{"name", "a", "type", "unsigned", "collation", 1}},
			"error 9 collation is reasonable only for string, scalar and any fields"},
		{[]any{pairs{"name", "a", "nullable_action", "none"}},
			"error 9 field 1 has conflicting nullability and nullable action properties"},
		{[]any{pairs{"name", "a", "nullable_action", "zzz"}}, "error 9 field 1 has unknown field on conflict nullable action"},
		{[]any{pairs{"name", "a", "is_nullable", true, "nullable_action", "none"}}, ""},
	} {
		_, err := ParseFormat(enc(nil, c.in))
		if got := render(nil, err); got != c.want {
			t.Errorf("%v: %s, want %s", c.in, got, c.want)
		}
	}
}

func TestDefinitionsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var fields []Field
		var parts []Part
		for i := range rapid.IntRange(1, 5).Draw(t, "count") {
			kind := FieldType(rapid.IntRange(0, int(fieldTypes)-1).Draw(t, "type"))
			collation := uint32(0)
			if kind == String {
				collation = rapid.Uint32Range(0, 276).Draw(t, "collation")
			}
			nullable := rapid.Bool().Draw(t, "nullable")
			fields = append(fields, Field{Name: string(rune('a' + i)), Type: kind, Nullable: nullable, Collation: collation})
			parts = append(parts, Part{Field: uint32(i), Type: kind, Nullable: nullable, Collation: collation})
		}
		b := EncodeFormat(nil, fields)
		if got, err := ParseFormat(b); err != nil || !bytes.Equal(EncodeFormat(nil, got), b) || got[0] != fields[0] {
			t.Fatalf("%v became %v, %v", fields, got, err)
		}
		b = EncodeParts(nil, parts)
		if got, err := ParseParts(b); err != nil || !bytes.Equal(EncodeParts(nil, got), b) || got[0] != parts[0] {
			t.Fatalf("%v became %v, %v", parts, got, err)
		}
	})
}

// TestUpdateFields checks operations that move fields against a plain Go slice.
func TestUpdateFields(t *testing.T) {
	var u Updater
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.IntRange(0, 1<<20), 0, 60).Draw(t, "tuple")
		tup := encodeInts(list)
		n := rapid.IntRange(0, 30).Draw(t, "operations")
		ops := msgpack.AppendArrayHeader(nil, n)
		count := 0
		for range n {
			code := rapid.SampledFrom([]string{"=", "!", "#"}).Draw(t, "code")
			at := rapid.IntRange(-len(list)-2, len(list)+2).Draw(t, "at")
			arg := rapid.IntRange(1, 9).Draw(t, "arg")
			if next, ok := applyToSlice(list, code, at, arg); ok {
				list = next
				ops = msgpack.AppendStr(msgpack.AppendArrayHeader(ops, 3), code)
				ops = msgpack.AppendInt(msgpack.AppendInt(ops, int64(at)), int64(arg))
				count++
			}
		}
		ops = append(msgpack.AppendArrayHeader(nil, count), ops[len(msgpack.AppendArrayHeader(nil, n)):]...)
		got, err := u.Update(nil, tup, ops, 0, nil)
		if err != nil || !bytes.Equal(got, encodeInts(list)) {
			t.Fatalf("%x with %x: %x %v, want %x", tup, ops, got, err, encodeInts(list))
		}
	})
}

func encodeInts(list []int) []byte {
	b := msgpack.AppendArrayHeader(nil, len(list))
	for _, v := range list {
		b = msgpack.AppendInt(b, int64(v))
	}
	return b
}

// applyToSlice is the meaning of = ! # in three lines each; false for a field that is not there.
func applyToSlice(list []int, code string, at, arg int) ([]int, bool) {
	limit := len(list)
	if code == "!" || code == "=" && at == limit {
		limit++
	}
	if at < 0 {
		at += limit
	}
	if at < 0 || at >= limit {
		return nil, false
	}
	out := append([]int(nil), list[:at]...)
	switch {
	case code == "#":
		return append(out, list[min(at+arg, len(list)):]...), true
	case code == "=" && at < len(list):
		return append(append(out, arg), list[at+1:]...), true
	}
	return append(append(out, arg), list[at:]...), true
}

// TestUpdateManyOperations runs the largest request that is allowed.
func TestUpdateManyOperations(t *testing.T) {
	ops := msgpack.AppendArrayHeader(nil, UpdateOpsMax)
	for range UpdateOpsMax {
		ops = append(ops, 0x93, 0xa1, '!', 1, 7)
	}
	got, err := Update(nil, []byte{0x92, 1, 2}, ops, 0, nil)
	if err != nil || FieldCount(got) != UpdateOpsMax+2 || msgpack.Check(got) != nil {
		t.Fatalf("%d fields, %v", FieldCount(got), err)
	}
	if got := FieldAt(got, UpdateOpsMax+1); !bytes.Equal(got, []byte{2}) {
		t.Errorf("last field %x", got)
	}
}

// FuzzUpdate feeds foreign tuples and operations: none may panic, and a result is a well-formed tuple.
func FuzzUpdate(f *testing.F) {
	for _, s := range [][2]string{{"9301a36f6e650a", "9193a12b0205"}, {"92010a", "9193a13da45b325d2e01"},
		{"920181a16101", "9193a123a55b325d2e6101"}, {"9201a3616263", "9195a13a01ff01a178"},
		{"9201c7030102123c", "9193a12b01cb3fe0000000000000"},
		// integers as keys of a map, and paths that part in it
		{"92018201820105020602820107", "9393a13daa5b325d5b315d5b315d0193a13daa5b325d5b315d5b325d0293a13da75b325d5b325d03"},
		{"920182a16182a16201a16302a16493010203", "9393a13da75b325d2e612e620193a12ba75b325d2e612e630293a121a75b325d2e645b325d03"}} {
		tup, _ := hex.DecodeString(s[0])
		ops, _ := hex.DecodeString(s[1])
		f.Add(tup, ops, 0)
	}
	format, _ := namedFormat(f)
	f.Fuzz(func(t *testing.T, tup, ops []byte, base int) {
		if msgpack.Check(tup) != nil || msgpack.TypeOf(tup[0]) != msgpack.TypeArray {
			return
		}
		base &= 1
		// Each operation may make the tuple anew.
		bound := 64<<10 + uint64(64*len(ops)+64)*uint64(len(tup)+len(ops)+64)
		meter.CheckBound(t, len(tup)+len(ops), bound, func() { _, _ = Update(nil, tup, ops, base, format) })
		malformed := CheckOps(ops, base, format)
		got, err := Update(nil, tup, ops, base, format)
		if err == nil && (msgpack.Check(got) != nil || malformed != nil) {
			t.Fatalf("%x with %x: %x, %v", tup, ops, got, malformed)
		}
		got, err = UpsertOps(nil, tup, ops, base, format)
		if (err == nil) != (malformed == nil) || err == nil && msgpack.Check(got) != nil {
			t.Fatalf("upsert of %x with %x: %x, %v, %v", tup, ops, got, err, malformed)
		}
	})
}

// FuzzDefinitions feeds foreign bytes to the parsers, and valid tuples of them to everything that trusts its input.
func FuzzDefinitions(f *testing.F) {
	f.Add(enc(nil, []any{pairs{"name", "a", "type", "num"}}), []byte{0x92, 1, 0xa1, 'x'})
	f.Add(enc(nil, []any{[]any{0, "unsigned"}, []any{1, "scalar"}}), []byte{0x92, 1, 0xa1, 'x'})
	f.Add(enc(nil, []any{pairs{"field", 1, "type", "number", "is_nullable", true}}), []byte{0x92, 1, 0xca, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, definition, tup []byte) {
		meter.Check(t, len(definition), 256, func() {
			_, _ = ParseFormat(definition)
			_, _ = ParseParts(definition)
		})
		fields, _ := ParseFormat(definition)
		parts, err := ParseParts(definition)
		if err != nil {
			return
		}
		k, err := NewKeyDef(parts)
		if err != nil {
			return
		}
		format, err := NewFormat(fields, 0, []*KeyDef{k})
		if err != nil || format.Validate(tup) != nil {
			return
		}
		key := k.ExtractKey(nil, tup)
		if err := k.ValidateKey(key, len(parts)); err != nil {
			t.Fatalf("key %x of %x: %v", key, tup, err)
		}
		if k.CompareKey(tup, key, len(parts)) != 0 || k.Hint(tup) != k.KeyHint(key, 1) || k.Hash(tup) != k.HashKey(key, len(parts)) {
			t.Fatalf("tuple %x and its key %x differ", tup, key)
		}
	})
}
