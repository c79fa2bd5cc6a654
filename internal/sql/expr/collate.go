package expr

import (
	"strings"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/tuple"
)

var collations = map[string]uint32{
	"none": tuple.CollationNone, "unicode": tuple.CollationUnicode, "unicode_ci": tuple.CollationUnicodeCI,
	"binary": tuple.CollationBinary,
}

// collationOf finds the collation of a term; forced tells that COLLATE names it.
func collationOf(t *term) (id uint32, forced bool, err error) {
	for t != nil {
		switch {
		case t.op == opCast || t.op == opPlus || t.op == opFunction && t.function.derives && len(t.list) > 0:
			if t.op == opFunction {
				t = t.list[0]
			} else {
				t = t.left
			}
		case t.op == opCollate:
			id, ok := collations[t.text]
			if !ok && strings.HasPrefix(t.text, "unicode_") {
				return 0, true, errcode.New(errcode.NotImplemented, "collation '"+t.text+"'")
			}
			if !ok {
				return 0, true, errcode.New(errcode.NoSuchCollation, t.text)
			}
			return id, true, nil
		case t.op == opField:
			return t.field.Collation, false, nil
		case t.op == opConcat:
			return collationOfConcat(t)
		case t.op == opFunction:
			return 0, false, nil
		default:
			t = collatedOperand(t)
		}
	}
	return 0, false, nil
}

func collationOfConcat(t *term) (uint32, bool, error) {
	left, leftForced, err := collationOf(t.left)
	if err != nil {
		return 0, false, err
	}
	right, rightForced, err := collationOf(t.right)
	switch {
	case err != nil:
		return 0, false, err
	case leftForced && rightForced && left != right:
		return 0, false, errcode.New(errcode.IllegalCollationMix)
	case leftForced:
		return left, true, nil
	case rightForced:
		return right, true, nil
	case left != right:
		return 0, false, nil
	}
	return left, false, nil
}

// collatedOperand is the operand of a term that has a COLLATE in it, or nil.
func collatedOperand(t *term) *term {
	for x := range t.operands {
		if x.collates {
			return x
		}
	}
	return nil
}

// collate adds to a term the order in which some of its operands are compared; false if there is none.
func (b *binder) collate(t *term, operands ...*term) bool {
	var id uint32
	var forced bool
	for n, x := range operands {
		next, nextForced, err := collationOf(x)
		if err != nil {
			b.fail(err)
			return false
		}
		if n == 0 {
			id, forced = next, nextForced
			continue
		}
		both, err := compatible(id, forced, next, nextForced)
		if err != nil {
			b.fail(err)
			return false
		}
		if id = both; id == next {
			forced = nextForced
		}
	}
	b.ordered(t, id, nil)
	return true
}

func compatible(a uint32, aForced bool, b uint32, bForced bool) (uint32, error) {
	switch {
	case aForced && (!bForced || a == b):
		return a, nil
	case bForced && !aForced, a == tuple.CollationNone:
		return b, nil
	case !aForced && (a == b || b == tuple.CollationNone):
		return a, nil
	}
	return 0, errcode.New(errcode.IllegalCollationMix)
}

func (b *binder) ordered(t *term, id uint32, err error) {
	if err != nil {
		b.fail(err)
		return
	}
	t.orders = append(t.orders, tuple.StringOrder(id))
}

// collated goes over a COLLATE.
func (b *binder) collated(t *term, apart bool) {
	inner := t.left
	for inner.op == opCollate {
		inner = inner.left
	}
	if s := inner.static(); s != tuple.String && s != tuple.Scalar {
		b.fail(errcode.New(errcode.SQLParserGeneric, "COLLATE clause can't be used with non-string arguments"))
		return
	}
	b.target(t.left, apart)
}
