package console

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// name is a space, index or function as a command names it: by number if byID, else by its text.
type name struct {
	text string
	id   uint32
	byID bool
}

// fieldRef is a field as a command names it: by name, or by its number from 1 if the name is empty.
type fieldRef struct {
	name   string
	number uint32
}

// part is a part of an index to be made. kind is empty where the space's format shall say the type, collation the name of
// one or empty.
type part struct {
	field     fieldRef
	kind      string
	nullable  bool
	collation string
}

// command is one parsed command. Which fields are set depends on the verb; values are MessagePack, those named key,
// tuple, ops and args arrays with their headers.
type command struct {
	// verb is the command's name as the list of topics has it, for example "create space"; empty if the text held none.
	verb  string
	space name
	// index is number 0 unless the command names one; newName is the name of what is to be made or called.
	index   name
	newName string

	iterator      uint32
	offset, limit uint32

	// timeout of a transaction in seconds, 0 for the server's; isolation is its level.
	timeout   float64
	isolation uint64

	key, tuple, ops, args []byte

	format    []tuple.Field
	parts     []part
	kind      string
	nonunique bool

	// word is the argument of the commands about the console itself, empty if there was none.
	word string
}

// parse reads the first command of a text. Errors are *syntaxError, or *incompleteError.
func parse(text string) (command, error) {
	operands, _, err := lexOne(text)
	if err != nil || len(operands) == 0 {
		return command{}, err
	}
	p := &parser{rest: operands}
	verb := p.verb()
	if looksSQL(verb, p.rest) {
		first, _, _ := strings.Cut(verb, " ")
		return command{}, syntaxf(`this looks like SQL, which is not in this version, it comes later; \help %s tells what there is`, first)
	}
	t := topic(verb)
	if t == nil {
		return command{}, unknownVerb(verb)
	}
	c := command{verb: t.verb, limit: math.MaxUint32, index: name{byID: true}}
	if err := p.command(&c); err != nil {
		return command{}, syntaxf("%s: %v; usage: %s", c.verb, err, t.usage)
	}
	if len(p.rest) > 0 {
		return command{}, syntaxf("%s: %s is too much; usage: %s", c.verb, clip(p.rest[0].text), t.usage)
	}
	return c, nil
}

// looksSQL tells whether a command was meant as a statement of SQL: what the verbs of both have behind them differs.
func looksSQL(verb string, rest []operand) bool {
	after := map[string][]string{"select": {"*", "from"}, "insert": {"into"}, "replace": {"into"}, "delete": {"from"}, "update": {"set"},
		"create table": nil, "drop table": nil}
	words, known := after[verb]
	if known && words == nil {
		return true
	}
	for _, o := range rest[:min(len(rest), 2)] {
		if o.kind == bare && slices.Contains(words, strings.ToLower(o.text)) {
			return true
		}
	}
	return false
}

func unknownVerb(verb string) error {
	var verbs []string
	for _, t := range topics() {
		verbs = append(verbs, t.verb)
	}
	if near, ok := config.Nearest(verb, verbs); ok {
		return syntaxf(`unknown command %s; did you mean %s?`, clip(verb), near)
	}
	return syntaxf(`unknown command %s; \help lists the commands`, clip(verb))
}

// parser holds the operands that are not read yet.
type parser struct{ rest []operand }

// verb takes the command's name: one word, or two for create and drop.
func (p *parser) verb() string {
	first := strings.ToLower(p.next().text)
	if (first == "create" || first == "drop") && len(p.rest) > 0 {
		first += " " + strings.ToLower(p.next().text)
	}
	return first
}

func (p *parser) next() operand {
	o := p.rest[0]
	p.rest = p.rest[1:]
	return o
}

// word takes the next operand if it is one of the given keywords.
func (p *parser) word(words ...string) (string, bool) {
	if len(p.rest) > 0 && p.rest[0].kind == bare {
		if w := strings.ToLower(p.rest[0].text); slices.Contains(words, w) {
			p.next()
			return w, true
		}
	}
	return "", false
}

