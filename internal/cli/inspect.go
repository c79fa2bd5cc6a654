package cli

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/snap"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/sys"
)

func (a *app) inspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show a file of Lycosa or Tarantool, a row a JSON line",
		Long: "Shows any file that Lycosa or Tarantool writes: snapshots and logs of both, snapshots of the\n" +
			"catalog, identity, entrypoint and discovery files, the audit log, and copies of the cluster-wide configuration. A row is one\n" +
			"line of JSON. Checksums are verified; damage is told with its place and ends with exit code 1.",
		Example: "  lycosa inspect ./lycosa-data/data/00000000000000000042.snap",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("inspect: give one file, as in lycosa inspect ./lycosa-data/identity")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return a.inspect(args[0]) },
	}
}

// inspectHeadBytes is enough to tell any format from its beginning.
const inspectHeadBytes = 64

func (a *app) inspect(path string) error {
	head, err := a.readHead(path)
	if err != nil {
		return fmt.Errorf("inspect: %w", err)
	}
	out := bufio.NewWriter(a.Stdout)
	if err = a.inspectBy(path, head, out); err != nil {
		err = fmt.Errorf("inspect %s: %w", path, err)
	}
	return errors.Join(err, out.Flush())
}

func (a *app) readHead(path string) ([]byte, error) {
	f, err := a.fs.OpenFile(path, 0, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, inspectHeadBytes)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return head[:n], nil
}

// inspectBy chooses the reader by the first bytes of the file.
func (a *app) inspectBy(path string, head []byte, out io.Writer) error {
	if kind, ok := datadir.KindOf(head); ok {
		return a.inspectSmall(path, kind, out)
	}
	switch {
	case bytes.HasPrefix(head, []byte("SNAP\n")), bytes.HasPrefix(head, []byte("XLOG\n")), bytes.HasPrefix(head, []byte("VYLOG\n")):
		return a.inspectTarantool(path, out)
	case bytes.HasPrefix(head, []byte("LYCRLOG\x00")):
		group := "" // the first record of a segment says whose log it is
		return wal.Dump(a.fs, path, func(r wal.DumpedRecord) error {
			if r.Group != "" {
				group = r.Group
			}
			return writeLine(out, logRecordLine(r, group))
		})
	case bytes.HasPrefix(head, []byte("lycosa-c")):
		return a.inspectCatalog(path, out)
	case bytes.HasPrefix(head, []byte(`{"seq":`)):
		return a.inspectAudit(path, out)
	case strings.HasSuffix(path, checksumSuffix):
		return a.inspectChecksum(path, out)
	case isConfigCopy(path):
		return a.inspectConfig(path, out)
	}
	return errors.New("this is not a file that Lycosa or Tarantool writes, or it is not known to this version")
}

func (a *app) inspectSmall(path, kind string, out io.Writer) error {
	data, err := sys.ReadFile(a.fs, path, datadir.FileBytesMax)
	if err != nil {
		return err
	}
	body, err := datadir.Verify(kind, data)
	if err != nil {
		return err
	}
	return writeLine(out, struct {
		Kind    string          `json:"kind"`
		Content json.RawMessage `json:"content"`
	}{kind, body})
}

func writeLine(out io.Writer, value any) error {
	line, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = out.Write(append(line, '\n'))
	return err
}

