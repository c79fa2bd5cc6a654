package tuple

import (
	"bytes"
	"cmp"
	"math"
	"math/big"
	"strconv"
	"testing"

	"github.com/lycosadb/lycosa/internal/msgpack"
	"pgregory.net/rapid"
)

// value is a scalar for the oracle: its place in the order of classes, and what it is within the class.
type value struct {
	class uint64
	nan   bool
	inf   int
	num   *big.Rat
	raw   []byte
	enc   []byte
}

// oracle compares by the definition: class, then NaN < -inf < exact value < +inf, or bytes.
func oracle(a, b value) int {
	if a.class != b.class {
		return cmp.Compare(a.class, b.class)
	}
	if a.class != classNumber {
		return bytes.Compare(a.raw, b.raw)
	}
	rank := func(v value) int {
		if v.nan {
			return -2
		}
		return v.inf
	}
	if rank(a) != rank(b) || rank(a) != 0 {
		return cmp.Compare(rank(a), rank(b))
	}
	return a.num.Cmp(b.num)
}

func intValue(i *big.Int, wide bool) value {
	v := value{class: classNumber, num: new(big.Rat).SetInt(i)}
	switch {
	case wide && i.IsInt64():
		v.enc = append([]byte{0xd3}, be(uint64(i.Int64()))...)
	case wide:
		v.enc = msgpack.AppendUint64Fixed(nil, i.Uint64())
	case i.IsInt64():
		v.enc = msgpack.AppendInt(nil, i.Int64())
	default:
		v.enc = msgpack.AppendUint(nil, i.Uint64())
	}
	return v
}

func be(u uint64) []byte { return msgpack.AppendUint64Fixed(nil, u)[1:] }

func floatValue(f float64, single bool) value {
	v := value{class: classNumber, nan: f != f}
	if math.IsInf(f, 0) {
		v.inf = cmp.Compare(f, 0)
	} else if f == math.Trunc(f) {
		v.num = new(big.Rat).SetFloat64(f)
	} else if f == f {
		v.num, _ = new(big.Rat).SetString(strconv.FormatFloat(f, 'e', -1, 64))
	}
	if single {
		v.enc = msgpack.AppendFloat32(nil, float32(f))
	} else {
		v.enc = msgpack.AppendFloat64(nil, f)
	}
	return v
}

func decimalOf(digits string, neg bool, scale int) value {
	n, _ := new(big.Int).SetString(digits, 10)
	if neg {
		n.Neg(n)
	}
	ten := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(scale, -scale))), nil))
	num := new(big.Rat).SetInt(n)
	if scale > 0 {
		num.Quo(num, ten)
	} else {
		num.Mul(num, ten)
	}
	return value{class: classNumber, num: num, enc: appendDecimal(nil, neg, digits, scale)}
}

// edges are the integers around which encodings and roundings change.
var edges = []int64{0, 1, 127, 128, 255, 1 << 16, 1 << 24, 1 << 31, 1 << 32, 1 << 53, 1<<53 + 1, 1 << 62, math.MaxInt64}

func genInt(unsigned bool) *rapid.Generator[value] {
	return rapid.Custom(func(t *rapid.T) value {
		i := big.NewInt(rapid.SampledFrom(edges).Draw(t, "edge"))
		i.Add(i, big.NewInt(rapid.Int64Range(-3, 3).Draw(t, "near")))
		if rapid.IntRange(0, 3).Draw(t, "double") == 0 {
			i.Lsh(i, 1)
		}
		if !unsigned && rapid.Bool().Draw(t, "neg") {
			i.Neg(i)
		}
		switch {
		case unsigned && !i.Abs(i).IsUint64():
			i.SetUint64(math.MaxUint64)
		case !i.IsUint64() && !i.IsInt64():
			i.SetInt64(math.MinInt64)
		}
		return intValue(i, !unsigned && rapid.IntRange(0, 3).Draw(t, "wide") == 0)
	})
}

func genFloat(single bool) *rapid.Generator[value] {
	return rapid.Custom(func(t *rapid.T) value {
		switch rapid.IntRange(0, 3).Draw(t, "float") {
		case 0:
			f := rapid.SampledFrom([]float64{0, math.Copysign(0, -1), math.NaN(), math.Inf(1), math.Inf(-1), 0.5, -0.5,
				math.MaxFloat64, math.SmallestNonzeroFloat64, 1 << 63, 1 << 64, -1 << 63, 0.1, 1e38}).Draw(t, "special")
			return floatValue(f, false)
		case 1:
			return floatValue(float64(rapid.Float32().Draw(t, "f32")), single)
		case 2:
			f := float64(rapid.SampledFrom(edges).Draw(t, "edge"))
			return floatValue(math.Nextafter(f, rapid.SampledFrom([]float64{-1e300, f, 1e300}).Draw(t, "to")), false)
		}
		return floatValue(rapid.Float64().Draw(t, "f64"), false)
	})
}

