package expr

import (
	"encoding/hex"
	"strconv"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// Field is a field that an expression may name.
type Field struct {
	Name      string
	Type      tuple.FieldType
	Collation uint32
}

// Program is an expression that is bound to the fields of a space. It is immutable.
type Program struct {
	root *term
	// err is what computing the constant parts has failed with: then no row passes.
	err error
}

// binder finds names, and goes over the tree in the order in which version 2.6 makes code of it: that decides which error
// is seen, and which parts are computed before the others.
type binder struct {
	space     string
	fields    []Field
	constants []*term
	err       error
}

// Bind finds the fields and functions of an expression for a space and computes what needs no row; the program is for
// Value. It uses the expression up. Errors: 51, 153, 174, 176, 186, 189, 190, 193, 197, 202, 12004.
func (e *Expr) Bind(space string, fields []Field) (*Program, error) {
	return e.bind(space, fields, func(b *binder) { b.target(e.root, true) })
}

// BindCondition is Bind for a program for Check.
func (e *Expr) BindCondition(space string, fields []Field) (*Program, error) {
	return e.bind(space, fields, func(b *binder) { b.ifTrue(e.root) })
}

func (e *Expr) bind(space string, fields []Field, visit func(*binder)) (*Program, error) {
	b := &binder{space: space, fields: fields}
	if err := b.resolve(e.root); err != nil {
		return nil, err
	}
	visit(b)
	for n := 0; n < len(b.constants) && b.err == nil; n++ {
		b.target(b.constants[n], false)
	}
	if b.err != nil {
		return nil, b.err
	}
	p := &Program{root: e.root}
	var m machine
	for _, t := range b.constants {
		v, err := m.value(t)
		if err != nil {
			p.err = err
			break
		}
		t.value, t.ready = v, true
	}
	return p, nil
}

// fail keeps the last error: that is the one which version 2.6 shows.
func (b *binder) fail(err error) { b.err = err }

// resolve finds names. Its first error ends it.
func (b *binder) resolve(t *term) error {
	switch {
	case t.op == opName:
		return b.resolveName(t)
	case t.op == opFunction:
		if err := b.resolveCall(t); err != nil {
			return err
		}
	case t.op == opQuery:
		return errcode.New(errcode.CKDefUnsupported, "Subqueries")
	case t.op.compares():
		if left, right := t.left.size(), t.right.size(); left != right {
			return errcode.New(errcode.SQLColumnCount, left, right)
		}
	case t.op == opBetween:
		for _, x := range t.list {
			if left, right := t.left.size(), x.size(); left != right {
				return errcode.New(errcode.SQLColumnCount, left, right)
			}
		}
	}
	t.varies = t.op == opField
	for x := range t.operands {
		if err := b.resolve(x); err != nil {
			return err
		}
		t.varies = t.varies || x.varies
	}
	return nil
}

func (b *binder) resolveName(t *term) error {
	if t.left == nil || t.left.text == b.space {
		for n := range b.fields {
			if b.fields[n].Name == t.text {
				t.op, t.left, t.field, t.position, t.varies = opField, nil, &b.fields[n], n, true
				return nil
			}
		}
	}
	if t.left != nil {
		return errcode.New(errcode.NoSuchFieldNameInSpace, t.text, t.left.text)
	}
	return errcode.New(errcode.SQLCantResolveField, t.text)
}

func (b *binder) resolveCall(t *term) error {
	f := functions[t.text]
	switch {
	case aggregates[t.text]:
		return errcode.New(errcode.SQLParserGeneric, "misuse of aggregate function "+t.text+"()")
	case hidden[t.text]:
		return errcode.New(errcode.SQLParserGeneric, "function "+t.text+"() is not available in SQL")
	case missing[t.text]:
		return errcode.New(errcode.NotImplemented, "function "+t.text+"()")
	case f == nil:
		return errcode.New(errcode.NoSuchFunction, t.text)
	case f.arguments >= 0 && f.arguments != len(t.list):
		return errcode.New(errcode.FuncWrongArgCount, t.text, strconv.Itoa(f.arguments), len(t.list))
	}
	if f.first && len(t.list) == 2 {
		p := t.list[1]
		if r, _ := parseReal([]byte(p.text)); p.op != opFloat || r > 1 {
			return errcode.New(errcode.IllegalParams, "second argument to likelihood() must be a constant between 0.0 and 1.0")
		}
	}
	t.function, t.declared = f, f.returns
	return nil
}

// ifTrue and ifFalse go over a term that is a condition.
func (b *binder) ifTrue(t *term) {
	switch {
	case t.op == opAnd:
		b.ifFalse(t.left)
		b.ifTrue(t.right)
	case t.op == opOr:
		b.ifTrue(t.left)
		b.ifTrue(t.right)
	case t.op == opNot:
		b.ifFalse(t.left)
	default:
		b.condition(t)
	}
}

func (b *binder) ifFalse(t *term) {
	switch {
	case t.op == opAnd:
		b.ifFalse(t.left)
		b.ifFalse(t.right)
	case t.op == opOr:
		b.ifTrue(t.left)
		b.ifFalse(t.right)
	case t.op == opNot:
		b.ifTrue(t.left)
	default:
		b.condition(t)
	}
}

// condition goes over a condition that is neither AND nor OR nor NOT.
func (b *binder) condition(t *term) {
	switch {
	case t.op.compares() && t.left.op != opVector:
		b.temp(t.left, true)
		b.temp(t.right, true)
		b.collate(t, t.left, t.right)
	case t.op == opIsNull || t.op == opNotNull:
		b.temp(t.left, true)
	case t.op == opBetween || t.op == opIn:
		b.target(t, true)
	case t.op == opTrue || t.op == opFalse:
		b.literal(t, false)
	default:
		b.temp(t, true)
	}
}

// temp goes over an operand. If it is constant and apart is true, it is computed apart and before all else.
func (b *binder) temp(t *term, apart bool) {
	if apart && !t.varies {
		b.constants = append(b.constants, t)
		return
	}
	b.target(t, apart)
}

// target goes over a term that is computed where it stands.
func (b *binder) target(t *term, apart bool) {
	switch {
	case t.op <= opBlob:
		b.literal(t, false)
	case t.op == opVector:
		b.fail(errcode.New(errcode.SQLParserGeneric, "row value misused"))
	case t.op == opNegate && (t.left.op == opInteger || t.left.op == opFloat):
		b.literal(t.left, true)
	case t.op == opCast || t.op == opPlus:
		b.target(t.left, apart)
	case t.op == opCollate:
		b.collated(t, apart)
	case t.op == opFunction:
		b.call(t, apart)
	case t.op == opCase:
		b.choice(t, apart)
	case t.op == opBetween:
		b.between(t, apart)
	case t.op == opIn:
		b.in(t, apart)
	case t.op.compares():
		b.compare(t, t.left, t.right, apart)
	default:
		for x := range t.operands {
			b.temp(x, apart)
		}
	}
}

// compare goes over both sides of a comparison.
func (b *binder) compare(t, left, right *term, apart bool) {
	l, r := left.values(), right.values()
	for n := range l {
		b.temp(l[n], apart)
		b.temp(r[n], apart)
		b.collate(t, l[n], r[n])
	}
}

func (b *binder) between(t *term, apart bool) {
	left := t.left.values()
	for _, x := range left {
		b.temp(x, apart)
	}
	for _, edge := range t.list {
		for n, x := range edge.values() {
			b.temp(x, apart)
			b.collate(t, left[n], x)
		}
	}
}

func (b *binder) in(t *term, apart bool) {
	if t.left.op == opVector {
		b.fail(errcode.New(errcode.SQLColumnCount, t.left.size(), 1))
		return
	}
	b.temp(t.left, apart)
	for _, x := range t.list {
		b.temp(x, apart)
	}
	id, _, err := collationOf(t.left)
	b.ordered(t, id, err)
}

func (b *binder) choice(t *term, apart bool) {
	if t.left != nil {
		b.temp(t.left, apart)
	}
	for n := range t.list {
		switch {
		case n%2 == 1 || n == len(t.list)-1:
			b.target(t.list[n], apart)
		case t.left != nil:
			b.temp(t.list[n], apart)
			b.collate(t, t.left, t.list[n])
		case apart:
			b.ifFalse(t.list[n])
		default:
			b.plain(t.list[n])
		}
	}
}

// plain is ifFalse for a term that is computed apart as a whole: nothing of it is taken out once more.
func (b *binder) plain(t *term) {
	switch {
	case t.op == opAnd || t.op == opOr:
		b.plain(t.left)
		b.plain(t.right)
	case t.op == opNot:
		b.plain(t.left)
	default:
		b.target(t, false)
	}
}

func (b *binder) call(t *term, apart bool) {
	f := t.function
	if f.fewest > len(t.list) {
		b.fail(errcode.New(errcode.FuncWrongArgCount, t.text, "at least two", len(t.list)))
		return
	}
	switch {
	case f.coalesce:
		for _, x := range t.list {
			b.target(x, apart)
		}
		return
	case f.first:
		b.target(t.list[0], apart)
		return
	}
	if f.collates && !b.collate(t, t.list...) {
		return
	}
	for _, x := range t.list {
		b.temp(x, apart)
	}
}

// literal makes the value of a literal.
func (b *binder) literal(t *term, negative bool) {
	t.ready = true
	switch t.op {
	case opNull:
		t.value = null
	case opTrue, opFalse:
		t.value = boolean(t.op == opTrue)
	case opString:
		t.value = Value{form: isText, typed: noType, bytes: []byte(t.text)}
	case opBlob:
		raw, err := hex.DecodeString(t.text[2 : len(t.text)-1])
		if err != nil {
			b.fail(err)
		}
		t.value = Value{form: isBinary, typed: tuple.Varbinary, bytes: raw}
	case opFloat:
		f, _ := parseReal([]byte(t.text))
		if negative {
			f = -f
		}
		t.value = double(f)
	default:
		v, err := literalInteger(t.text, negative)
		if err != nil {
			b.fail(err)
		}
		t.value = v
	}
}

func literalInteger(s string, negative bool) (Value, error) {
	sign := ""
	if negative {
		sign = "-"
	}
	if len(s) > 2 && s[1]|0x20 == 'x' {
		u, err := strconv.ParseUint(s[2:], 16, 64)
		if err != nil || negative && u>>63 != 0 {
			return null, errcode.New(errcode.HexLiteralMax, sign, s, len(s)-2, 16)
		}
		return integer(negated(u, negative), negative && u != 0), nil
	}
	u, err := strconv.ParseUint(s, 10, 64)
	if err != nil || negative && u > 1<<63 {
		return null, errcode.New(errcode.IntLiteralMax, sign, s)
	}
	return integer(negated(u, negative), negative && u != 0), nil
}

func negated(u uint64, negative bool) uint64 {
	if negative {
		return -u
	}
	return u
}
