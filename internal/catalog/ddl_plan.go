package catalog

import (
	"github.com/lycosadb/lycosa/internal/errcode"
)

// PendingSchema is the change of the schema that is under way. There is at most one.
type PendingSchema struct {
	Version uint64
	DDL     DDL
}

// PendingSchema returns the pending change.
func (s *State) PendingSchema() (PendingSchema, bool) {
	p, ok := one(ParseProperty, s.find(TableProperty, 0, Key(PropPendingSchemaChange)))
	if !ok {
		return PendingSchema{}, false
	}
	v, _ := s.PropertyUint(PropPendingSchemaVersion)
	r := reader{b: p.Value}
	return PendingSchema{Version: v, DDL: r.ddl()}, true
}

// TablesVersion returns the version of the newest committed change of tables, 0 if there was none: what the dictionaries
// of all replicasets are to reach.
func (s *State) TablesVersion() uint64 {
	v, _ := s.PropertyUint(PropTablesSchemaVersion)
	return v
}

// KeepsSchema reports whether changes of tables are changes of the catalog: there is more than one replicaset, or was. The
// tables of a lone replicaset are its own.
func (s *State) KeepsSchema() bool {
	if s.TablesVersion() > 0 || s.Len(TableTable) > 0 {
		return true
	}
	n := 0
	for _, rs := range s.Replicasets() {
		if !isLeaving(rs) {
			n++
		}
	}
	return n > 1
}

// NextSchemaVersion returns the version that the next change gets. One of a lower version has begun, and has ended unless it
// is the pending one.
func (s *State) NextSchemaVersion() uint64 {
	v, _ := s.PropertyUint(PropNextSchemaVersion)
	return v
}

// NextTableID returns the id that a table gets which does not ask for one. It is never one that was used before.
func (s *State) NextTableID() uint32 {
	v, _ := s.PropertyUint(PropNextTableID)
	return max(FirstTableID, uint32(min(v, tableIDMax+1)))
}

// PlanDDL builds the request that begins a change of the schema, and tells its version, by which SchemaOutcome knows it.
// Read at a linearizable index before: another change that is pending is no error of the client, who waits for the next
// index and tries again. Errors: those of the definition, 12050 another change is pending, 12053 mixed versions.
func PlanDDL(s *State, d DDL) (op Op, guard Predicate, version uint64, err error) {
	if p, ok := s.PendingSchema(); ok {
		return Op{}, Predicate{}, 0, errcode.New(errcode.SchemaPending, p.Version)
	}
	if low, high, mixed := s.releases(); mixed && d.Kind != DropTable && d.Kind != DropIndex && d.Kind != DropObject {
		return Op{}, Predicate{}, 0, errcode.New(errcode.SchemaMixedVersions, low.String(), high.String())
	}
	op = Op{Kind: DDLPrepare, DDL: d}
	if _, _, err := s.Clone().Execute(s.index+1, s.term, Item{Ops: []Op{op}, Initiator: AdminID}); err != nil {
		return Op{}, Predicate{}, 0, err
	}
	version, _ = s.PropertyUint(PropNextSchemaVersion)
	return op, Unchanged(s, Eq(TableProperty, Key(PropNextSchemaVersion))), version, nil
}

// releases returns the lowest and the highest release of the instances that are not expelled.
func (s *State) releases() (low, high release, mixed bool) {
	known := false
	for _, i := range s.Instances() {
		v, ok := parseRelease(i.Version)
		if !ok || isExpelled(i) {
			continue
		}
		if !known || v.less(low) {
			low = v
		}
		if !known || high.less(v) {
			high = v
		}
		known = true
	}
	return low, high, low != high
}

// PlanDDLCommit builds the request that ends the pending change well, to be made when all whom it needs have agreed.
// Errors: 12052 no change of that version is pending.
func PlanDDLCommit(s *State, version uint64) (Op, Predicate, error) {
	return s.planEnd(Op{Kind: DDLCommit, SchemaVersion: version})
}

// PlanDDLAbort builds the request that takes the pending change back. Errors: 12052 no change of that version is pending.
func PlanDDLAbort(s *State, version uint64, cause AbortCause) (Op, Predicate, error) {
	cause.Message = cause.Message[:min(len(cause.Message), abortTextMax)]
	return s.planEnd(Op{Kind: DDLAbort, SchemaVersion: version, Cause: cause})
}

// PlanDDLTakeBack is PlanDDLAbort for an operator who asks for it by the version that he was shown. What was taken back before
// gives Nop. Errors: 12052 there was no such change, 12072 it is committed, 12001 that is too long ago to know.
func PlanDDLTakeBack(s *State, version uint64, who string) (Op, Predicate, error) {
	if p, ok := s.PendingSchema(); ok && p.Version == version {
		return PlanDDLAbort(s, version, AbortCause{Code: uint32(errcode.SchemaAborted), Message: "asked for by " + who})
	}
	if version >= s.NextSchemaVersion() {
		return Op{}, Predicate{}, errcode.New(errcode.SchemaNotPending, version)
	}
	_, err := s.SchemaOutcome(version)
	switch {
	case errcode.Is(err, errcode.SchemaAborted):
		return Op{Kind: Nop}, Unchanged(s), nil
	case err == nil:
		err = errcode.New(errcode.SchemaCommitted, version)
	}
	return Op{}, Predicate{}, err
}

func (s *State) planEnd(op Op) (Op, Predicate, error) {
	if p, ok := s.PendingSchema(); !ok || p.Version != op.SchemaVersion {
		return Op{}, Predicate{}, errcode.New(errcode.SchemaNotPending, op.SchemaVersion)
	}
	return op, Unchanged(s), nil
}

// SchemaOutcome tells whether the change with that version has ended, and how: err is nil if it was committed, 12051 with
// its cause if it was aborted, 12001 if that is longer ago than is remembered. The state must hold the entry that
// began it.
func (s *State) SchemaOutcome(version uint64) (done bool, err error) {
	if p, ok := s.PendingSchema(); ok && p.Version == version {
		return false, nil
	}
	list := s.aborts()
	for _, a := range list {
		if a.version == version {
			return true, abortError(a.cause)
		}
	}
	if len(list) == abortsKept && version < list[0].version {
		return true, errcode.New(errcode.UnknownOutcome, "the change of the schema is too long ago")
	}
	return true, nil
}

func abortError(c AbortCause) error {
	by := c.Instance
	if by == "" {
		by = "an operator"
	}
	return errcode.New(errcode.SchemaAborted, by, c.Message)
}

// CheckTableOperable refuses to write a table while a change of it is pending: 10023. A table that the catalog does not
// know is not its business.
func CheckTableOperable(s *State, id uint32) error {
	if t, ok := s.SchemaTable(id); ok && !t.Operable {
		return errcode.New(errcode.TableNotOperable, t.Name)
	}
	return nil
}
