package box

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/sql/expr"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// check is the compiled form of a row of _ck_constraint. It is immutable.
type check struct {
	name, code string
	enabled    bool
	program    *expr.Program
}

// messageBytesMax is how long the text of an error about a constraint gets, as in Tarantool.
const messageBytesMax = 511

func constraintError(code errcode.Code, args ...any) error {
	err := errcode.New(code, args...)
	err.Message = err.Message[:min(len(err.Message), messageBytesMax)]
	return err
}

// fulfils tells whether a tuple passes the check constraints of the space, with error 196 or what the expression fails
// with. They are computed in their order: the newest first.
func (s *Space) fulfils(tup []byte) error {
	for _, c := range s.checks {
		if !c.enabled {
			continue
		}
		ok, err := c.program.Check(tup)
		if err != nil {
			return err
		}
		if !ok {
			return constraintError(errcode.CKConstraintFailed, c.name, c.code)
		}
	}
	return nil
}

// compile binds a check constraint to the fields of a space.
func (c check) compile(sp *Space) (*check, error) {
	if len(sp.Fields) == 0 {
		return nil, errcode.New(errcode.Unsupported, "Tarantool", "CK constraint for space without format")
	}
	fields := make([]expr.Field, len(sp.Fields))
	for n, f := range sp.Fields {
		fields[n] = expr.Field{Name: f.Name, Type: f.Type, Collation: f.Collation}
	}
	e, err := expr.Parse(c.code)
	if err == nil {
		c.program, err = e.BindCondition(sp.Name, fields)
	}
	if err != nil {
		return nil, constraintError(errcode.CreateCKConstraint, c.name, err)
	}
	return &c, nil
}

