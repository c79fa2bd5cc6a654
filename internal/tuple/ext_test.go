package tuple

import (
	"cmp"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// TestExtensionOrder has the order of index entries as a Tarantool 2.6 gave it.
func TestExtensionOrder(t *testing.T) {
	for _, c := range []struct {
		kind  FieldType
		order []string
	}{
		{Decimal, []string{"c7150100099999999999999999999999999999999999999d", "d501001d", "d501015d", "d501000c", "d5010a1c",
			"d501015c", "d501001c", "d501f61c", "d8010912345678901234567890123456789c",
			"c711010b1234567890123456789012345678901c", "c7150100099999999999999999999999999999999999999c"}},
		{Number, []string{"cbfe37e43c8800759c", "c70b01009223372036854775809d", "d38000000000000001", "d501011c",
			"cb3fd0000000000000", "01", "cb400a666666666666", "cf0020000000000000", "c70a010009007199254740993c",
			"cfffffffffffffffff", "c70c0100018446744073709551616c", "cb47d2ced32a16a1b1", "cb7e37e43c8800759c",
			"cb7ff0000000000000"}},
		{UUID, []string{"d80200000000000000000000000000000000", "d80218f0fa1fda29438c0040393f1126ad39",
			"d80218f0fa1fda29438c8040393f1126ad39", "d802c8f0fa1fda29138ca040393f1126ad39",
			"d802c8f0fa1fda29438ca040393f1126ad39", "d802c8f0fa1fdb29038ca040393f1126ad39"}},
	} {
		k := mustKeyDef(t, Part{Type: c.kind})
		f, err := NewFormat(nil, 0, []*KeyDef{k})
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range c.order {
			for j, b := range c.order {
				x, y := unhex(t, "91"+a), unhex(t, "91"+b)
				if err := f.Validate(x); err != nil {
					t.Errorf("%s %s: %v", c.kind, a, err)
				}
				checkCollated(t, k, x, y, cmp.Compare(i, j))
			}
		}
	}
}

// TestDecimalUpdates has the results that a Tarantool 2.6 gave for update arithmetic with decimals.
func TestDecimalUpdates(t *testing.T) {
	const nines = "c7150100099999999999999999999999999999999999999c"
	for _, c := range []struct{ old, op, arg, want string }{
		{"c7030101015c", "+", "01", "c7030101025c"},
		{"01", "+", "c7030102150c", "c7030102250c"},
		{"c7030101015c", "-", "cb3fe0000000000000", "c7030101010c"},
		{"c7030101015c", "+", "c7030101015d", "d501010c"},
		{nines, "+", "01", "error 160 Decimal overflow when performing operation '+' on field 1"},
		{nines, "-", "cb3fb999999999999a", nines},
		{"d5010a1c", "+", "d501f61c", "c70c010a100000000000000000001c"},
		{"d501001c", "+", "cb3fb999999999999a", "c7030101011c"},
		{"d501001c", "+", "cb4415af1d78b58c40", "c70c0100100000000000000000001c"},
		{"d501001c", "+", "cb483d6329f1c35ca5", "error 26 Argument type in operation '+' on field 1 does not match " +
			"field type: expected a number convertible to decimal"},
		{"cfffffffffffffffff", "+", "d501001c", "c70c0100018446744073709551616c"},
		{"d501013c", "-", "cb3fb999999999999a", "d501012c"},
		{"d501002c", "+", "cb3fd5555555555555", "c70a010f02333333333333333c"},
		{"d501000d", "+", "00", "d501000c"},
		{"d501005c", "&", "01", "error 26 Argument type in operation '&' on field 1 does not match field type: " +
			"expected a positive integer"},
	} {
		ops := append(msgpack.AppendUint(msgpack.AppendStr([]byte{0x91, 0x93}, c.op), 0), unhex(t, c.arg)...)
		out, err := Update(nil, unhex(t, "91"+c.old), ops, 0, nil)
		want := c.want
		if err == nil {
			want = "91" + c.want
		}
		if got := render(out, err); got != want {
			t.Errorf("%s %s %s: %s, want %s", c.old, c.op, c.arg, got, want)
		}
	}
}

// moment is a datetime value of a test.
func moment(seconds int64, nanoseconds uint32, zone int16, long bool) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(seconds))
	if long {
		b = binary.LittleEndian.AppendUint32(b, nanoseconds)
		b = binary.LittleEndian.AppendUint32(b, uint32(uint16(zone)))
	}
	return msgpack.AppendExt([]byte{0x91}, extDatetime, b)
}