func genDecimal() *rapid.Generator[value] {
	return rapid.Custom(func(t *rapid.T) value {
		digits := rapid.SampledFrom([]string{"0", "1", "5", "10", "1000000000000000055511151231257827", "9007199254740993",
			"18446744073709551616", "99999999999999999999999999999999999999", "25", "4999999999"}).Draw(t, "digits")
		return decimalOf(digits, rapid.Bool().Draw(t, "neg"), rapid.IntRange(-5, 36).Draw(t, "scale"))
	})
}

func genBytes(class uint64) *rapid.Generator[value] {
	return rapid.Custom(func(t *rapid.T) value {
		raw := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'a', 'b', 0xff}), 0, 12).Draw(t, "raw")
		if rapid.IntRange(0, 9).Draw(t, "long") == 0 {
			raw = append(bytes.Repeat([]byte{'a'}, 40), raw...)
		}
		v := value{class: class, raw: raw}
		switch class {
		case classString:
			v.enc = msgpack.AppendStrBytes(nil, raw)
		case classBinary:
			v.enc = msgpack.AppendBin(nil, raw)
		case classUUID:
			v.raw = append(raw, make([]byte, 16)...)[:16]
			v.enc = msgpack.AppendExt(nil, extUUID, v.raw)
		}
		return v
	})
}

func genBool() *rapid.Generator[value] {
	return rapid.Custom(func(t *rapid.T) value {
		if rapid.Bool().Draw(t, "bool") {
			return value{class: classBoolean, raw: []byte{1}, enc: []byte{0xc3}}
		}
		return value{class: classBoolean, raw: []byte{0}, enc: []byte{0xc2}}
	})
}

// genFor draws values that a part of the type accepts.
func genFor(p Part) *rapid.Generator[value] {
	gens := map[FieldType][]*rapid.Generator[value]{
		Unsigned: {genInt(true)}, Integer: {genInt(false)}, Number: {genInt(false), genFloat(true), genDecimal()},
		Double: {genFloat(false)}, String: {genBytes(classString)}, Varbinary: {genBytes(classBinary)}, Boolean: {genBool()},
		Decimal: {genDecimal()}, UUID: {genBytes(classUUID)},
		Scalar: {genBool(), genInt(false), genFloat(true), genDecimal(), genBytes(classString), genBytes(classBinary)},
	}[p.Type]
	if p.Nullable {
		gens = append(gens, rapid.Just(value{class: classNil, enc: []byte{0xc0}}))
	}
	return rapid.OneOf(gens...)
}

func genPart(field uint32) *rapid.Generator[Part] {
	return rapid.Custom(func(t *rapid.T) Part {
		types := []FieldType{Unsigned, Unsigned, Integer, Number, Double, String, String, Varbinary, Boolean, Scalar, Decimal, UUID}
		return Part{Field: field, Type: rapid.SampledFrom(types).Draw(t, "type"), Nullable: rapid.Bool().Draw(t, "nullable")}
	})
}

// TestOrder checks everything that depends on the order of keys against the oracle, for random definitions.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fields := rapid.Permutation([]uint32{0, 1, 2, 3}).Draw(t, "fields")
		fields = fields[:rapid.IntRange(1, 3).Draw(t, "count")]
		var parts []Part
		for _, f := range fields {
			parts = append(parts, genPart(f).Draw(t, "part"))
		}
		if rapid.Bool().Draw(t, "in order") {
			for i := range parts {
				parts[i].Field = uint32(i)
			}
		}
		k, err := NewKeyDef(parts)
		if err != nil {
			t.Fatal(err)
		}
		f, err := NewFormat(nil, 0, []*KeyDef{k})
		if err != nil {
			t.Fatal(err)
		}
		a, b := genRow(t, parts), genRow(t, parts)
		if rapid.Bool().Draw(t, "same first") {
			b.values[0] = a.values[0]
			b.build(parts)
		}
		for _, r := range []testRow{a, b} {
			if err := f.Validate(r.tup); err != nil {
				t.Fatalf("%x: %v", r.tup, err)
			}
		}
		checkPair(t, k, a, b)
		checkPair(t, k, b, a)
		checkPair(t, k, a, a)
	})
}

type testRow struct {
	values []value // of the parts
	tup    []byte
}

func genRow(t *rapid.T, parts []Part) testRow {
	r := testRow{}
	for _, p := range parts {
		r.values = append(r.values, genFor(p).Draw(t, "value"))
	}
	r.build(parts)
	return r
}

