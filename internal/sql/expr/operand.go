package expr

import (
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/tuple"
)

var literals = map[kind]struct {
	op       op
	declared tuple.FieldType
}{
	kNull: {opNull, tuple.Scalar}, kTrue: {opTrue, tuple.Boolean}, kFalse: {opFalse, tuple.Boolean},
	kInteger: {opInteger, tuple.Integer}, kFloat: {opFloat, tuple.Double}, kString: {opString, tuple.String},
	kBlob: {opBlob, tuple.Varbinary},
}

var prefixes = map[kind]struct {
	op   op
	bind int
}{
	kNot: {opNot, bindNot - 1}, kBitNot: {opBitNot, bindUnary - 1}, kMinus: {opNegate, bindUnary - 1},
	kPlus: {opPlus, bindUnary - 1},
}

// operand reads what an operator may stand behind. It leaves one symbol on the stack.
func (p *parser) operand() *term {
	if p.err != nil {
		return nil
	}
	depth := p.depth
	t := p.bareOperand()
	p.settle(depth)
	return t
}

func (p *parser) bareOperand() *term {
	if l, ok := literals[p.tok.kind]; ok {
		t := p.take()
		text := t.text
		if t.kind == kString {
			text = plain(t)
		}
		return &term{op: l.op, declared: l.declared, text: text, height: 1}
	}
	if f, ok := prefixes[p.tok.kind]; ok {
		p.take()
		x := p.expr(f.bind)
		return p.grown(&term{op: f.op, left: x})
	}
	switch p.tok.kind {
	case kID, kFallback, kMatch, kEndCase:
		return p.named()
	case kJoin, kChar:
		t := p.take()
		if t.kind == kChar || p.is(kDot) {
			return p.qualified(t)
		}
		return &term{op: opName, text: plain(t), height: 1}
	case kOpen:
		return p.parenthesis()
	case kVariable:
		p.take()
		p.fail(errcode.New(errcode.SQLParserGenericWithPos, p.line, p.pos, "bindings are not allowed in DDL"))
	case kCast:
		return p.cast()
	case kTrim:
		return p.trim()
	case kCase:
		return p.choice()
	case kExists:
		p.take()
		p.want(kOpen)
		if p.is(kSelect) {
			return p.query()
		}
		p.refuse()
	case kRaise:
		p.take()
		p.want(kOpen)
		p.fail(errcode.New(errcode.SQLParserGeneric, "RAISE() may only be used within a trigger-program"))
	default:
		p.refuse()
	}
	return nil
}

// named reads the name of a field, or a call.
func (p *parser) named() *term {
	t := p.take()
	if p.tok.kind != kOpen && p.tok.kind != kDot {
		p.early = p.early || p.tok.early
		return &term{op: opName, text: plain(t), height: 1}
	}
	return p.qualified(t)
}

// qualified reads what follows a name before a dot or a parenthesis.
func (p *parser) qualified(t token) *term {
	if p.is(kDot) {
		if t.kind == kJoin || t.kind == kChar {
			p.refuse()
		}
		if t.reserved {
			p.fail(reservedWord(p.line, p.pos, t.text))
		}
		p.take()
		column := p.name()
		return p.grown(&term{op: opName, left: &term{text: plain(t), height: 1}, text: column})
	}
	p.want(kOpen)
	f := &term{op: opFunction, text: plain(t)}
	if p.is(kStar) && t.kind != kChar {
		p.take()
		p.want(kClose)
		return p.grown(f)
	}
	if p.is(kDistinct) || p.is(kAll) {
		p.take()
	} else {
		p.early = p.early || p.tok.early
		p.push()
	}
	f.list = p.list(kClose)
	p.early = p.early || p.is(kClose)
	p.want(kClose)
	if p.err == nil && len(f.list) > argumentsMax {
		p.fail(errcode.New(errcode.SQLParserLimit, "Number of arguments to function "+t.text, len(f.list), argumentsMax))
	}
	return p.grown(f)
}

func (p *parser) parenthesis() *term {
	p.take()
	if p.is(kSelect) {
		return p.query()
	}
	list := p.list(kEnd)
	p.want(kClose)
	if len(list) == 1 {
		return list[0]
	}
	return p.grown(&term{op: opVector, list: list, declared: tuple.Any})
}

var castTypes = map[string]tuple.FieldType{
	"BOOL": tuple.Boolean, "BOOLEAN": tuple.Boolean, "DOUBLE": tuple.Double, "INT": tuple.Integer, "INTEGER": tuple.Integer,
	"NUMBER": tuple.Number, "SCALAR": tuple.Scalar, "STRING": tuple.String, "TEXT": tuple.String,
	"UNSIGNED": tuple.Unsigned, "VARBINARY": tuple.Varbinary, "VARCHAR": tuple.String,
}

func (p *parser) cast() *term {
	p.take()
	p.want(kOpen)
	x := p.expr(0)
	p.want(kAs)
	name := plain(p.want(kType))
	if name == "VARCHAR" {
		p.want(kOpen)
		p.want(kInteger)
		p.want(kClose)
	}
	p.want(kClose)
	return p.grown(&term{op: opCast, left: x, declared: castTypes[name]})
}

// The sides of TRIM, as its first argument.
var trimSides = map[kind]string{kLeading: "1", kTrailing: "2", kBoth: "3"}

func (p *parser) trim() *term {
	t := p.take()
	p.want(kOpen)
	f := &term{op: opFunction, text: plain(t)}
	if side, ok := trimSides[p.tok.kind]; ok {
		p.take()
		f.list = append(f.list, &term{op: opInteger, text: side, declared: tuple.Integer, height: 1})
		if !p.is(kFrom) {
			f.list = append(f.list, p.expr(0))
		}
		p.want(kFrom)
		f.list = append(f.list, p.expr(0))
	} else {
		f.list = append(f.list, p.expr(0))
		if p.is(kFrom) {
			p.take()
			f.list = append(f.list, p.expr(0))
		}
	}
	p.early = p.early || p.is(kClose)
	p.want(kClose)
	return p.grown(f)
}

// choice reads a CASE: its list has conditions and results in turn, and at the end what ELSE gives.
func (p *parser) choice() *term {
	p.take()
	c := &term{op: opCase}
	if p.is(kWhen) {
		p.push()
	} else {
		c.left = p.expr(0)
	}
	depth := p.depth
	for p.err == nil && (p.is(kWhen) || len(c.list) == 0) {
		p.want(kWhen)
		c.list = append(c.list, p.expr(0))
		p.want(kThen)
		c.list = append(c.list, p.expr(0))
		p.settle(depth)
	}
	if p.is(kElse) {
		p.take()
		c.list = append(c.list, p.expr(0))
	}
	p.early = p.early || p.is(kEndCase)
	p.want(kEndCase)
	return p.grown(c)
}
