package instance

import (
	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// The ids of the local spaces over the logs: Picodata's minus 100.
const (
	spaceRaftLog   = 418
	spaceRaftState = 419
)

// raftLogRowsMax bounds the rows that one read of _raft_log looks at.
const raftLogRowsMax = 100_000

// engineOptions are those of the engine of this instance's rows.
func (i *Instance) engineOptions(c *core) box.Options {
	return box.Options{QuotaBytes: uint64(i.cfg.MemoryBytes), Virtuals: i.virtualSpaces(c),
		Global: func(table uint32) box.Sorted { return globalRows{c, table} }}
}

// virtualSpaces are the spaces whose rows are not the engine's: the catalog's tables, the logs, and those system spaces
// that the catalog keeps.
func (i *Instance) virtualSpaces(c *core) []box.VirtualSpace {
	var all []box.VirtualSpace
	for _, def := range catalog.Defs() {
		v := box.VirtualSpace{ID: def.ID, Name: def.Name, Fields: def.Fields}
		for _, ix := range def.Indexes {
			v.Indexes = append(v.Indexes, box.VirtualIndex{ID: ix.ID, Name: ix.Name, Unique: ix.Unique, Parts: ix.Parts})
		}
		v.Rows = box.VirtualFunc(func(yield func([]byte) bool) { c.catalog.View().Ascend(def.ID, yield) })
		all = append(all, v)
	}
	return append(all, raftSpaces(c), raftStateSpace(c), spaceSequenceView(),
		box.VirtualSpace{ID: dictionary.SpaceUser, Rows: box.VirtualFunc(func(yield func([]byte) bool) {
			c.catalog.View().UserRows(yield)
		})},
		box.VirtualSpace{ID: dictionary.SpacePriv, Rows: box.VirtualFunc(func(yield func([]byte) bool) {
			c.catalog.View().PrivRows(func(p catalog.PrivRow) bool { return yield(p.Append(nil)) })
		})},
		box.VirtualSpace{ID: dictionary.SpaceFunc, Rows: box.VirtualFunc(functionRows)},
		box.VirtualSpace{ID: dictionary.SpaceCluster, Rows: box.VirtualFunc(func(yield func([]byte) bool) {
			yield(dictionary.ClusterRow(1, c.id.InstanceUUID))
		})},
		box.VirtualSpace{ID: dictionary.SpaceSessionSettings, Rows: box.VirtualFunc(func(func([]byte) bool) {})},
	)
}

// spaceVSpaceSequence is the view of _space_sequence, which clients of Tarantool 2.10 and later fetch.
const spaceVSpaceSequence = 341

func spaceSequenceView() box.VirtualSpace {
	return box.VirtualSpace{
		ID: spaceVSpaceSequence, Name: "_vspace_sequence", ViewOf: dictionary.SpaceSpaceSequence,
		Fields: []tuple.Field{field("id", tuple.Unsigned), field("sequence_id", tuple.Unsigned),
			field("is_generated", tuple.Boolean), field("field", tuple.Unsigned), field("path", tuple.String)},
		Indexes: []box.VirtualIndex{
			{ID: 0, Name: "primary", Unique: true, Parts: []tuple.Part{part(0, tuple.Unsigned)}},
			{ID: 1, Name: "sequence", Parts: []tuple.Part{part(1, tuple.Unsigned)}},
		},
	}
}

// functionRows are the functions of Tarantool 2.6, then our stored procedures.
func functionRows(yield func([]byte) bool) {
	more := true
	dictionary.Rows(func(space uint32, row []byte) bool {
		if space == dictionary.SpaceFunc {
			more = yield(row)
		}
		return more
	})
	for n := 0; more && n < len(storedProcedures); n++ {
		more = yield(procedureRow(uint32(firstProcedure+n), storedProcedures[n]))
	}
}

func procedureRow(id uint32, name string) []byte {
	b := msgpack.AppendArrayHeader(nil, 19)
	b = msgpack.AppendUint(b, uint64(id))
	b = msgpack.AppendUint(b, uint64(catalog.AdminID))
	b = msgpack.AppendStr(b, name)
	b = msgpack.AppendUint(b, 1)
	for _, s := range []string{"C", "", "function"} {
		b = msgpack.AppendStr(b, s)
	}
	b = msgpack.AppendArrayHeader(b, 0)
	for _, s := range []string{"any", "none", "none"} {
		b = msgpack.AppendStr(b, s)
	}
	for _, v := range []bool{false, false, true} {
		b = msgpack.AppendBool(b, v)
	}
	b = msgpack.AppendStr(msgpack.AppendArrayHeader(b, 1), "LUA")
	b = msgpack.AppendMapHeader(b, 0)
	for range 3 {
		b = msgpack.AppendStr(b, "")
	}
	return b
}

func field(name string, t tuple.FieldType) tuple.Field { return tuple.Field{Name: name, Type: t} }

func part(no uint32, t tuple.FieldType) tuple.Part { return tuple.Part{Field: no, Type: t} }

// raftSpaces shows both logs: the newest entries of each.
func raftSpaces(c *core) box.VirtualSpace {
	return box.VirtualSpace{
		ID: spaceRaftLog, Name: "_raft_log",
		Fields: []tuple.Field{field("group", tuple.String), field("index", tuple.Unsigned), field("term", tuple.Unsigned),
			field("entry_type", tuple.String), field("data", tuple.Varbinary)},
		Indexes: []box.VirtualIndex{{Name: "index", Unique: true, Parts: []tuple.Part{part(0, tuple.String), part(1, tuple.Unsigned)}}},
		Rows: box.VirtualFunc(func(yield func([]byte) bool) {
			if logRows(catalogName, c.catalogGroup.log, yield) {
				logRows(dataName, c.dataGroup.log, yield)
			}
		}),
	}
}

// entries is what is read of a log.
type entries interface {
	FirstIndex() uint64
	LastIndex() uint64
	Replay(from uint64, visit func(raftgroup.Entry) error) error
}

// logRows are the newest entries of a log as rows; it returns whether more rows are wanted.
func logRows(name string, log entries, yield func([]byte) bool) (more bool) {
	more = true
	last := log.LastIndex()
	from := log.FirstIndex()
	if last > raftLogRowsMax {
		from = max(from, last-raftLogRowsMax+1)
	}
	var row []byte
	// An error ends the listing: the log may be compacted while it is read.
	_ = log.Replay(from, func(e raftgroup.Entry) error {
		if !more || e.Index > last {
			return errStop
		}
		kind := "normal"
		if e.Type == raftgroup.EntryConfChange {
			kind = "conf_change"
		}
		row = msgpack.AppendArrayHeader(row[:0], 5)
		row = msgpack.AppendStr(row, name)
		row = msgpack.AppendUint(row, e.Index)
		row = msgpack.AppendUint(row, e.Term)
		row = msgpack.AppendStr(row, kind)
		row = msgpack.AppendBin(row, e.Data)
		more = yield(row)
		return nil
	})
	return more
}

// raftStateSpace shows what each group's replica must not forget, and what it knows.
func raftStateSpace(c *core) box.VirtualSpace {
	return box.VirtualSpace{
		ID: spaceRaftState, Name: "_raft_state",
		Fields:  []tuple.Field{field("group", tuple.String), field("key", tuple.String), field("value", tuple.Any)},
		Indexes: []box.VirtualIndex{{Name: "key", Unique: true, Parts: []tuple.Part{part(0, tuple.String), part(1, tuple.String)}}},
		Rows:    box.VirtualFunc(func(yield func([]byte) bool) { stateRows(c.groups(), yield) }),
	}
}

func stateRows(groups []namedStatus, yield func([]byte) bool) {
	for _, g := range groups {
		for _, kv := range []struct {
			key   string
			value uint64
		}{{"applied", g.Applied}, {"commit", g.Committed}, {"leader_id", g.LeaderID}, {"raft_id", g.ID}, {"term", g.Term}} {
			b := msgpack.AppendArrayHeader(nil, 3)
			b = msgpack.AppendStr(b, g.name)
			b = msgpack.AppendStr(b, kv.key)
			if !yield(msgpack.AppendUint(b, kv.value)) {
				return
			}
		}
	}
}