// build makes the tuple; fields behind the last one that is not nil are left out.
func (r *testRow) build(parts []Part) {
	var fields [5][]byte
	count := 0
	for i, p := range parts {
		fields[p.Field] = r.values[i].enc
		if r.values[i].class != classNil {
			count = max(count, int(p.Field)+1)
		}
	}
	r.tup = msgpack.AppendArrayHeader(nil, count)
	for _, b := range fields[:count] {
		if b == nil {
			b = []byte{0xc0}
		}
		r.tup = append(r.tup, b...)
	}
	r.tup = r.tup[:len(r.tup):len(r.tup)]
}

func checkPair(t *rapid.T, k *KeyDef, a, b testRow) {
	ha, hb := k.Hint(a.tup), k.Hint(b.tup)
	first := oracle(a.values[0], b.values[0])
	if ha != hb && cmp.Compare(ha, hb) != first {
		t.Fatalf("hints %x %x, values %d: %x %x", ha, hb, first, a.tup, b.tup)
	}
	if ha == hb && k.HintExact(ha) && first != 0 {
		t.Fatalf("exact hint %x of different values %x %x", ha, a.tup, b.tup)
	}
	key := k.ExtractKey(nil, b.tup)
	if err := k.ValidateKey(key, len(k.parts)); err != nil {
		t.Fatalf("key %x: %v", key, err)
	}
	want := 0
	for n := range len(k.parts) + 1 {
		if n > 0 && want == 0 {
			want = oracle(a.values[n-1], b.values[n-1])
		}
		hk := k.KeyHint(key, n)
		if n > 0 && hk != hb {
			t.Fatalf("hint of the key %x, of the tuple %x", hk, hb)
		}
		got, hinted := k.CompareKey(a.tup, key, n), k.CompareKeyHinted(a.tup, ha, key, hk, n)
		if sign(got) != want || sign(hinted) != want {
			t.Fatalf("CompareKey %d, hinted %d, want %d: %x, %d of %x", got, hinted, want, a.tup, n, key)
		}
	}
	if got := k.Compare(a.tup, b.tup); sign(got) != want {
		t.Fatalf("Compare %d, want %d: %x %x", got, want, a.tup, b.tup)
	}
	if got := k.CompareHinted(a.tup, ha, b.tup, hb); sign(got) != want {
		t.Fatalf("CompareHinted %d, want %d: %x %x", got, want, a.tup, b.tup)
	}
	if k.HashKey(key, len(k.parts)) != k.Hash(b.tup) {
		t.Fatalf("hash of tuple and of key differ: %x", b.tup)
	}
	if want == 0 && k.Hash(a.tup) != k.Hash(b.tup) {
		t.Fatalf("equal keys, different hashes: %x %x", a.tup, b.tup)
	}
	null := false
	for i, v := range a.values {
		null = null || k.parts[i].Nullable && v.class == classNil
	}
	if k.HasNull(a.tup) != null {
		t.Fatalf("HasNull(%x) = %v", a.tup, !null)
	}
}

func sign(i int) int { return cmp.Compare(i, 0) }

// TestNumberOrder compares every pair of a list of awkward numbers.
func TestNumberOrder(t *testing.T) {
	ascending := [][]value{
		{floatValue(math.NaN(), false), floatValue(math.NaN(), true)},
		{floatValue(math.Inf(-1), false)},
		{floatValue(-1e300, false)},
		{intValue(big.NewInt(math.MinInt64), false), floatValue(-1<<63, false), decimalOf("9223372036854775808", true, 0)},
		{intValue(big.NewInt(math.MinInt64+1), false)},
		{decimalOf("15", true, 1), floatValue(-1.5, true)},
		{intValue(big.NewInt(-1), true), floatValue(-1, false)},
		{intValue(big.NewInt(0), false), intValue(big.NewInt(0), true), floatValue(math.Copysign(0, -1), false), decimalOf("0", false, 5)},
		{floatValue(math.SmallestNonzeroFloat64, false)},
		{decimalOf("1", false, 1), floatValue(0.1, false)},
		{decimalOf("30000000000000003", false, 17)},
		{floatValue(0.30000000000000004, false), decimalOf("30000000000000004", false, 17)},
		{intValue(big.NewInt(1<<53), false), floatValue(1<<53, false)},
		{intValue(big.NewInt(1<<53+1), false), decimalOf("9007199254740993", false, 0)},
		{floatValue(1<<53+2, false)},
		{intValue(big.NewInt(math.MaxInt64), false)},
		{floatValue(1<<63, false), intValue(new(big.Int).SetUint64(1<<63), false)},
		{intValue(new(big.Int).SetUint64(math.MaxUint64), false)},
		{floatValue(1<<64, false), decimalOf("18446744073709551616", false, 0)},
		{floatValue(1e38, false)}, // its exact value is below the next
		{decimalOf("99999999999999999999999999999999999999", false, 0)},
		{floatValue(math.Inf(1), false)},
	}
	k := mustKeyDef(t, Part{Type: Number})
	for i, as := range ascending {
		for j, bs := range ascending {
			for _, a := range as {
				for _, b := range bs {
					x, y := append([]byte{0x91}, a.enc...), append([]byte{0x91}, b.enc...)
					if got := sign(k.Compare(x, y)); got != cmp.Compare(i, j) {
						t.Errorf("Compare(%x, %x) = %d, want %d", x, y, got, cmp.Compare(i, j))
					}
					if i == j && k.Hash(x) != k.Hash(y) {
						t.Errorf("hashes of %x and %x differ", x, y)
					}
					if i < j && k.Hint(x) > k.Hint(y) {
						t.Errorf("hints of %x and %x are the wrong way round", x, y)
					}
				}
			}
		}
	}
}

