package catalog

import (
	"fmt"
	"math"
	"slices"

	"github.com/lycosadb/lycosa/internal/errcode"
)

// PlanDML turns a client's statement on a row of one of the tables that an administrator may change into a request: the
// operation, its guard, and the row that the client is shown (nil: there is none). Writable are parameters, tiers (a new
// one, one without replicasets removed, replication factor, vote and default of any) and of a replicaset its weight and the
// instance that shall lead it, and of a global table everything. Who may do so is decided by package access. Errors: 1, 3, 18, 19, 23, 36, 38, 94, 10009.
func PlanDML(s *State, d DML) (op Op, guard Predicate, row []byte, err error) {
	fail := func(err error) (Op, Predicate, []byte, error) { return Op{}, Predicate{}, nil, err }
	no, ok := s.schema.byID[d.Table]
	if !ok {
		return fail(errcode.New(errcode.NoSuchSpace, TableName(d.Table)))
	}
	old, row, err := s.dmlRows(&s.schema.tables[no], d)
	if err != nil {
		return fail(err)
	}
	if old == nil && row == nil {
		return Op{Kind: Nop}, Unchanged(s), nil, nil
	}
	if row, err = s.mayWrite(d.Table, old, row); err != nil {
		return fail(err)
	}
	ts := &s.schema.tables[no]
	if row == nil {
		key := ts.keys[0].ExtractKey(nil, old)
		op = Op{Kind: Dml, DML: []DML{{Kind: Delete, Table: d.Table, Key: key}}}
		guard = Unchanged(s, Eq(d.Table, key))
		if d.Table == TableTier {
			guard = Unchanged(s, Range{Table: TableReplicaset}, Eq(d.Table, key))
		}
		return op, guard, old, nil
	}
	op = Op{Kind: Dml, DML: []DML{{Kind: Replace, Table: d.Table, Tuple: row}}}
	guard = Unchanged(s, Eq(d.Table, ts.keys[0].ExtractKey(nil, row)))
	if d.Table == TableTier {
		guard = Unchanged(s, Range{Table: TableTier})
	}
	return op, guard, row, CheckTables([]Op{op})
}

// dmlRows returns the row that a statement finds and the one it makes; both nil if there is nothing to change.
func (s *State) dmlRows(ts *tableSchema, d DML) (old, row []byte, err error) {
	switch d.Kind {
	case Insert, Replace:
		if err := ts.check(d.Tuple); err != nil {
			return nil, nil, err
		}
		old = s.find(d.Table, 0, ts.keys[0].ExtractKey(nil, d.Tuple))
		if old != nil && d.Kind == Insert {
			return nil, nil, errcode.New(errcode.TupleFound, ts.def.Indexes[0].Name, ts.def.Name)
		}
		return old, d.Tuple, nil
	case Update, Delete:
		if err := checkKey(ts, d.Key); err != nil {
			return nil, nil, err
		}
		if old = s.find(d.Table, 0, d.Key); old == nil || d.Kind == Delete {
			return old, nil, nil
		}
		row, err = ts.update(old, d.Ops)
		return old, row, err
	}
	return nil, nil, errcode.Newf(errcode.CASInvalidOpKind, "Change of kind %d is not known", d.Kind)
}

// mayWrite decides whether a client may make this row of that one, and completes it.
func (s *State) mayWrite(table uint32, old, row []byte) ([]byte, error) {
	switch {
	case table >= FirstTableID:
		return row, CheckTableOperable(s, table)
	case table == TableDBConfig && row != nil:
		return row, nil // CheckTables looks at the value
	case table == TableDBConfig:
		return nil, errcode.Newf(errcode.CASTableNotAllowed, "Parameters are set, never deleted")
	case table == TableTier && row == nil:
		return nil, s.mayDropTier(must(ParseTier, old))
	case table == TableTier:
		return row, s.mayWriteTier(old, must(ParseTier, row))
	case table == TableReplicaset && old != nil && row != nil:
		return s.mayWriteReplicaset(must(ParseReplicaset, old), must(ParseReplicaset, row))
	}
	return nil, errcode.New(errcode.CASTableNotAllowed, TableName(table))
}

