package expr

import (
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// machine computes expressions over one row.
type machine struct{ row []byte }

// Check tells whether a row, which is an array, passes: whether the condition is true or NULL. Errors: 159, 171, 178.
// For any goroutine.
func (p *Program) Check(row []byte) (bool, error) {
	if p.err != nil {
		return false, p.err
	}
	m := machine{row: row}
	return m.ifTrue(p.root, true)
}

// Value computes the expression over a row, which is an array. Errors: 159, 171, 178. For any goroutine.
func (p *Program) Value(row []byte) (Value, error) {
	if p.err != nil {
		return null, p.err
	}
	m := machine{row: row}
	return m.value(p.root)
}

// AppendMsgPack appends the value as MessagePack.
func (v Value) AppendMsgPack(dst []byte) []byte {
	switch v.form {
	case isNegative:
		return msgpack.AppendInt(dst, int64(v.bits))
	case isUnsigned:
		return msgpack.AppendUint(dst, v.bits)
	case isReal:
		return msgpack.AppendFloat64(dst, v.real)
	case isText:
		return msgpack.AppendStr(dst, string(v.bytes))
	case isBinary:
		return msgpack.AppendBin(dst, v.bytes)
	case isPacked:
		return append(dst, v.bytes...)
	case isBool:
		return msgpack.AppendBool(dst, v.truth())
	}
	return msgpack.AppendNil(dst)
}

// ifTrue tells whether a condition is true, or NULL where orNull says that this is as good. What decides it is computed
// from left to right, and no more than that.
func (m *machine) ifTrue(t *term, orNull bool) (bool, error) {
	switch t.op {
	case opAnd:
		if no, err := m.ifFalse(t.left, !orNull); no || err != nil {
			return false, err
		}
		return m.ifTrue(t.right, orNull)
	case opOr:
		if yes, err := m.ifTrue(t.left, orNull); yes || err != nil {
			return yes, err
		}
		return m.ifTrue(t.right, orNull)
	case opNot:
		return m.ifFalse(t.left, orNull)
	}
	v, err := m.condition(t, !orNull)
	return v.null() && orNull || !v.null() && v.truth(), err
}

// ifFalse is ifTrue for the opposite.
func (m *machine) ifFalse(t *term, orNull bool) (bool, error) {
	switch t.op {
	case opAnd:
		if yes, err := m.ifFalse(t.left, orNull); yes || err != nil {
			return yes, err
		}
		return m.ifFalse(t.right, orNull)
	case opOr:
		if no, err := m.ifTrue(t.left, !orNull); no || err != nil {
			return false, err
		}
		return m.ifFalse(t.right, orNull)
	case opNot:
		return m.ifTrue(t.left, orNull)
	}
	v, err := m.condition(t, orNull)
	return v.null() && orNull || !v.null() && !v.truth(), err
}

// condition computes a term that has to be a boolean or NULL. nullEnds tells that half a NULL decides a BETWEEN.
func (m *machine) condition(t *term, nullEnds bool) (Value, error) {
	if t.op == opBetween {
		return m.between(t, true, nullEnds)
	}
	v, err := m.value(t)
	if err == nil && !v.null() && v.form != isBool {
		err = mismatch(v, "boolean")
	}
	if err != nil {
		return null, err
	}
	return v, nil
}

// value computes a term.
func (m *machine) value(t *term) (Value, error) {
	if t.ready {
		return t.value, nil
	}
	switch {
	case t.op == opField:
		b := tuple.FieldAt(m.row, t.position)
		if b == nil {
			return null, nil
		}
		return decode(b, t.field.Type), nil
	case t.op == opCase:
		return m.choice(t)
	case t.op == opFunction:
		return m.call(t)
	case t.op.compares():
		return m.compare(t)
	case t.op == opBetween:
		return m.between(t, false, false)
	case t.op == opIn:
		return m.in(t)
	case t.op == opNegate && t.left.ready && (t.left.op == opInteger || t.left.op == opFloat):
		return t.left.value, nil
	}
	left, err := m.value(t.left)
	if err != nil {
		return null, err
	}
	if t.right == nil {
		return unary(t, left)
	}
	right, err := m.value(t.right)
	if err != nil {
		return null, err
	}
	switch t.op {
	case opAnd, opOr:
		return logic(t.op, left, right)
	case opConcat:
		return concat(left, right)
	case opBitAnd, opBitOr, opShiftLeft, opShiftRight:
		return bitwise(t.op, left, right)
	}
	return arithmetic(t.op, left, right)
}

func unary(t *term, v Value) (Value, error) {
	switch t.op {
	case opPlus, opCollate:
		return v, nil
	case opIsNull:
		return boolean(v.null()), nil
	case opNotNull:
		return boolean(!v.null()), nil
	case opNot:
		if v.null() {
			return Value{typed: tuple.Boolean}, nil
		}
		if v.form != isBool {
			return null, mismatch(v, "boolean")
		}
		return boolean(!v.truth()), nil
	case opBitNot:
		if v.null() {
			return Value{typed: tuple.Integer}, nil
		}
		bits, ok := v.whole()
		if !ok {
			return null, mismatch(v, "integer")
		}
		return signed(^int64(bits)), nil
	case opCast:
		return cast(v, t.declared)
	}
	return arithmetic(opSubtract, unsigned(0), v)
}

// logic is AND and OR where both sides are computed.
func logic(o op, a, b Value) (Value, error) {
	for _, v := range [...]Value{b, a} { // the right one is looked at first
		if !v.null() && v.form != isBool {
			return null, mismatch(v, "boolean")
		}
	}
	for _, v := range [...]Value{a, b} {
		if !v.null() && v.truth() == (o == opOr) {
			return boolean(o == opOr), nil
		}
	}
	if a.null() || b.null() {
		return null, nil
	}
	return boolean(o == opAnd), nil
}

// compared compares two values as the types of their terms say. known is false if one of them is NULL.
func compared(left, right Value, as tuple.FieldType, by func(a, b []byte) int) (c int, known bool, err error) {
	switch {
	case left.null() || right.null():
		return 0, false, nil
	case left.form == isBool || right.form == isBool || left.isBlob() || right.isBlob():
		special := func(v Value) bool { return v.form == isBool || v.isBlob() }
		if (left.form == isBool) != (right.form == isBool) || left.isBlob() != right.isBlob() {
			if special(right) {
				return 0, false, errcode.New(errcode.SQLTypeMismatch, left.kindName(), right.kindName())
			}
			return 0, false, errcode.New(errcode.SQLTypeMismatch, right.kindName(), left.kindName())
		}
		return order(left, right, nil), true, nil
	}
	if numeric(as) {
		if n, ok := right.asNumber(); ok {
			right = n
		}
		n, ok := left.asNumber()
		if !ok {
			return 0, false, mismatch(left, "numeric")
		}
		left = n
	}
	if as == tuple.String {
		left, right = left.asText(), right.asText()
	}
	return order(left, right, by), true, nil
}

// asText makes a string of a number; all else stays as it is.
func (v Value) asText() Value {
	if v.isNumber() {
		return text(v.string())
	}
	return v
}

// asNumber makes a number of a string that is one; numbers stay as they are.
func (v Value) asNumber() (Value, bool) {
	if v.form != isText {
		return v, true
	}
	if bits, negative, ok := parseInteger(v.bytes); ok {
		return integer(bits, negative), true
	}
	f, ok := parseReal(v.bytes)
	return double(f), ok
}

// holds tells whether a comparison with the outcome c is true.
func (o op) holds(c int) bool {
	switch o {
	case opEqual:
		return c == 0
	case opNotEqual:
		return c != 0
	case opLess:
		return c < 0
	case opLessEqual:
		return c <= 0
	case opGreater:
		return c > 0
	}
	return c >= 0
}

func (m *machine) compare(t *term) (Value, error) {
	if t.left.op == opVector {
		return m.compareWith(t, t.op, nil, t.right, 0)
	}
	left, err := m.value(t.left)
	if err != nil {
		return null, err
	}
	right, err := m.value(t.right)
	if err != nil {
		return null, err
	}
	c, known, err := compared(left, right, joined(t.left.static(), t.right.static()), t.orders[0])
	if !known || err != nil {
		return null, err
	}
	return boolean(t.op.holds(c)), nil
}

// values computes a row value, or one value.
func (m *machine) values(t *term) ([]Value, error) {
	all := make([]Value, 0, 1)
	for _, x := range t.values() {
		v, err := m.value(x)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// compareWith compares t.left, or what was computed of it already, with another term, one pair of values after the other
// as far as they decide. at is the place of the first pair in t.orders.
func (m *machine) compareWith(t *term, o op, computed []Value, other *term, at int) (Value, error) {
	result := boolean(o != opNotEqual)
	pairs := other.values()
	for n, x := range pairs {
		var left Value
		var err error
		if computed != nil {
			left = computed[n]
		} else if left, err = m.value(t.left.values()[n]); err != nil {
			return null, err
		}
		right, err := m.value(x)
		if err != nil {
			return null, err
		}
		as := joined(t.leftType(n), x.static())
		c, known, err := compared(left, right, as, t.orders[at+n])
		if err != nil {
			return null, err
		}
		switch {
		case o == opEqual || o == opNotEqual:
			if known && o.holds(c) == (o == opNotEqual) {
				return boolean(o == opNotEqual), nil
			}
			if !known {
				result = null
			}
		case !known:
			return null, nil
		case c != 0 || n == len(pairs)-1:
			return boolean(o.holds(c)), nil
		}
	}
	return result, nil
}

// between computes x BETWEEN low AND high; where it is a condition, high is looked at only if it matters.
func (m *machine) between(t *term, condition, nullEnds bool) (Value, error) {
	left, err := m.values(t.left)
	if err != nil {
		return null, err
	}
	low, err := m.compareWith(t, opGreaterEqual, left, t.list[0], 0)
	if err != nil || condition && (low.null() && nullEnds || !low.null() && !low.truth()) {
		return low, err
	}
	high, err := m.compareWith(t, opLessEqual, left, t.list[1], len(left))
	if err != nil {
		return null, err
	}
	return logic(opAnd, low, high)
}

func (m *machine) in(t *term) (Value, error) {
	left, err := m.value(t.left)
	if err != nil {
		return null, err
	}
	as := t.left.static()
	result := boolean(false)
	for _, x := range t.list {
		v, err := m.value(x)
		if err != nil {
			return null, err
		}
		c, known, err := compared(v, left, as, t.orders[0])
		switch {
		case err != nil:
			return null, err
		case !known:
			result = null
		case c == 0:
			return boolean(true), nil
		}
	}
	return result, nil
}

func (m *machine) choice(t *term) (Value, error) {
	var left []Value
	if t.left != nil {
		v, err := m.value(t.left)
		if err != nil {
			return null, err
		}
		left = []Value{v}
	}
	for n := 0; n+1 < len(t.list); n += 2 {
		var no bool
		var err error
		if left == nil {
			no, err = m.ifFalse(t.list[n], true)
		} else {
			var v Value
			v, err = m.compareWith(t, opEqual, left, t.list[n], n/2)
			no = v.null() || !v.truth()
		}
		if err != nil {
			return null, err
		}
		if !no {
			return m.value(t.list[n+1])
		}
	}
	if n := len(t.list); n%2 == 1 {
		return m.value(t.list[n-1])
	}
	return null, nil
}
