package expr

import (
	"strings"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// The bounds of an expression: symbols that wait on the parser's stack, the height of the tree, and arguments of one
// function. They are those of version 2.6.
const (
	stackMax     = 94
	heightMax    = 200
	argumentsMax = 127
)

// How strongly operators bind, from OR to the unary ones.
const (
	bindOr = iota + 1
	bindAnd
	bindNot
	bindEqual
	bindLess
	bindEscape
	bindBit
	bindAdd
	bindMultiply
	bindConcat
	bindCollate
	bindUnary
)

var binary = map[kind]struct {
	op   op
	bind int
}{
	kOr: {opOr, bindOr}, kAnd: {opAnd, bindAnd}, kEqual: {opEqual, bindEqual}, kNotEqual: {opNotEqual, bindEqual},
	kLess: {opLess, bindLess}, kLessEqual: {opLessEqual, bindLess}, kGreater: {opGreater, bindLess},
	kGreaterEqual: {opGreaterEqual, bindLess}, kBitAnd: {opBitAnd, bindBit}, kBitOr: {opBitOr, bindBit},
	kShiftLeft: {opShiftLeft, bindBit}, kShiftRight: {opShiftRight, bindBit}, kPlus: {opAdd, bindAdd},
	kMinus: {opSubtract, bindAdd}, kStar: {opMultiply, bindMultiply}, kSlash: {opDivide, bindMultiply},
	kPercent: {opRemainder, bindMultiply}, kConcat: {opConcat, bindConcat},
}

// Expr is an expression that was read and not yet bound to fields.
type Expr struct{ root *term }

// parser reads one text. Its first error ends it: then all its functions return nil.
type parser struct {
	rest      string
	tok, last token
	line, pos int
	depth     int
	// early tells that a token was looked at that the grammar of version 2.6 names early, and that could not stand there as
	// such; that decides how it words a refusal.
	early bool
	err   error
}

// Parse reads an expression: what may stand between SELECT and the end of a statement, of several columns the first.
// Errors: 180 and 191 an expression that is too deep, 183-185 a text that is none, 190 and 206.
func Parse(text string) (*Expr, error) {
	text, _, _ = strings.Cut(text, "\x00")
	lead := spaces(text) // one token with the space behind SELECT
	p := &parser{rest: text[lead:], line: 1, pos: 1 + lead, last: token{text: " " + text[:lead]}}
	p.scan()
	if p.tok.kind == kDistinct || p.tok.kind == kAll {
		p.take()
	} else {
		p.early = p.tok.early
	}
	root := p.expr(0)
	p.alias()
	for p.err == nil && p.tok.kind == kComma {
		p.take()
		p.expr(0)
		p.alias()
		p.depth = 0
	}
	if p.tok.kind == kSemicolon {
		p.take()
	}
	switch p.tok.kind {
	case kEnd:
	case kFrom, kClause:
		p.fail(errcode.New(errcode.NotImplemented, "a query as the code of a check constraint"))
	default:
		p.refuse()
	}
	if p.err != nil {
		return nil, p.err
	}
	return &Expr{root: root}, nil
}

// alias passes over the name of a column.
func (p *parser) alias() {
	switch p.tok.kind {
	case kAs:
		p.take()
		p.name()
	case kID, kFallback, kString:
		p.take()
	}
}

func (p *parser) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// refuse fails because the token at hand cannot stand where it is.
func (p *parser) refuse() {
	t := p.tok
	if (p.early || t.early) && t.reserved {
		p.fail(reservedWord(p.line, p.pos, t.text))
		return
	}
	p.fail(errcode.New(errcode.SQLSyntaxNearToken, p.line, t.text))
}

func reservedWord(line, pos int, word string) error {
	return errcode.New(errcode.SQLKeywordIsReserved, line, pos, word, word)
}

// scan moves to the next token that means something.
func (p *parser) scan() {
	for p.err == nil {
		if p.rest == "" {
			p.tok = token{kind: kEnd, text: p.last.text, reserved: p.last.reserved, early: true}
			return
		}
		p.tok = next(p.rest)
		p.last = p.tok
		switch p.tok.kind {
		case kIllegal:
			p.fail(errcode.New(errcode.SQLUnknownToken, p.line, p.pos, p.tok.text))
			return
		case kSpace, kNewline:
			p.pass()
		default:
			return
		}
	}
}

// pass goes behind the token at hand.
func (p *parser) pass() {
	p.rest = p.rest[len(p.tok.text):]
	p.pos += len(p.tok.text)
	if p.tok.kind == kNewline {
		p.line++
		p.pos = 1
	}
}

// push counts a symbol that waits on the stack.
func (p *parser) push() {
	if p.depth++; p.depth > stackMax {
		p.fail(errcode.New(errcode.SQLStackOverflow))
	}
}

// take returns the token at hand and moves on.
func (p *parser) take() token {
	t := p.tok
	if p.err != nil {
		return t
	}
	p.push()
	if p.err == nil && t.kind != kEnd {
		p.pass()
		p.scan()
	}
	return t
}

// want takes a token of the given kind.
func (p *parser) want(k kind) token {
	if p.tok.kind != k {
		p.refuse()
	}
	return p.take()
}

// settle leaves one symbol on the stack in the place of those above depth.
func (p *parser) settle(depth int) { p.depth = depth + 1 }

func (p *parser) is(k kind) bool { return p.err == nil && p.tok.kind == k }

func upper(s []byte) []byte { return cases.Upper(language.Und).Bytes(s) }

// plain is a name as it is looked up: quoted ones as they are, others in upper case. After an error the token may be any,
// one without its closing quote too; what is made of it then is not used.
func plain(t token) string {
	if t.text == "" || t.text[0] != '"' && t.text[0] != '\'' {
		return string(upper([]byte(t.text)))
	}
	q := t.text[:1]
	if len(t.text) < 2 {
		return ""
	}
	return strings.ReplaceAll(t.text[1:len(t.text)-1], q+q, q)
}

// name reads the name of a table or column.
func (p *parser) name() string {
	if p.tok.kind != kID && p.tok.kind != kFallback {
		p.refuse()
	}
	t := p.take()
	if p.err == nil && t.reserved {
		p.fail(reservedWord(p.line, p.pos, t.text))
	}
	return plain(t)
}

// grown makes a term whose operands are there, and bounds its height.
func (p *parser) grown(t *term) *term {
	if p.err != nil {
		return nil
	}
	t.collates = t.op == opCollate
	for x := range t.operands {
		t.height = max(t.height, x.height)
		t.collates = t.collates || x.collates
	}
	if t.height++; t.height > heightMax {
		p.fail(errcode.New(errcode.SQLParserLimit, "Number of nodes in expression tree", t.height, heightMax))
		return nil
	}
	return t
}

// expr reads an expression whose operators bind more strongly than the given one. At the end of it one symbol is on the
// stack.
func (p *parser) expr(above int) *term { return p.operators(p.operand(), above, false) }

// operators goes on with what follows an operand. Before the AND of a BETWEEN it stops.
func (p *parser) operators(left *term, above int, untilAnd bool) *term {
	depth := p.depth - 1
	for p.err == nil && !(untilAnd && p.tok.kind == kAnd) {
		t, ok := p.operator(left, above)
		if !ok {
			break
		}
		left = t
		p.settle(depth)
		p.early = p.early || p.tok.early
	}
	return left
}

// operator reads one operator and its right side.
func (p *parser) operator(left *term, above int) (*term, bool) {
	if b, ok := binary[p.tok.kind]; ok && b.bind > above {
		p.take()
		right := p.expr(b.bind)
		if b.op == opAnd && p.err == nil && (left.op == opFalse || right.op == opFalse) {
			return p.grown(&term{op: opFalse, declared: tuple.Boolean}), true
		}
		return p.grown(&term{op: b.op, left: left, right: right, declared: tuple.Any}), true
	}
	switch k := p.tok.kind; {
	case k == kNot && bindNot > above:
		p.take()
		switch p.tok.kind {
		case kLike, kMatch, kBetween, kIn:
			t := p.infix(left)
			return p.grown(&term{op: opNot, left: t}), true
		}
		p.refuse()
		return nil, true
	case (k == kLike || k == kMatch || k == kBetween || k == kIn) && bindEqual > above:
		return p.infix(left), true
	case k == kIs && bindEqual > above:
		p.take()
		o := opIsNull
		if p.is(kNot) {
			p.take()
			o = opNotNull
		}
		p.want(kNull)
		return p.grown(&term{op: o, left: left}), true
	case k == kCollate && bindCollate > above:
		p.take()
		if p.tok.kind != kID && p.tok.kind != kFallback {
			p.refuse()
		}
		return p.grown(&term{op: opCollate, left: left, text: plain(p.take())}), true
	}
	return left, false
}

// infix reads LIKE, BETWEEN or IN.
func (p *parser) infix(left *term) *term {
	t := p.take()
	switch t.kind {
	case kBetween:
		low := p.operators(p.operand(), 0, true)
		p.want(kAnd)
		high := p.expr(bindEqual)
		return p.grown(&term{op: opBetween, left: left, list: []*term{low, high}})
	case kIn:
		return p.in(left)
	}
	f := &term{op: opFunction, text: plain(t), list: []*term{p.expr(bindEqual), left}}
	if p.is(kEscape) {
		p.take()
		f.list = append(f.list, p.expr(bindEqual))
	}
	return p.grown(f)
}

// in reads what follows IN: a list; one of one value is an equality, an empty one is false.
func (p *parser) in(left *term) *term {
	if p.tok.kind == kID || p.tok.kind == kFallback {
		p.name()
		return p.grown(&term{op: opQuery})
	}
	p.want(kOpen)
	if p.is(kSelect) {
		return p.query()
	}
	list := p.list(kClose)
	p.early = p.early || p.is(kClose)
	p.want(kClose)
	switch len(list) {
	case 0:
		return p.grown(&term{op: opFalse, declared: tuple.Boolean})
	case 1:
		return p.grown(&term{op: opEqual, left: left, right: list[0]})
	}
	return p.grown(&term{op: opIn, left: left, list: list})
}

// query stands for a subquery. What it is does not matter: no constraint may have one.
func (p *parser) query() *term {
	p.fail(errcode.New(errcode.CKDefUnsupported, "Subqueries"))
	return nil
}

// list reads expressions with commas between them, none if the closing token is there.
func (p *parser) list(end kind) []*term {
	var all []*term
	depth := p.depth
	if p.is(end) {
		p.push()
		return nil
	}
	for p.err == nil {
		all = append(all, p.expr(0))
		p.settle(depth)
		if !p.is(kComma) {
			break
		}
		p.take()
	}
	return all
}
