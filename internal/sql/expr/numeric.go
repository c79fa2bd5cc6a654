package expr

import (
	"strconv"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// wrongCount is error 202 of a function that counts its arguments itself.
func wrongCount(name, want string, got int) (Value, error) {
	return null, errcode.New(errcode.FuncWrongArgCount, name, want, got)
}

func absolute(c *call) (Value, error) {
	v := c.args[0]
	switch v.form {
	case isNull:
		return null, nil
	case isUnsigned:
		return unsigned(v.bits), nil
	case isNegative:
		return unsigned(-v.bits), nil
	case isBool, isBinary, isPacked:
		return null, inconsistent("number", v.kindName())
	}
	f, _ := v.asReal()
	if f < 0 {
		f = -f
	}
	return double(f), nil
}

// roundedBytesMax is how much of the digits of a number counts when it is rounded.
const roundedBytesMax = 1023

func round(c *call) (Value, error) {
	if len(c.args) != 1 && len(c.args) != 2 {
		return wrongCount("ROUND", "1 or 2", len(c.args))
	}
	places := int32(0)
	if len(c.args) == 2 {
		if c.args[1].null() {
			return null, nil
		}
		places = max(c.args[1].small(), 0)
	}
	v := c.args[0]
	if v.null() {
		return null, nil
	}
	if v.isBlob() {
		return null, mismatch(v, "numeric")
	}
	f, _ := v.asReal()
	const whole = float64(1<<63 - 2)
	switch {
	case places == 0 && f >= 0 && f < whole:
		return double(float64(int64(f + 0.5))), nil
	case places == 0 && f < 0 && -f < whole:
		return double(-float64(int64(-f + 0.5))), nil
	}
	s := strconv.AppendFloat(nil, f, 'f', int(min(places, roundedBytesMax)), 64)
	f, _ = parseReal(s[:min(len(s), roundedBytesMax)])
	return double(f), nil
}

// small is the value as an integer of 32 bits; what has more is cut.
func (v Value) small() int32 {
	bits, _ := v.whole()
	return int32(bits)
}

func greatest(c *call) (Value, error) {
	return c.best("GREATEST", func(order int) bool { return order < 0 })
}

func least(c *call) (Value, error) {
	return c.best("LEAST", func(order int) bool { return order >= 0 })
}

// best goes through the arguments and takes the next one if the order of the best so far and of it says so.
func (c *call) best(name string, better func(order int) bool) (Value, error) {
	if len(c.args) < 2 {
		return wrongCount(name, "at least two", len(c.args))
	}
	best := c.args[0]
	for _, v := range c.args {
		if best.null() || v.null() {
			return null, nil
		}
	}
	for _, v := range c.args[1:] {
		if better(order(best, v, c.order)) {
			best = v
		}
	}
	return best, nil
}

func nullIf(c *call) (Value, error) {
	if order(c.args[0], c.args[1], c.order) == 0 {
		return null, nil
	}
	return c.args[0], nil
}

func typeOf(c *call) (Value, error) {
	v := c.args[0]
	name := "boolean"
	switch {
	case v.typed != noType && v.typed != tuple.Scalar:
		name = v.typed.String()
	case v.isInteger():
		name = "integer"
	case v.form == isReal:
		name = "double"
	case v.form == isText:
		name = "string"
	case v.isBlob():
		name = "varbinary"
	}
	return text([]byte(name)), nil
}

func length(c *call) (Value, error) {
	v := c.args[0]
	switch v.form {
	case isNull:
		return null, nil
	case isText:
		return unsigned(uint64(countCharacters(v.bytes))), nil
	}
	return unsigned(uint64(len(v.raw()))), nil
}
