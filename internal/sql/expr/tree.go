package expr

import "github.com/lycosadb/lycosa/internal/tuple"

// op is what a term does.
type op uint8

const (
	opNull op = iota
	opTrue
	opFalse
	opInteger
	opFloat
	opString
	opBlob
	opName // of a field, text; or of a field of a table, which is then in left
	opField
	opVector
	opQuery
	opFunction
	opCast
	opCollate
	opEqual
	opNotEqual
	opLess
	opLessEqual
	opGreater
	opGreaterEqual
	opAnd
	opOr
	opNot
	opIsNull
	opNotNull
	opBetween
	opIn
	opCase
	opAdd
	opSubtract
	opMultiply
	opDivide
	opRemainder
	opBitAnd
	opBitOr
	opShiftLeft
	opShiftRight
	opConcat
	opNegate
	opPlus
	opBitNot
)

func (o op) compares() bool { return o >= opEqual && o <= opGreaterEqual }

// term is a part of an expression. Bind changes it; afterwards it is immutable.
type term struct {
	op          op
	left, right *term
	list        []*term
	text        string
	// height counts the terms on the longest way down.
	height int
	// declared is the type that the text gives a literal or a cast, or a function its result.
	declared tuple.FieldType

	field    *Field
	position int // of the field
	function *function
	// collates tells that the term has a COLLATE in it, varies that its value depends on the row.
	collates, varies bool
	// orders compare strings, one for each pair that the term compares; nil means bytewise.
	orders []func(a, b []byte) int
	// value is that of a literal; ready tells that Bind has computed it, also of larger constants.
	value Value
	ready bool
}

// static is the type that the text alone gives a term. Comparisons convert strings by it.
func (t *term) static() tuple.FieldType {
	for t.op == opCollate || t.op == opFunction && t.function.first {
		if t.op == opCollate {
			t = t.left
		} else {
			t = t.list[0]
		}
	}
	switch t.op {
	case opField:
		return t.field.Type
	case opAdd, opSubtract, opMultiply, opDivide, opRemainder, opBitAnd, opBitOr, opShiftLeft, opShiftRight:
		return joined(t.right.static(), t.left.static())
	case opConcat:
		return tuple.String
	case opCase:
		return t.caseType()
	case opEqual, opNotEqual, opLess, opLessEqual, opGreater, opNot, opAnd, opOr, opIsNull, opNotNull, opBetween, opIn:
		return tuple.Boolean
	case opNegate, opPlus, opBitNot:
		return t.left.static()
	}
	return t.declared
}

// leftType is the type of a value on the left side of a term that compares. Where BETWEEN and CASE compute one value for
// several comparisons, version 2.6 no longer looks through LIKELY: the value has the type of that function.
func (t *term) leftType(n int) tuple.FieldType {
	if (t.op == opBetween || t.op == opCase) && t.left.op == opFunction {
		return t.left.declared
	}
	return t.left.values()[n].static()
}

// caseType is the type that all results of a CASE have, or Scalar.
func (t *term) caseType() tuple.FieldType {
	first := t.list[1].static()
	for n := 3; n < len(t.list); n += 2 {
		if t.list[n].static() != first {
			return tuple.Scalar
		}
	}
	if n := len(t.list); n%2 == 1 && t.list[n-1].static() != first {
		return tuple.Scalar
	}
	return first
}

func numeric(t tuple.FieldType) bool {
	return t == tuple.Unsigned || t == tuple.Integer || t == tuple.Number || t == tuple.Double
}

// joined is the type in which values of two types are computed and compared.
func joined(a, b tuple.FieldType) tuple.FieldType {
	if !numeric(a) && !numeric(b) {
		return tuple.Scalar
	}
	for _, t := range [...]tuple.FieldType{tuple.Number, tuple.Double, tuple.Integer} {
		if a == t || b == t {
			return t
		}
	}
	return tuple.Unsigned
}

// values are those of a row value, or the term itself.
func (t *term) values() []*term {
	if t.op == opVector {
		return t.list
	}
	return []*term{t}
}

// size is the number of values in a row value, 1 for all else.
func (t *term) size() int {
	if t.op == opVector {
		return len(t.list)
	}
	return 1
}

// operands returns the terms below a term.
func (t *term) operands(yield func(*term) bool) {
	for _, x := range [...]*term{t.left, t.right} {
		if x != nil && !yield(x) {
			return
		}
	}
	for _, x := range t.list {
		if !yield(x) {
			return
		}
	}
}