// TestGoldenScalarOrder is the order in which Tarantool 2.6 returned the rows of a scalar index (golden 02).
func TestGoldenScalarOrder(t *testing.T) {
	k := mustKeyDef(t, Part{Type: Scalar})
	var last []byte
	for _, s := range []string{"91c3", "91fb", "91c7030102123c", "91cb400c000000000000", "91cf8000000000000000",
		"91cb7ff0000000000000", "91a3737472", "91c40362696e"} {
		b := unhex(t, s)
		if last != nil && (k.Compare(last, b) >= 0 || k.Hint(last) > k.Hint(b)) {
			t.Errorf("%x does not come before %x", last, b)
		}
		last = b
	}
}

func TestKeyDef(t *testing.T) {
	k := mustKeyDef(t, Part{Field: 1, Type: String, Nullable: true})
	m := k.Merge(mustKeyDef(t, Part{Type: Unsigned}, Part{Field: 1, Type: String}))
	if m.PartCount() != 2 || m.Parts()[1].Field != 0 || !m.Nullable() {
		t.Errorf("merged parts %v", m.Parts())
	}
	if got := m.ExtractKey(nil, unhex(t, "9107")); !bytes.Equal(got, []byte{0xc0, 7}) {
		t.Errorf("key %x", got)
	}
	for _, c := range []struct {
		part Part
		want string
	}{
		{Part{Type: Any}, "error 14 field type 'any' is not supported"},
		{Part{Type: Map}, "error 14 field type 'map' is not supported"},
		{Part{Type: Unsigned, Field: 40000}, "error 14 field no is too big"},
		{Part{Type: String, Collation: 4},
			"error 14 of the collations only none, binary, unicode and unicode_ci are supported"},
		{Part{Type: String, Path: "a["}, "error 108 Wrong index options (field 1): invalid path"},
		{Part{Type: String, Path: "a[*]"}, "error 14 multikey indexes are not supported"},
	} {
		_, err := NewKeyDef([]Part{c.part})
		if got := render(nil, err); got != c.want {
			t.Errorf("%v: %s, want %s", c.part, got, c.want)
		}
	}
	_, err := NewKeyDef([]Part{{Type: Unsigned}, {Type: Unsigned}})
	if got := render(nil, err); got != "error 14 same key part is indexed twice" {
		t.Error(got)
	}
}

func TestValidateKey(t *testing.T) {
	k := mustKeyDef(t, Part{Type: Unsigned}, Part{Field: 1, Type: String, Nullable: true})
	for _, c := range []struct {
		key  string
		n    int
		want string
	}{
		{"01", 1, ""}, {"01a161", 2, ""}, {"01c0", 2, ""}, {"", 0, ""},
		{"ff", 1, "error 18 Supplied key type of part 0 does not match index part type: expected unsigned"},
		{"c0", 1, "error 18 Supplied key type of part 0 does not match index part type: expected unsigned"},
		{"0102", 2, "error 18 Supplied key type of part 1 does not match index part type: expected string"},
		{"01", 2, "error 20 Invalid MsgPack - packet body"},
	} {
		if got := render(nil, k.ValidateKey(unhex(t, c.key), c.n)); got != c.want {
			t.Errorf("key %s: %s, want %s", c.key, got, c.want)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	k := mustKeyDef(t, Part{Field: 1, Type: String, Nullable: true}).Merge(mustKeyDef(t, Part{Type: Unsigned}))
	f, _ := namedFormat(t)
	a, b := row(1, "some name", 5), row(2, "some name", 6)
	key := k.ExtractKey(nil, b)
	var u Updater
	buf := make([]byte, 0, 128)
	ops := unhex(t, "9293a13d01a17893a12b0205")
	if n := testing.AllocsPerRun(100, func() {
		sink += k.Compare(a, b) + int(k.Hint(a)+k.Hash(b)+k.HashKey(key, 2)) + k.CompareKey(a, key, 2)
		if f.Validate(a) != nil || k.ValidateKey(key, 2) != nil {
			t.Fatal("refused")
		}
		if _, err := u.Update(buf, a, ops, 0, f); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
