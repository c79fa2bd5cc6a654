package cli

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
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
		Long: "Shows any file that Lycosa or Tarantool writes, also unfinished ones (.inprogress). Of Tarantool: snapshots, logs\n" +
			"(.snap, .xlog) and the files of its engine vinyl (.vylog, .run, .index). Of Lycosa: snapshots with their checksums, log\n" +
			"segments, snapshots of the catalog, identity, entrypoint and discovery, the audit log, copies of the cluster-wide\n" +
			"configuration, lock, reserve, and the cookie without its secret. A row is one line of JSON. Checksums are verified;\n" +
			"damage is told with its place and ends with exit code 1.",
		Example: "  lycosa inspect ./lycosa-data/data/00000000000000000042.snap\n" +
			"  lycosa inspect /var/lib/tarantool/512/0/00000000000000000004.run",
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
	if _, ok := snap.KindOf(head); ok {
		return a.inspectTarantool(path, out)
	}
	switch base := strings.TrimSuffix(filepath.Base(path), datadir.InProgressSuffix); {
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
	case base == datadir.LockFile:
		return a.inspectLock(path, out)
	case base == datadir.CookieFile:
		return a.inspectCookie(path, out)
	case wal.IsRoom(filepath.Base(path)):
		return a.inspectRoom(path, out)
	case len(head) == 0:
		return errors.New("the file is empty")
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
	var local []any
	for _, row := range r.Local {
		local = append(local, localRow(row))
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
		rows = append(rows, shownRow(r))
		return nil
	})
	if err != nil {
		return nil
	}
	return rows
}

func shownRow(r box.Row) dataRow {
	if r.Deleted {
		return dataRow{Space: r.SpaceID, Deleted: valueOrHex(r.Data)}
	}
	return dataRow{Space: r.SpaceID, Tuple: valueOrHex(r.Data)}
}

// localLine is a row of a local space, beside the entry of this index.
type localLine struct {
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
	dataRow
}

func localRow(b []byte) any {
	r, err := box.DecodeLocal(b)
	if err != nil {
		return valueOrHex(b)
	}
	return localLine{Index: r.Index, Term: r.Term, dataRow: shownRow(r.Row)}
}

func valueOrHex(data []byte) json.RawMessage {
	if msgpack.Check(data) == nil {
		if text, err := msgpack.ToJSON(nil, data); err == nil {
			return text
		}
	}
	return json.RawMessage(`"hex:` + hex.EncodeToString(data) + `"`)
}