// rowLine is a row of a Tarantool file.
type rowLine struct {
	Type      uint32          `json:"type"`
	Name      string          `json:"name,omitempty"`
	ReplicaID uint32          `json:"replica_id"`
	GroupID   uint32          `json:"group_id,omitempty"`
	LSN       uint64          `json:"lsn"`
	Timestamp float64         `json:"timestamp"`
	SpaceID   uint32          `json:"space_id,omitempty"`
	IndexID   *uint32         `json:"index_id,omitempty"`
	Key       json.RawMessage `json:"key,omitempty"`
	Tuple     json.RawMessage `json:"tuple,omitempty"`
	Ops       json.RawMessage `json:"ops,omitempty"`
	Body      json.RawMessage `json:"body,omitempty"`
}

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
	err = writeLine(out, map[string]any{"kind": fmt.Sprint(m.Kind), "version": m.Version, "instance": m.Instance,
		"vclock": m.VClock, "prev_vclock": m.PrevVClock, "extra": m.Extra})
	for err == nil {
		var row snap.Row
		if row, err = r.Next(); err == nil {
			err = writeRow(out, row)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func writeRow(out io.Writer, row snap.Row) error {
	line := rowLine{Type: row.Type, Name: rowName(row.Type), ReplicaID: row.ReplicaID, GroupID: row.GroupID, LSN: row.LSN,
		Timestamp: row.Timestamp, SpaceID: row.SpaceID}
	if row.Key != nil {
		line.IndexID = &row.IndexID
	}
	for _, v := range []struct {
		to  *json.RawMessage
		raw []byte
	}{{&line.Key, row.Key}, {&line.Tuple, row.Tuple}, {&line.Ops, row.Ops}, {&line.Body, row.Body}} {
		text, err := jsonOf(v.raw)
		if err != nil {
			return err
		}
		*v.to = text
	}
	return writeLine(out, line)
}

func rowName(rowType uint32) string {
	switch rowType {
	case snap.TypeInsert:
		return "INSERT"
	case snap.TypeReplace:
		return "REPLACE"
	case snap.TypeUpdate:
		return "UPDATE"
	case snap.TypeDelete:
		return "DELETE"
	case snap.TypeUpsert:
		return "UPSERT"
	case snap.TypeNop:
		return "NOP"
	case snap.TypeRaft:
		return "RAFT"
	}
	return ""
}

// jsonOf renders raw MessagePack, nil as nothing.
func jsonOf(raw []byte) (json.RawMessage, error) {
	if raw == nil {
		return nil, nil
	}
	return msgpack.ToJSON(nil, raw)
}

// entryLine is one entry of a log record. Data is JSON if it is one MessagePack value, hexadecimal digits otherwise.
type entryLine struct {
	Index uint64          `json:"index"`
	Term  uint64          `json:"term"`
	Type  uint8           `json:"type"`
	Bytes int             `json:"bytes"`
	Data  json.RawMessage `json:"data,omitempty"`
	// Rows are what an entry of the data group changed.
	Rows []dataRow `json:"rows,omitempty"`
}

func logRecordLine(r wal.DumpedRecord, group string) map[string]any {
	line := map[string]any{"offset": r.Offset, "bytes": r.Bytes, "kinds": r.Kinds, "index": r.Index, "term": r.Term, "commit": r.Commit}
	for _, kind := range r.Kinds {
		switch kind {
		case "segment":
			line["segment"], line["group"], line["instance"] = r.Segment, r.Group, r.Instance.String()
		case "truncate":
			line["truncate_after"] = r.TruncateAfter
		}
	}
	if r.HardState != nil {
		line["hard_state"] = map[string]uint64{"term": r.HardState.Term, "vote": r.HardState.Vote, "commit": r.HardState.Commit}
	}
	var entries []entryLine
	for _, e := range r.Entries {
		l := entryLine{Index: e.Index, Term: e.Term, Type: uint8(e.Type), Bytes: len(e.Data)}
		if group == "data" && e.Type == raftgroup.EntryNormal {
			l.Rows = dataRows(e.Data)
		}
		if l.Rows == nil {
			l.Data = valueOrHex(e.Data)
		}
		entries = append(entries, l)
	}
	var local []json.RawMessage
	for _, row := range r.Local {
		local = append(local, valueOrHex(row))
	}
	if entries != nil {
		line["entries"] = entries
	}
	if local != nil {
		line["local"] = local
	}
	return line
}

// dataRow is one row that an entry of the data group changed.
type dataRow struct {
	Space uint32          `json:"space"`
	Tuple json.RawMessage `json:"tuple,omitempty"`
	// Deleted is the primary key of a tuple that is gone.
	Deleted json.RawMessage `json:"deleted,omitempty"`
}

// dataRows decodes an entry of the data group; nil if it has no rows or is in another form.
func dataRows(entry []byte) []dataRow {
	var rows []dataRow
	err := box.DecodeEntry(entry, func(r box.Row) error {
		row := dataRow{Space: r.SpaceID, Tuple: valueOrHex(r.Data)}
		if r.Deleted {
			row.Tuple, row.Deleted = nil, row.Tuple
		}
		rows = append(rows, row)
		return nil
	})
	if err != nil {
		return nil
	}
	return rows
}

func valueOrHex(data []byte) json.RawMessage {
	if msgpack.Check(data) == nil {
		if text, err := msgpack.ToJSON(nil, data); err == nil {
			return text
		}
	}
	return json.RawMessage(`"hex:` + hex.EncodeToString(data) + `"`)
}