// replicationFactorMax bounds the members of a replicaset that are placed without being asked for.
const replicationFactorMax = 32

func (s *State) mayWriteTier(oldRow []byte, t Tier) error {
	bad := func(format string, args ...any) error {
		return errcode.New(errcode.IllegalParams, "tier "+t.Name+": "+fmt.Sprintf(format, args...))
	}
	old := Tier{Name: t.Name, BucketCount: t.BucketCount}
	if oldRow != nil {
		old = must(ParseTier, oldRow)
	} else if !isName(t.Name) || len(t.Name) > nameBytesMax {
		return errcode.New(errcode.IllegalParams, fmt.Sprintf("%.*q is not a name", nameBytesMax, t.Name))
	}
	if t.ReplicationFactor < 1 || t.ReplicationFactor > replicationFactorMax {
		return bad("the replication factor is from 1 to %d", replicationFactorMax)
	}
	same := old
	same.ReplicationFactor, same.CanVote, same.IsDefault = t.ReplicationFactor, t.CanVote, t.IsDefault
	if string(same.Row()) != string(t.Row()) {
		return bad("only replication_factor, can_vote and is_default change")
	}
	for _, other := range s.Tiers() {
		if t.IsDefault && other.IsDefault && other.Name != t.Name {
			return bad("tier %s is the default one", other.Name)
		}
	}
	if old.CanVote && !t.CanVote && !s.othersVote(t.Name) {
		return bad("no instance that votes would be left")
	}
	return nil
}

// othersVote reports whether instances of another tier vote.
func (s *State) othersVote(tier string) bool {
	for _, i := range s.Instances() {
		if t, _ := s.Tier(i.Tier); t.CanVote && t.Name != tier && !isExpelled(i) {
			return true
		}
	}
	return false
}

func (s *State) mayDropTier(t Tier) error {
	for _, rs := range s.Replicasets() {
		if rs.Tier == t.Name {
			return errcode.New(errcode.IllegalParams, "tier "+t.Name+" has, or had, replicasets: "+rs.Name)
		}
	}
	return nil
}

func (s *State) mayWriteReplicaset(old, rs Replicaset) ([]byte, error) {
	bad := func(text string) ([]byte, error) {
		return nil, errcode.New(errcode.IllegalParams, "replicaset "+old.Name+": "+text)
	}
	same := old
	same.Weight, same.TargetMaster, same.WeightOrigin = rs.Weight, rs.TargetMaster, rs.WeightOrigin
	same.LeaderPriority = rs.LeaderPriority
	switch {
	case string(same.Row()) != string(rs.Row()):
		return bad("only weight, target_master_name and leader_priority change")
	case math.IsNaN(rs.Weight) || math.IsInf(rs.Weight, 0) || rs.Weight < 0:
		return bad("the weight is a number from 0 on")
	case isLeaving(old):
		return nil, errcode.New(errcode.ReplicasetExpelled, old.Name)
	}
	if rs.TargetMaster != old.TargetMaster && !s.isMember(rs.TargetMaster, old.Name) {
		return bad("no instance of it is called " + rs.TargetMaster)
	}
	if !slices.Equal(rs.LeaderPriority, old.LeaderPriority) {
		for k, name := range rs.LeaderPriority {
			switch {
			case !s.isMember(name, old.Name):
				return bad("no instance of it is called " + name)
			case slices.Contains(rs.LeaderPriority[:k], name):
				return bad(name + " is named twice")
			}
		}
	}
	rs.WeightOrigin = old.WeightOrigin
	if rs.Weight != old.Weight {
		rs.WeightOrigin = "user"
	}
	return rs.Row(), nil
}

// isMember reports whether an instance is in a replicaset and not expelled.
func (s *State) isMember(instance, replicaset string) bool {
	i, ok := s.Instance(instance)
	return ok && !isExpelled(i) && i.ReplicasetName == replicaset
}