func TestDatetimeOrder(t *testing.T) {
	for _, nullable := range []bool{false, true} {
		k := mustKeyDef(t, Part{Type: Datetime, Nullable: nullable})
		rapid.Check(t, func(t *rapid.T) {
			seconds := rapid.OneOf(rapid.Int64Range(-2, 2), rapid.Int64Range(datetimeSecondsMin, datetimeSecondsMax))
			a, b := seconds.Draw(t, "a"), seconds.Draw(t, "b")
			n, m := rapid.Uint32Range(0, 2).Draw(t, "n"), rapid.Uint32Range(0, 2).Draw(t, "m")
			x := moment(a, n, int16(rapid.IntRange(zoneMinutesMin, zoneMinutesMax).Draw(t, "zone")), true)
			y := moment(b, m, 0, m != 0)
			checkCollated(t, k, x, y, cmp.Or(cmp.Compare(a, b), cmp.Compare(n, m)))
			checkCollated(t, k, []byte{0x91, 0xc0}, x, -1)
		})
	}
}

func TestDatetimeAndIntervalValues(t *testing.T) {
	f, err := NewFormat([]Field{{Name: "d", Type: Datetime}, {Name: "i", Type: Interval}}, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	good := moment(0, 0, 0, false)[1:]
	for _, c := range []struct {
		name  string
		value []byte
		ok    bool
	}{
		{"short", good, true},
		{"first", moment(datetimeSecondsMin, 0, 0, true)[1:], true},
		{"last", moment(datetimeSecondsMax, nanosecondsMax, zoneMinutesMax, true)[1:], true},
		{"too early", moment(datetimeSecondsMin-1, 0, 0, true)[1:], false},
		{"too late", moment(datetimeSecondsMax+1, 0, 0, true)[1:], false},
		{"nanoseconds", moment(0, nanosecondsMax+1, 0, true)[1:], false},
		{"negative nanoseconds", moment(0, 1<<31, 0, true)[1:], false},
		{"zone", moment(0, 0, zoneMinutesMax+1, true)[1:], false},
		{"zone below", moment(0, 0, zoneMinutesMin-1, true)[1:], false},
		{"size", msgpack.AppendExt(nil, extDatetime, make([]byte, 12)), false},
	} {
		tup := append(append([]byte{0x92}, c.value...), msgpack.AppendExt(nil, extInterval, []byte{0})...)
		if err := f.Validate(tup); (err == nil) != c.ok {
			t.Errorf("datetime %s: %v", c.name, err)
		}
	}
	for _, c := range []struct {
		name string
		data []byte
		ok   bool
	}{
		{"none", []byte{0}, true},
		{"two", []byte{2, 0, 1, 8, 2}, true},
		{"negative", []byte{1, 7, 0xff}, true},
		{"empty", nil, false},
		{"unknown field", []byte{1, 9, 1}, false},
		{"cut", []byte{2, 0, 1}, false},
		{"more", []byte{1, 0, 1, 1}, false},
		{"no number", []byte{1, 0, 0xc0}, false},
		{"cut number", []byte{1, 0, 0xcd, 1}, false},
	} {
		tup := append(append([]byte{0x92}, good...), msgpack.AppendExt(nil, extInterval, c.data)...)
		if err := f.Validate(tup); (err == nil) != c.ok {
			t.Errorf("interval %s: %v", c.name, err)
		}
	}
	if _, err := NewKeyDef([]Part{{Type: Interval}}); err == nil {
		t.Error("an interval has no order and was indexed")
	}
}