// command reads the operands of the verb.
func (p *parser) command(c *command) (err error) {
	switch c.verb {
	case "select", "count":
		return p.selects(c)
	case "begin":
		return p.begin(c)
	case "watch":
		return p.watch(c)
	case "sql", "lua":
		p.rest = nil
	case "get", "insert", "replace", "upsert":
		return p.change(c)
	case "update", "delete":
		return p.changeByKey(c)
	case "call":
		return p.call(c)
	case "indexes", "describe", "truncate", "drop space":
		return p.name(&c.space, "SPACE")
	case "drop index":
		if err = p.name(&c.space, "SPACE"); err == nil {
			err = p.name(&c.index, "NAME")
		}
		return err
	case "create space":
		return p.createSpace(c)
	case "create index":
		return p.createIndex(c)
	case "spaces":
		c.word, _ = p.word("all")
	case `\timing`, `\x`:
		c.word, _ = p.word("on", "off")
	case `\format`:
		c.word, _ = p.word("table", "json", "yaml")
	case `\help`:
		for len(p.rest) > 0 {
			c.word = strings.TrimSpace(c.word + " " + p.next().text)
		}
	}
	return nil
}

// name reads the name or number of a space, index or function.
func (p *parser) name(to *name, what string) error {
	if len(p.rest) == 0 {
		return syntaxf("%s is missing", what)
	}
	o := p.next()
	switch o.kind {
	case bracketed:
		return syntaxf("%s stands where %s should be", clip(o.text), what)
	case quoted:
		v := valueParser{text: o.text}
		text, err := v.str()
		*to = name{text: text}
		return err
	}
	*to = name{text: o.text}
	if strings.Trim(o.text, "0123456789") == "" {
		id, err := strconv.ParseUint(o.text, 10, 32)
		if err != nil {
			return syntaxf("number %s is too large", clip(o.text))
		}
		*to = name{id: uint32(id), byID: true}
	}
	return nil
}

// newName reads the name of something that is to be made.
func (p *parser) newName(c *command) error {
	var n name
	if err := p.name(&n, "NAME"); err != nil {
		return err
	}
	if n.byID {
		return syntaxf(`a name is wanted, not number %d; a name of digits is written in quotes`, n.id)
	}
	c.newName = n.text
	return nil
}

// value reads a JSON value.
func (p *parser) value(what string) ([]byte, error) {
	if len(p.rest) == 0 {
		return nil, syntaxf("%s is missing", what)
	}
	return parseValue(p.next().text)
}

// array reads a JSON array.
func (p *parser) array(what string) ([]byte, error) {
	v, err := p.value(what)
	if err == nil && msgpack.TypeOf(v[0]) != msgpack.TypeArray {
		err = syntaxf("%s is an array in brackets", what)
	}
	return v, err
}

// key reads a key: an array, or a value without brackets that is a key of one part.
func (p *parser) key() ([]byte, error) {
	v, err := p.value("KEY")
	if err == nil && msgpack.TypeOf(v[0]) != msgpack.TypeArray {
		v = append(msgpack.AppendArrayHeader(nil, 1), v...)
	}
	return v, err
}

// ops reads update operations: an array of them, or one of them alone.
func (p *parser) ops() ([]byte, error) {
	v, err := p.array("OPS")
	if err != nil {
		return nil, err
	}
	if n, first := msgpack.ArrayLenTrusted(v); n > 0 && msgpack.TypeOf(first[0]) != msgpack.TypeArray {
		v = append(msgpack.AppendArrayHeader(nil, 1), v...)
	}
	return v, nil
}