// compiledChecks binds check constraints to a space that has changed. Their order turns round, as in Tarantool.
func compiledChecks(old []*check, sp *Space) ([]*check, error) {
	var all []*check
	for _, c := range old {
		n, err := c.compile(sp)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	slices.Reverse(all)
	return all, nil
}

func (s *Space) check(name string) *check {
	for _, c := range s.checks {
		if c.name == name {
			return c
		}
	}
	return nil
}

// prepareCheck is prepareDDL for _ck_constraint: [space, name, is_deferred, language, code, is_enabled].
func (e *Engine) prepareCheck(before, after []byte) (func(), error) {
	row := before
	if row == nil {
		row = after
	}
	sp, err := e.constrained(firstUint(row, 0))
	if err != nil {
		return nil, err
	}
	n := sp.copy()
	if after == nil {
		n.checks = without(sp.checks, sp.check(stringAt(before, 1)))
		return func() { e.schema = e.schema.with(n) }, nil
	}
	c, err := parseCheck(after)
	if err != nil {
		return nil, err
	}
	old := sp.check(c.name)
	if old != nil && old.code == c.code {
		return e.prepareSwitch(n, old, c.enabled), nil
	}
	if some, err := e.refusesConstraints(sp); some || err != nil {
		return nil, cmp.Or(err, constraintError(errcode.CreateCKConstraint, c.name, "referencing space must be empty"))
	}
	compiled, err := c.compile(sp)
	if err != nil {
		return nil, err
	}
	if err := sp.nameIsFree(c.name); old == nil && err != nil {
		return nil, err
	}
	n.checks = append([]*check{compiled}, without(sp.checks, old)...)
	return func() { e.schema = e.schema.with(n) }, nil
}

// prepareSwitch enables or disables a check constraint of a fresh copy of its space. Rows that are there are not looked
// at, and the version of the schema stays.
func (e *Engine) prepareSwitch(n *Space, old *check, enabled bool) func() {
	switched := *old
	switched.enabled = enabled
	n.checks = slices.Clone(n.checks)
	n.checks[slices.Index(n.checks, old)] = &switched
	return func() {
		version := e.schema.Version
		e.schema = e.schema.with(n)
		e.schema.Version = version
	}
}

func parseCheck(row []byte) (check, error) {
	deferred, _, err := msgpack.ReadBool(tuple.FieldAt(row, 2))
	if err != nil {
		return check{}, err
	}
	if deferred {
		return check{}, errcode.New(errcode.Unsupported, "Tarantool", "deferred ck constraints")
	}
	c := check{name: stringAt(row, 1), enabled: true}
	if len(c.name) > nameBytesMax {
		return c, constraintError(errcode.CreateCKConstraint, c.name[:shownNameBytes], "check constraint name is too long")
	}
	if !tuple.IsIdentifier(c.name) {
		return c, errcode.New(errcode.Identifier, c.name)
	}
	if language := stringAt(row, 3); !strings.EqualFold(language, "SQL") {
		return c, constraintError(errcode.FunctionLanguage, language, c.name)
	}
	c.code, _, _ = strings.Cut(stringAt(row, 4), "\x00")
	c.enabled, _, err = msgpack.ReadBool(tuple.FieldAt(row, 5))
	return c, err
}

// refusesConstraints tells whether a space has rows, so that no constraint can be put on them; one of the dictionary is as
// if it had some.
func (e *Engine) refusesConstraints(sp *Space) (bool, error) {
	if e.isSystem(sp.ID) || e.force {
		return e.isSystem(sp.ID), nil
	}
	return e.hasRows(sp)
}

// constrained returns the space whose constraints a row of _ck_constraint or _fk_constraint changes.
func (e *Engine) constrained(id uint64) (*Space, error) {
	sp, err := e.named(id)
	if err != nil {
		return nil, err
	}
	return sp, e.locked(sp)
}

// named returns the space that a row of the dictionary names.
func (e *Engine) named(id uint64) (*Space, error) {
	if sp := e.schema.Space(uint32(id)); sp != nil && id == uint64(sp.ID) {
		return sp, nil
	}
	return nil, errcode.New(errcode.NoSuchSpace, strconv.FormatUint(id, 10))
}

// stringAt reads a field that the format of the space says is a string.
func stringAt(row []byte, field int) string {
	s, _, err := msgpack.ReadStr(tuple.FieldAt(row, field))
	if err != nil {
		return ""
	}
	return string(s)
}

// without returns a list without one of its entries.
func without[T comparable](list []T, gone T) []T {
	return slices.DeleteFunc(slices.Clone(list), func(x T) bool { return x == gone })
}

// nameIsFree refuses a name that a unique index, a foreign key or a check constraint of the space has: they share names.
func (s *Space) nameIsFree(name string) error {
	taken := func(kind string) error { return errcode.New(errcode.ConstraintExists, kind, name, s.Name) }
	for _, ix := range s.Indexes {
		switch {
		case ix.Name != name || !ix.Unique:
		case ix.ID == 0:
			return taken("PRIMARY KEY")
		default:
			return taken("UNIQUE")
		}
	}
	if s.foreignKey(name) != nil {
		return taken("FOREIGN KEY")
	}
	if s.check(name) != nil {
		return taken("CHECK")
	}
	return nil
}

// checkIndexName refuses an index whose name is that of a constraint of the space, once it is a constraint as well: that
// is, unique.
func (d *IndexDef) checkIndexName(sp *Space) error {
	old := sp.Index(d.ID)
	if !d.Unique || old != nil && old.Unique && old.Name == d.Name {
		return nil
	}
	return sp.nameIsFree(d.Name)
}

// checkDefaults refuses a format in which the default of a field is no expression. What the expression is about does not
// matter, and no default is ever used: only INSERT of SQL would.
func checkDefaults(format []byte) error {
	n, b, err := msgpack.ReadArrayLen(format)
	for ; n > 0 && err == nil; n-- {
		if b, err = checkDefault(b); err != nil {
			return err
		}
	}
	return err
}

// checkDefault checks one field of a format and returns what follows.
func checkDefault(b []byte) ([]byte, error) {
	n, b, err := msgpack.ReadMapLen(b)
	for ; n > 0 && err == nil; n-- {
		var key, text []byte
		if key, b, err = msgpack.ReadStr(b); err != nil {
			return nil, err
		}
		if string(key) != "default" {
			b, err = msgpack.Skip(b)
			continue
		}
		if text, b, err = msgpack.ReadStr(b); err != nil || len(text) == 0 {
			continue
		}
		if _, err := expr.Parse(string(text)); err != nil && !errcode.Is(err, errcode.CKDefUnsupported) && !errcode.Is(err, errcode.NotImplemented) {
			return nil, err
		}
	}
	return b, err
}
