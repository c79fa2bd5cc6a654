package importer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/box/snap"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/sys/fault"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

const (
	uuidA = "aaaaaaaa-0000-4000-8000-000000000001"
	uuidB = "bbbbbbbb-0000-4000-8000-000000000002"
)

// pack turns JSON into MessagePack; numbers are integers.
func pack(t testing.TB, text string) []byte {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	b, err := packNext(d)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return b
}

func packNext(d *json.Decoder) ([]byte, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Number:
		n, err := v.Int64()
		return msgpack.AppendInt(nil, n), err
	case string:
		return msgpack.AppendStr(nil, v), nil
	case bool:
		return msgpack.AppendBool(nil, v), nil
	case json.Delim:
		n, body := 0, []byte(nil)
		for d.More() {
			b, err := packNext(d)
			if err != nil {
				return nil, err
			}
			n, body = n+1, append(body, b...)
		}
		if _, err := d.Token(); err != nil {
			return nil, err
		}
		if v == '{' {
			return append(msgpack.AppendMapHeader(nil, n/2), body...), nil
		}
		return append(msgpack.AppendArrayHeader(nil, n), body...), nil
	}
	return []byte{0xc0}, nil
}

// directory is a directory with files of a Tarantool.
type directory struct {
	t    testing.TB
	path string
}

// write makes a file of the rows; cut is how many bytes are cut off its end.
func (d directory) write(name string, m snap.Meta, cut int, rows ...snap.Row) {
	d.t.Helper()
	m.Version = "2.6.0"
	if m.Instance == "" {
		m.Instance = uuidA
	}
	var b bytes.Buffer
	w, err := snap.NewWriter(&b, m)
	for i := range rows {
		if err == nil {
			err = w.WriteRow(rows[i])
		}
		if err == nil && m.Kind == snap.KindXlog {
			err = w.Flush()
		}
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(d.path, name), b.Bytes()[:b.Len()-cut], 0o600)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d directory) insert(space uint32, tuple string) snap.Row {
	return snap.Row{Type: snap.TypeInsert, SpaceID: space, Tuple: pack(d.t, tuple)}
}

// logged is a row of a log.
func (d directory) logged(replica uint32, lsn uint64, kind uint32, space uint32, tuple string) snap.Row {
	return snap.Row{Type: kind, ReplicaID: replica, LSN: lsn, SpaceID: space, Tuple: pack(d.t, tuple)}
}

// base writes a snapshot of a space 512 with its rows 1 and 2, at {1: 10}.
func (d directory) base() {
	d.write("10.snap", snap.Meta{Kind: snap.KindSnap, VClock: map[uint32]uint64{1: 10}}, 0,
		d.insert(dictionary.SpaceSpace, `[512, 1, "s", "memtx", 0, {}, []]`),
		d.insert(dictionary.SpaceIndex, `[512, 0, "pk", "tree", {"unique": true}, [[0, "unsigned"]]]`),
		d.insert(512, `[1]`), d.insert(512, `[2]`))
}

// scanned is what a scan finds, or its error.
func (d directory) scanned() (*content, *Source, error) {
	s, err := Open(real.FS{}, d.path, d.path)
	if err != nil {
		return nil, nil, err
	}
	d.t.Cleanup(s.Close)
	c, err := s.scan(context.Background(), func(Progress) {})
	return c, s, err
}

