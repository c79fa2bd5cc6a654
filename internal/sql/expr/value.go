package expr

import (
	"bytes"
	"math"
	"strconv"
	"strings"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// form is what a value is at run time.
type form uint8

const (
	isNull     form = iota
	isNegative      // an integer below zero
	isUnsigned      // any other integer
	isReal
	isText
	isBinary
	isPacked // an array, a map or an extension: binary to most
	isBool
)

// noType is the type of a value that no field and no operator has given one.
const noType tuple.FieldType = 255

// Value is a value of an expression. Its bytes are shared and never written.
type Value struct {
	form form
	// typed is what TYPEOF says, unless it is noType.
	typed tuple.FieldType
	// bits are those of an integer in two's complement, or 1 for true.
	bits  uint64
	real  float64
	bytes []byte
}

var null = Value{typed: noType}

func boolean(b bool) Value {
	v := Value{form: isBool, typed: tuple.Boolean}
	if b {
		v.bits = 1
	}
	return v
}

func integer(bits uint64, negative bool) Value {
	v := Value{form: isUnsigned, typed: tuple.Integer, bits: bits}
	if negative {
		v.form = isNegative
	}
	return v
}

func signed(i int64) Value { return integer(uint64(i), i < 0) }

func unsigned(u uint64) Value { return Value{form: isUnsigned, typed: tuple.Unsigned, bits: u} }

func double(f float64) Value {
	if math.IsNaN(f) {
		return null
	}
	return Value{form: isReal, typed: tuple.Double, real: f}
}

func text(b []byte) Value { return Value{form: isText, typed: tuple.String, bytes: b} }

func (v Value) null() bool      { return v.form == isNull }
func (v Value) isInteger() bool { return v.form == isNegative || v.form == isUnsigned }
func (v Value) isNumber() bool  { return v.isInteger() || v.form == isReal }
func (v Value) isBlob() bool    { return v.form == isBinary || v.form == isPacked }
func (v Value) truth() bool     { return v.bits != 0 }

// decode reads a field of a row.
func decode(b []byte, declared tuple.FieldType) Value {
	v := Value{typed: declared}
	if declared == tuple.Any {
		v.typed = noType
	}
	switch msgpack.TypeOf(b[0]) {
	case msgpack.TypeNil:
	case msgpack.TypeBool:
		v.form = isBool
		if is, _, _ := msgpack.ReadBool(b); is {
			v.bits = 1
		}
	case msgpack.TypeUint:
		v.form, v.bits = isUnsigned, msgpack.UintTrusted(b)
	case msgpack.TypeInt:
		i := msgpack.IntTrusted(b)
		v.form, v.bits = isNegative, uint64(i)
		if i >= 0 {
			v.form = isUnsigned
		}
	case msgpack.TypeFloat32, msgpack.TypeFloat64:
		if v.real = msgpack.FloatTrusted(b); !math.IsNaN(v.real) {
			v.form = isReal
		}
	case msgpack.TypeStr:
		v.form, v.bytes = isText, msgpack.RawTrusted(b)
	case msgpack.TypeBin:
		v.form, v.bytes = isBinary, msgpack.RawTrusted(b)
	default:
		v.form, v.bytes = isPacked, b[:len(b)-len(msgpack.SkipTrusted(b))]
	}
	return v
}

// string is the value as text, nil for NULL.
func (v Value) string() []byte {
	switch v.form {
	case isNull:
		return nil
	case isNegative:
		return strconv.AppendInt(nil, int64(v.bits), 10)
	case isUnsigned:
		return strconv.AppendUint(nil, v.bits, 10)
	case isReal:
		return formatReal(v.real)
	case isBool:
		if v.truth() {
			return []byte("TRUE")
		}
		return []byte("FALSE")
	case isPacked:
		out, err := msgpack.ToJSON(nil, v.bytes)
		if err != nil {
			return v.bytes
		}
		return out
	}
	if v.bytes == nil {
		return []byte{}
	}
	return v.bytes
}

// raw is the value as bytes: what HEX shows and LENGTH counts.
func (v Value) raw() []byte {
	if v.form == isPacked {
		return v.bytes
	}
	return v.string()
}

// kindName is what error texts call the kind of a value.
func (v Value) kindName() string {
	switch v.form {
	case isNegative:
		return "integer"
	case isUnsigned:
		return "unsigned"
	case isReal:
		return "real"
	case isText:
		return "text"
	case isBool:
		return "boolean"
	case isBinary, isPacked:
		return "varbinary"
	}
	return "NULL"
}

// mismatch is error 171 about a value.
func mismatch(v Value, to string) error {
	shown, _, _ := strings.Cut(string(v.string()), "\x00") // as strings of C end
	if v.form == isBinary {
		shown = "varbinary"
	}
	return errcode.New(errcode.SQLTypeMismatch, shown, to)
}

func inconsistent(want, got string) error { return errcode.New(errcode.InconsistentTypes, want, got) }

// order compares two values: NULL first, then booleans, numbers, strings, binary. by orders strings, nil means bytewise.
func order(a, b Value, by func(a, b []byte) int) int {
	switch {
	case a.null() || b.null():
		return rank(!a.null(), !b.null())
	case a.form == isBool || b.form == isBool:
		if a.form != b.form {
			return rank(a.form != isBool, b.form != isBool)
		}
		return rank(a.truth(), b.truth())
	case a.isNumber() || b.isNumber():
		if !a.isNumber() || !b.isNumber() {
			return rank(!a.isNumber(), !b.isNumber())
		}
		return orderNumbers(a, b)
	case a.form != b.form && (a.form == isText || b.form == isText):
		return rank(a.form != isText, b.form != isText)
	case a.form == isText && by != nil:
		return by(a.bytes, b.bytes)
	}
	return bytes.Compare(a.bytes, b.bytes)
}

func rank(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func orderNumbers(a, b Value) int {
	switch {
	case a.form == isReal && b.form == isReal:
		return rank(a.real > b.real, b.real > a.real)
	case a.form == isReal:
		return orderReal(a.real, b)
	case b.form == isReal:
		return -orderReal(b.real, a)
	case a.form != b.form:
		return rank(a.form == isUnsigned, b.form == isUnsigned)
	case a.form == isNegative:
		return rank(int64(a.bits) > int64(b.bits), int64(b.bits) > int64(a.bits))
	}
	return rank(a.bits > b.bits, b.bits > a.bits)
}

// orderReal compares exactly, also where an integer has no equal among the reals.
func orderReal(f float64, i Value) int {
	if i.form == isNegative {
		switch whole := math.Trunc(f); {
		case f < -0x1p63:
			return -1
		case f >= 0:
			return 1
		case int64(whole) != int64(i.bits):
			return rank(int64(whole) > int64(i.bits), int64(whole) < int64(i.bits))
		default:
			return rank(f > whole, f < whole)
		}
	}
	switch whole := math.Trunc(f); {
	case f < 0:
		return -1
	case f >= 0x1p64:
		return 1
	case uint64(whole) != i.bits:
		return rank(uint64(whole) > i.bits, uint64(whole) < i.bits)
	default:
		return rank(f > whole, f < whole)
	}
}