func (p *parser) selects(c *command) (err error) {
	if err := p.name(&c.space, "SPACE"); err != nil {
		return err
	}
	iterators := []string{"eq", "req", "all", "lt", "le", "ge", "gt"} // in the order of their numbers
	bounds := []string{"limit", "offset"}
	if c.verb == "count" {
		bounds = nil
	}
	words := append(slices.Clone(iterators), bounds...)
	keyword := func() bool {
		return len(p.rest) == 0 || p.rest[0].kind == bare && slices.Contains(words, strings.ToLower(p.rest[0].text))
	}
	if !keyword() && p.rest[0].kind != bracketed {
		if err := p.name(&c.index, "INDEX"); err != nil {
			return err
		}
	}
	w, named := p.word(iterators...)
	c.iterator = uint32(max(0, slices.Index(iterators, w)))
	if named && c.iterator != iproto.IterALL || !keyword() {
		if c.key, err = p.key(); err != nil {
			return err
		}
	} else {
		c.iterator = iproto.IterALL
	}
	for {
		w, ok := p.word(bounds...)
		switch {
		case !ok:
			return nil
		case w == "limit":
			err = p.number(&c.limit, w)
		default:
			err = p.number(&c.offset, w)
		}
		if err != nil {
			return err
		}
	}
}

// begin reads [timeout SECONDS] [isolation LEVEL].
func (p *parser) begin(c *command) error {
	for {
		w, ok := p.word("timeout", "isolation")
		switch {
		case !ok:
			return nil
		case len(p.rest) == 0:
			return syntaxf("what shall the %s be?", w)
		case w == "timeout":
			text := p.next().text
			seconds, err := strconv.ParseFloat(strings.TrimSuffix(text, "s"), 64)
			if err != nil || !(seconds > 0) || math.IsInf(seconds, 0) {
				return syntaxf("timeout %s: seconds above 0 are wanted, as 2.5 or 30s", clip(text))
			}
			c.timeout = seconds
		default:
			text := strings.ToLower(p.next().text)
			level := slices.Index(isolations, text)
			if level < 0 {
				return syntaxf("isolation %s: one of %s is wanted", clip(text), strings.Join(isolations, ", "))
			}
			c.isolation = uint64(level)
		}
	}
}

// watch reads KEY [COUNT].
func (p *parser) watch(c *command) error {
	if err := p.newName(c); err != nil || len(p.rest) == 0 {
		return err
	}
	if err := p.number(&c.limit, "COUNT"); err != nil || c.limit > 0 {
		return err
	}
	return syntaxf("COUNT is above 0")
}

func (p *parser) number(to *uint32, what string) error {
	if len(p.rest) == 0 {
		return syntaxf("the number after %s is missing", what)
	}
	text := p.next().text
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return syntaxf("%s %s: a number up to %d is wanted", what, clip(text), uint32(math.MaxUint32))
	}
	*to = uint32(n)
	return nil
}

// change reads what follows commands with a key or tuple and no index.
func (p *parser) change(c *command) (err error) {
	if err := p.name(&c.space, "SPACE"); err != nil {
		return err
	}
	if c.verb == "get" {
		c.key, err = p.key()
		return err
	}
	if c.tuple, err = p.array("TUPLE"); err == nil && c.verb == "upsert" {
		c.ops, err = p.ops()
	}
	return err
}

// changeByKey reads SPACE [INDEX] KEY, and OPS for an update; the index is there if one operand more is.
func (p *parser) changeByKey(c *command) (err error) {
	if err := p.name(&c.space, "SPACE"); err != nil {
		return err
	}
	operands := 1
	if c.verb == "update" {
		operands = 2
	}
	if len(p.rest) > operands {
		if err := p.name(&c.index, "INDEX"); err != nil {
			return err
		}
	}
	if c.key, err = p.key(); err == nil && c.verb == "update" {
		c.ops, err = p.ops()
	}
	return err
}

func (p *parser) call(c *command) error {
	var n name
	if err := p.name(&n, "NAME"); err != nil {
		return err
	}
	if c.newName = n.text; n.byID {
		c.newName = strconv.FormatUint(uint64(n.id), 10)
	}
	c.args = msgpack.AppendArrayHeader(nil, len(p.rest))
	for len(p.rest) > 0 {
		v, err := p.value("ARGS")
		if err != nil {
			return err
		}
		c.args = append(c.args, v...)
	}
	return nil
}