// seen are the rows of user spaces that a walk visits.
func seen(t *testing.T, s *Source) string {
	t.Helper()
	var out []string
	err := s.walk(context.Background(), func(_ place, row *snap.Row) error {
		if row.SpaceID >= 512 {
			text, err := msgpack.ToJSON(nil, append(row.Key, row.Tuple...))
			out = append(out, string(text))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

func notesOf(c *content) string {
	var out []string
	for _, n := range c.notes {
		out = append(out, fmt.Sprintf("%s %s: %s", n.Name, n.What, n.Reason))
	}
	return strings.Join(out, "; ")
}

// fileCase is a directory and what is found in it.
type fileCase struct {
	name  string
	make  func(d directory)
	rows  string // that are visited
	notes string // a part of what is noted
	err   errcode.Code
	text  string // a part of the error
}

// x is the header of a log that begins at {1: a, 2: b}.
func x(clock ...uint64) snap.Meta {
	m := snap.Meta{Kind: snap.KindXlog, VClock: map[uint32]uint64{1: clock[0]}}
	if len(clock) > 1 {
		m.VClock[2] = clock[1]
	}
	return m
}

// part is a row of a transaction of several.
func part(row snap.Row, transaction uint64) snap.Row {
	row.TSN, row.HasTSN = row.LSN-transaction, true
	return row
}

func TestFiles(t *testing.T) {
	for _, c := range []fileCase{
		{name: "no snapshot", make: func(d directory) { d.write("0.xlog", x(0), 0) }, err: errcode.MissingSnapshot, text: "*.snap"},
		{name: "snapshot alone", make: func(d directory) { d.base() }, rows: "[1] [2]", notes: "only the snapshot"},
		{name: "rows of the snapshot are in the log too", make: func(d directory) {
			d.base()
			d.write("8.xlog", x(8), 0, d.logged(1, 9, 2, 512, "[1]"), d.logged(1, 10, 2, 512, "[2]"), d.logged(1, 11, 2, 512, "[3]"))
		}, rows: "[1] [2] [3]"},
		{name: "older logs are not needed", make: func(d directory) {
			d.base()
			d.write("0.xlog", x(0), 30, d.logged(1, 1, 2, 512, "[9]"))
			d.write("9.xlog", x(9), 0, d.logged(1, 10, 2, 512, "[2]"), d.logged(1, 11, 2, 512, "[3]"))
		}, rows: "[1] [2] [3]"},
		{name: "several replicas", make: func(d directory) {
			d.base()
			d.write("10.xlog", x(10), 0, d.logged(2, 1, 2, 512, "[21]"), d.logged(1, 11, 2, 512, "[11]"), d.logged(2, 2, 2, 512, "[22]"),
				d.logged(1, 11, 2, 512, "[11]"))
			d.write("13.xlog", x(11, 2), 0, d.logged(2, 2, 2, 512, "[22]"), d.logged(2, 3, 2, 512, "[23]"))
		}, rows: "[1] [2] [21] [11] [22] [23]"},
		{name: "a missing log", make: func(d directory) {
			d.base()
			d.write("10.xlog", x(10), 0, d.logged(1, 11, 2, 512, "[3]"))
			d.write("13.xlog", x(13), 0, d.logged(1, 14, 2, 512, "[4]"))
		}, err: errcode.XlogGap, text: "Missing .xlog file between LSN 11 {1: 11} and 13 {1: 13}"},
	} {
		t.Run(c.name, c.run)
	}
}

func TestEnds(t *testing.T) {
	for _, c := range []fileCase{
		{name: "a torn tail", make: func(d directory) {
			d.base()
			d.write("10.xlog", x(10), 7, d.logged(1, 11, 2, 512, "[3]"), d.logged(1, 12, 2, 512, "[4]"))
		}, rows: "[1] [2] [3]", notes: "no whole block"},
		{name: "a log that was not closed", make: func(d directory) {
			d.base()
			d.write("10.xlog", x(10), 4, d.logged(1, 11, 2, 512, "[3]"))
		}, rows: "[1] [2] [3]", notes: "not closed"},
		{name: "a log without a header", make: func(d directory) {
			d.base()
			if err := os.WriteFile(d.path+"/10.xlog", []byte("XLOG\n0.13\n"), 0o600); err != nil {
				d.t.Fatal(err)
			}
		}, rows: "[1] [2]", notes: "cut off"},
		{name: "a damaged log", make: func(d directory) {
			d.base()
			d.write("10.xlog", x(10), 0, d.logged(1, 11, 2, 512, "[3]"), d.logged(1, 12, 2, 512, "[4]"))
			flip(d.t, d.path+"/10.xlog", 30)
		}, err: errcode.ImportFile, text: "10.xlog: at offset "},
	} {
		t.Run(c.name, c.run)
	}
}

func TestTransactionsAndReplicas(t *testing.T) {
	for _, c := range []fileCase{
		{name: "a transaction without its end", make: func(d directory) {
			d.base()
			blocks(d.t, d.path+"/10.xlog", d.logged(1, 11, 2, 512, "[3]"), part(d.logged(1, 12, 2, 512, "[4]"), 12))
		}, rows: "[1] [2] [3]", notes: "1 rows of a transaction whose end"},
		{name: "a transaction that ends with a row of one", make: func(d directory) {
			d.base()
			local := part(d.logged(0, 1, 2, 512, "[5]"), 12)
			local.GroupID = snap.GroupLocal
			blocks(d.t, d.path+"/10.xlog", d.logged(1, 11, 2, 512, "[3]"), local, d.logged(1, 12, 2, 512, "[4]"))
		}, rows: "[1] [2] [3] [5] [4]"},
		{name: "rows that were rolled back", make: func(d directory) {
			d.base()
			d.write("10.xlog", x(10), 0, d.logged(1, 11, 2, 512, "[3]"), d.logged(1, 12, 2, 512, "[4]"), d.logged(1, 13, 2, 512, "[5]"),
				snap.Row{Type: snap.TypeRollback, ReplicaID: 1, LSN: 14, Body: []byte{0x82, 2, 1, 3, 12}}, d.logged(1, 15, 2, 512, "[6]"))
		}, rows: "[1] [2] [3] [6]"},
		{name: "rows that the next leader did not confirm", make: func(d directory) {
			d.base()
			waits := d.logged(1, 12, 2, 512, "[4]")
			waits.Flags = 6
			d.write("10.xlog", x(10), 0, d.logged(1, 11, 2, 512, "[3]"), waits, d.logged(1, 13, 2, 512, "[5]"),
				snap.Row{Type: snap.TypePromote, ReplicaID: 2, LSN: 1, Body: []byte{0x83, 2, 1, 3, 11, 0x53, 2}})
		}, rows: "[1] [2] [3] [5]"},
		{name: "rows that wait for a quorum", make: func(d directory) {
			d.base()
			first, second := d.logged(1, 11, 2, 512, "[3]"), d.logged(1, 13, 2, 512, "[4]")
			first.Flags, second.Flags = 6, 6
			d.write("10.xlog", x(10), 0, first, snap.Row{Type: snap.TypeConfirm, ReplicaID: 1, LSN: 12, Body: []byte{0x82, 2, 1, 3, 11}}, second)
		}, rows: "[1] [2] [3] [4]", notes: "up to number 13 were waiting for a quorum"},
		{name: "rows that a quorum has confirmed", make: func(d directory) {
			d.base()
			first := d.logged(1, 11, 2, 512, "[3]")
			first.Flags = 6
			d.write("10.xlog", x(10), 0, first, snap.Row{Type: snap.TypeConfirm, ReplicaID: 1, LSN: 12, Body: []byte{0x82, 2, 1, 3, 11}})
		}, rows: "[1] [2] [3]"},
		{name: "another instance's log", make: func(d directory) {
			d.base()
			m := x(10)
			m.Instance = uuidB
			d.write("10.xlog", m, 0)
		}, err: errcode.ImportFile, text: "it was written by instance " + uuidB},
		{name: "the newest snapshot is damaged", make: func(d directory) {
			d.base()
			d.write("12.snap", snap.Meta{Kind: snap.KindSnap, VClock: map[uint32]uint64{1: 12}}, 9, d.insert(512, `[7]`))
			d.write("10.xlog", x(10), 0, d.logged(1, 11, 2, 512, "[3]"), d.logged(1, 12, 2, 512, "[4]"))
		}, rows: "[1] [2] [3] [4]", notes: "12.snap passed over"},
		{name: "all snapshots are damaged", make: func(d directory) {
			d.base()
			flip(d.t, d.path+"/10.snap", 20)
		}, err: errcode.ImportFile, text: "10.snap: at offset"},
		{name: "a file of another kind", make: func(d directory) {
			d.write("10.snap", x(10), 0)
		}, err: errcode.ImportFile, text: "kind XLOG"},
		{name: "a row of no space", make: func(d directory) {
			d.base()
			d.write("10.xlog", x(10), 0, d.logged(1, 11, 2, 513, "[3]"))
		}, err: errcode.ImportFile, text: "a row of space 513, which there is not"},
		{name: "a row of _space that is none", make: func(d directory) {
			d.write("10.snap", snap.Meta{Kind: snap.KindSnap}, 0, d.insert(dictionary.SpacePriv, `[1, 2]`))
		}, err: errcode.ImportFile, text: "system space 312"},
	} {
		t.Run(c.name, c.run)
	}
}

func (c fileCase) run(t *testing.T) {
	d := directory{t, t.TempDir()}
	c.make(d)
	found, s, err := d.scanned()
	if c.err != 0 {
		if !errcode.Is(err, c.err) || !strings.Contains(err.Error(), c.text) {
			t.Fatalf("error %v, want %d with %s", err, c.err, c.text)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := seen(t, s); got != c.rows {
		t.Errorf("rows %s\nwant %s", got, c.rows)
	}
	if got := notesOf(found); !strings.Contains(got, c.notes) || c.notes == "" && got != "" {
		t.Errorf("notes %q, want %q", got, c.notes)
	}
	n := found.counts[512]
	if want := len(strings.Fields(c.rows)); n == nil || int(n.Snapshot+n.Logs) != want {
		t.Errorf("counted %+v, want %d", n, want)
	}
}

// flip damages a byte before the end of a file.
func flip(t testing.TB, path string, before int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-before] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// blocks writes a log by hand: each row in a block of its own, also inside of transactions, which a writer does not do.
func blocks(t testing.TB, path string, rows ...snap.Row) {
	t.Helper()
	out := []byte("XLOG\n0.13\nVersion: 2.6.0\nInstance: " + uuidA + "\nVClock: {1: 10}\n\n")
	for _, row := range rows {
		pairs := [][2]uint64{{0x00, uint64(row.Type)}, {0x02, uint64(row.ReplicaID)}, {0x03, row.LSN}, {0x07, uint64(row.GroupID)}}
		if row.HasTSN {
			pairs = append(pairs, [2]uint64{0x08, row.TSN}, [2]uint64{0x09, row.Flags})
		}
		payload := msgpack.AppendMapHeader(nil, len(pairs))
		for _, p := range pairs {
			payload = msgpack.AppendUint(msgpack.AppendUint(payload, p[0]), p[1])
		}
		payload = msgpack.AppendUint(append(msgpack.AppendMapHeader(payload, 2), 0x10), uint64(row.SpaceID))
		payload = append(append(payload, 0x21), row.Tuple...)
		out = append(out, block(payload)...)
	}
	if err := os.WriteFile(path, append(out, 0xd5, 0x10, 0xad, 0xed), 0o600); err != nil {
		t.Fatal(err)
	}
}

// block is a block with a right checksum.
func block(payload []byte) []byte {
	head := msgpack.AppendUint([]byte{0xd5, 0xba, 0x0b, 0xab}, uint64(len(payload)))
	sum := ^crc32.Update(0xffffffff, crc32.MakeTable(crc32.Castagnoli), payload)
	head = msgpack.AppendUint(append(head, 0), uint64(sum))
	padding := 19 - len(head) - 1
	return append(append(append(head, 0xa0|byte(padding)), make([]byte, padding)...), payload...)
}

func TestLocked(t *testing.T) {
	d := directory{t, t.TempDir()}
	d.base()
	f, err := os.Open(d.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.scanned(); !errcode.Is(err, errcode.AlreadyRunning) {
		t.Errorf("a locked directory: %v", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.scanned(); err != nil {
		t.Errorf("after the lock: %v", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("while it is imported a Tarantool could start: %v", err)
	}
}

// FuzzFiles: blocks with right checksums and any content never do more than give an error; what is scanned can be walked.
func FuzzFiles(f *testing.F) {
	d := directory{f, f.TempDir()}
	d.base()
	whole, err := os.ReadFile(d.path + "/10.snap")
	if err != nil {
		f.Fatal(err)
	}
	snapshot := whole[bytes.Index(whole, []byte("\n\n"))+2+19 : len(whole)-4]
	f.Add(snapshot, []byte{0x83, 0, 2, 2, 1, 3, 1, 0x82, 0x10, 0xcd, 2, 0, 0x21, 0x91, 7})
	f.Add(snapshot, []byte{0x83, 0, 41, 2, 1, 3, 2, 0x82, 2, 1, 3, 1})
	f.Add(snapshot, []byte{0x85, 0, 2, 2, 1, 3, 1, 8, 0, 9, 1, 0x82, 0x10, 0xcd, 2, 0, 0x21, 0x91, 7})
	f.Fuzz(func(t *testing.T, snapshot, log []byte) {
		fs := fault.NewVolatile()
		for name, payload := range map[string][]byte{"0.snap": snapshot, "0.xlog": log} {
			if len(payload) == 0 || len(payload) > 1<<20 {
				return
			}
			kind := map[string]string{"0.snap": "SNAP", "0.xlog": "XLOG"}[name]
			data := append([]byte(kind+"\n0.13\nInstance: "+uuidA+"\nVClock: {}\n\n"), block(payload)...)
			h, err := fs.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
			if err == nil {
				_, err = h.Write(append(data, 0xd5, 0x10, 0xad, 0xed))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		s := &Source{fs: fs, snapshots: []string{"0.snap"}, logs: []string{"0.xlog"}}
		c, err := s.scan(t.Context(), func(Progress) {})
		if err != nil {
			return
		}
		var rows uint64
		err = s.walk(t.Context(), func(place, *snap.Row) error { rows++; return nil })
		if err != nil || rows != c.rows {
			t.Fatalf("scanned %d rows, walked %d: %v", c.rows, rows, err)
		}
	})
}
