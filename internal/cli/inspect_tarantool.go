package cli

import (
	"encoding/json"
	"errors"
	"io"
	"strconv"

	"github.com/lycosadb/lycosa/internal/box/snap"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// inspectTarantool shows a file of Tarantool's format: its header, then its rows.
func (a *app) inspectTarantool(path string, out io.Writer) error {
	f, err := a.fs.OpenFile(path, 0, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := snap.NewReader(f, snap.Limits{})
	if err != nil {
		return err
	}
	m := r.Meta()
	err = writeLine(out, map[string]any{"kind": m.Kind, "version": m.Version, "instance": m.Instance,
		"vclock": m.VClock, "prev_vclock": m.PrevVClock, "extra": m.Extra})
	for err == nil {
		var row snap.Row
		if row, err = r.Next(); err == nil {
			err = writeRow(out, m.Kind, row)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	if info, serr := f.Stat(); serr == nil && errors.Is(err, snap.ErrNoEOF) && r.Offset() == info.Size() && m.Kind.IsLog() {
		return writeLine(out, map[string]any{"kind": "end", "marker": false,
			"text": "the log was not closed: its writer is running, was killed, or closes no logs of this kind"})
	}
	return err
}

// rowLine is a row of a Tarantool file.
type rowLine struct {
	Type      uint32  `json:"type"`
	Name      string  `json:"name,omitempty"`
	ReplicaID uint32  `json:"replica_id"`
	GroupID   uint32  `json:"group_id,omitempty"`
	LSN       uint64  `json:"lsn"`
	Timestamp float64 `json:"timestamp"`
	// Transaction and Commit are there in transactions of several rows.
	Transaction *uint64         `json:"transaction,omitempty"`
	Commit      bool            `json:"commit,omitempty"`
	Flags       uint64          `json:"flags,omitempty"`
	SpaceID     uint32          `json:"space_id,omitempty"`
	IndexID     *uint32         `json:"index_id,omitempty"`
	IndexBase   uint32          `json:"index_base,omitempty"`
	Key         json.RawMessage `json:"key,omitempty"`
	Tuple       json.RawMessage `json:"tuple,omitempty"`
	Ops         json.RawMessage `json:"ops,omitempty"`
	TupleMeta   json.RawMessage `json:"tuple_meta,omitempty"`
	OldTuple    json.RawMessage `json:"old_tuple,omitempty"`
	NewTuple    json.RawMessage `json:"new_tuple,omitempty"`
	Body        json.RawMessage `json:"body,omitempty"`
	// Record is what a row of a vylog says.
	Record string `json:"record,omitempty"`
}

func writeRow(out io.Writer, kind snap.Kind, row snap.Row) error {
	line := rowLine{Type: row.Type, Name: rowNames[row.Type], ReplicaID: row.ReplicaID, GroupID: row.GroupID, LSN: row.LSN,
		Timestamp: row.Timestamp, Flags: row.Flags, SpaceID: row.SpaceID, IndexBase: row.IndexBase}
	if row.HasTSN {
		n := row.Transaction()
		line.Transaction, line.Commit = &n, row.Commit()
	}
	if row.Key != nil {
		line.IndexID = &row.IndexID
	}
	for _, v := range []struct {
		to  *json.RawMessage
		raw []byte
	}{{&line.Key, row.Key}, {&line.Tuple, row.Tuple}, {&line.Ops, row.Ops}, {&line.TupleMeta, row.TupleMeta},
		{&line.OldTuple, row.OldTuple}, {&line.NewTuple, row.NewTuple}} {
		text, err := jsonOf(v.raw)
		if err != nil {
			return err
		}
		*v.to = text
	}
	var err error
	if kind == snap.KindVylog && row.Tuple != nil {
		line.Record, line.Body, err = vylogRecord(row.Tuple)
		line.Tuple = nil
	} else if row.Body != nil {
		line.Body, err = namedMap(row.Body, bodyNames[row.Type])
	}
	if err != nil {
		return err
	}
	return writeLine(out, line)
}

var rowNames = map[uint32]string{
	snap.TypeInsert: "INSERT", snap.TypeReplace: "REPLACE", snap.TypeUpdate: "UPDATE", snap.TypeDelete: "DELETE",
	snap.TypeUpsert: "UPSERT", snap.TypeNop: "NOP", snap.TypeRaft: "RAFT", snap.TypePromote: "PROMOTE",
	snap.TypeDemote: "DEMOTE", snap.TypeConfirm: "CONFIRM", snap.TypeRollback: "ROLLBACK", snap.TypeRunInfo: "RUNINFO",
	snap.TypePageInfo: "PAGEINFO", snap.TypeRowIndex: "ROWINDEX",
}

var quorumNames = map[uint64]string{0x02: "replica_id", 0x03: "lsn", 0x53: "term"}

// bodyNames are the names of keys in rows that are no data changes, as tarantoolctl cat shows them for vinyl.
var bodyNames = map[uint32]map[uint64]string{
	snap.TypeRaft:    {0: "term", 1: "vote", 2: "state", 3: "vclock", 4: "leader_id", 5: "is_leader_seen"},
	snap.TypePromote: quorumNames, snap.TypeDemote: quorumNames, snap.TypeConfirm: quorumNames, snap.TypeRollback: quorumNames,
	snap.TypeRunInfo: {1: "min_key", 2: "max_key", 3: "min_lsn", 4: "max_lsn", 5: "page_count", 6: "bloom_filter_legacy",
		7: "bloom_filter", 8: "stmt_stat"},
	snap.TypePageInfo: {1: "offset", 2: "size", 3: "unpacked_size", 4: "row_count", 5: "min_key", 6: "row_index_offset"},
	snap.TypeRowIndex: {1: "row_index"},
}

// Records of a vylog and their keys, as Tarantool numbers them.
var (
	vylogRecords = [...]string{"create_lsm", "drop_lsm", "insert_range", "delete_range", "prepare_run", "create_run",
		"drop_run", "forget_run", "insert_slice", "delete_slice", "dump_lsm", "snapshot", "truncate_lsm", "modify_lsm",
		"forget_lsm", "prepare_lsm", "rebootstrap", "abort_rebootstrap"}
	vylogKeys = map[uint64]string{0: "lsm_id", 1: "range_id", 2: "run_id", 3: "begin", 4: "end", 5: "index_id", 6: "space_id",
		7: "def", 8: "slice_id", 9: "dump_lsn", 10: "gc_lsn", 11: "truncate_count", 12: "create_lsn", 13: "modify_lsn",
		14: "drop_lsn", 15: "group_id", 16: "dump_count"}
)

// vylogRecord reads the tuple of a row of a vylog: [record, {key: value}].
func vylogRecord(tuple []byte) (record string, body json.RawMessage, err error) {
	n, b, err := msgpack.ReadArrayLen(tuple)
	if err != nil {
		return "", nil, err
	}
	if n != 2 {
		return "", nil, errors.New("a record of a vylog is not a number and a map")
	}
	number, b, err := msgpack.ReadUint(b)
	if err != nil {
		return "", nil, err
	}
	record = strconv.FormatUint(number, 10)
	if number < uint64(len(vylogRecords)) {
		record = vylogRecords[number]
	}
	body, err = namedMap(b, vylogKeys)
	return record, body, err
}

// namedMap renders a map whose keys are numbers that have names; other keys stay what they are.
func namedMap(raw []byte, names map[uint64]string) (json.RawMessage, error) {
	n, b, err := msgpack.ReadMapLen(raw)
	if err != nil {
		return nil, err
	}
	named := msgpack.AppendMapHeader(nil, n)
	for range n {
		key := b
		if b, err = msgpack.Skip(b); err != nil {
			return nil, err
		}
		value := b
		if b, err = msgpack.Skip(b); err != nil {
			return nil, err
		}
		name, known := "", false
		if number, _, err := msgpack.ReadUint(key); err == nil {
			name, known = names[number], names[number] != ""
		}
		if known {
			named = msgpack.AppendStr(named, name)
		} else {
			named = append(named, key[:len(key)-len(value)]...)
		}
		named = append(named, value[:len(value)-len(b)]...)
	}
	return msgpack.ToJSON(nil, named)
}

// jsonOf renders raw MessagePack, nil as nothing.
func jsonOf(raw []byte) (json.RawMessage, error) {
	if raw == nil {
		return nil, nil
	}
	return msgpack.ToJSON(nil, raw)
}
