// Package catalog is the cluster's own state machine: the small tables that every instance keeps in full, the operations
// that change them, and the checks that an operation must pass before the leader proposes it. Pure.
//
// A State is a value that only its owner changes, by Apply: equal operations in equal order give equal bytes on every
// instance. A Clone costs nothing and shares the rows, so a published State can be read by any number of goroutines while
// its owner goes on with another. Rows are raw MessagePack tuples; table names and columns follow Picodata, so that
// dashboards and habits carry over, with the ids moved down by 100.
//
// Who wants something of the catalog plans it: a function Plan… or Set… looks at a State and returns an operation with the
// guard under which it may be carried out, to be proposed by the leader with guard.Term set to its term. If the guard does
// not hold any more (10007 and its kin), read again and plan again. Nop means that there is nothing to do.
//
// # Members
//
// PlanJoin gives an instance its place, once however often it asks, and AnswerJoin tells it. PlanExpel and PlanReplace are
// the two ways out: the one leaves a row that keeps name and ids from being given again, the other gives the row new raft
// ids and a permit by which an instance without files gets in. PlanRecover is the end of an epoch. CheckMember refuses who
// speaks with the ids of before.
//
// # Changes of the schema
//
// _pico_table, _pico_index and _pico_schema_object are the schema of all replicasets, and one change of it is under way at a time:
//
//	client       PlanDDL → entry DdlPrepare(v): what is to come is there, not operable; pending_schema_change is set
//	data leaders ask Follow what to do. They see PendingSchema: if all must agree (State.MustAgree; of other changes nobody has to: the client's own instance
//	             has looked at the definition), note v in their own log, then make the change there in advance, if it forbids
//	             rows, so that all rows fit and go on fitting whoever leads after them; and report "prepared v" or a cause
//	governor     all replicasets whose agreement is needed have reported: PlanDDLCommit(v); one refused, or has no leader:
//	             PlanDDLAbort(v, its cause)
//	data leaders see no pending change, and TablesVersion or a dictionary other than DictionaryChanges wants it: write the
//	             changes and that version as one entry of their log, in their own time, also after an absence; that is how
//	             an aborted change is taken back, and how a new replicaset begins. A leader whose catalog is older than what
//	             its log notes waits.
//	client       waits until SchemaOutcome(v) is done, then until his own replicaset has followed
//	governor     all replicasets that have a leader have lost the rows that go: PlanSettle, which who has made the change waits for
//
// A lone replicaset's tables are its own (KeepsSchema); when another one joins, its leader tells them to the catalog.
//
// CheckTableOperable is what a write to a table asks first.
//
// A table whose distribution is GlobalDistribution has its rows in the catalog itself, beside the system's: GlobalTables lists
// them, Ascend reads them, PlanDML or an operation Dml writes them. Its changes are judged here, when they begin.
//
// What it is not: the log that carries the entries (raftgroup), the loop that feeds it (catalog/runner), the decision what
// an instance's grade should become (governor), or the engine that shows the tables to clients (box).
package catalog
