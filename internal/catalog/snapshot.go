package catalog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Snapshot is the catalog at one position together with the members of its raft group there: one unit, since a group that
// starts from it needs both.
type Snapshot struct {
	State            *State
	Voters, Learners []uint64 // raft ids
	// Outgoing are the voters that a joint configuration leaves behind, LearnersNext those of them that become learners.
	Outgoing, LearnersNext []uint64
}

// A snapshot file is a header of 32 bytes and a body, which is one MessagePack value:
//
//	0  magic "lycosa-c"   8  format version, u32   12  CRC-32C of the body, u32
//	16 length of the body, u64   24  zero, u32   28  CRC-32C of the 28 bytes before, u32
//
// Numbers are big-endian.
const (
	snapshotMagic = "lycosa-c"
	// snapshotVersion is what is written; snapshotVersionPlain, which knows no joint configuration, is read too.
	snapshotVersion      = 2
	snapshotVersionPlain = 1
	snapshotHeaderSize   = 32
	// SnapshotBytesMax bounds a snapshot of the catalog.
	SnapshotBytesMax = 256 << 20

	membersMax = 10000
)

// ErrSnapshot is in the chain of every error of DecodeSnapshot that is about the bytes rather than about reading them.
var ErrSnapshot = errors.New("catalog snapshot is damaged")

func snapshotError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrSnapshot, fmt.Sprintf(format, args...))
}

// EncodeSnapshot writes a snapshot. Equal states give equal bytes.
func EncodeSnapshot(w io.Writer, snap Snapshot) error {
	body := snap.appendBody(nil, snapshotVersion, allTables(snap.State))
	if len(body) > SnapshotBytesMax {
		return fmt.Errorf("catalog: snapshot of %d bytes is over the limit of %d", len(body), SnapshotBytesMax)
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	head := append(make([]byte, 0, snapshotHeaderSize), snapshotMagic...)
	head = binary.BigEndian.AppendUint32(head, snapshotVersion)
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(body, table))
	head = binary.BigEndian.AppendUint64(head, uint64(len(body)))
	head = binary.BigEndian.AppendUint32(head, 0)
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(head, table))
	if _, err := w.Write(head); err != nil {
		return fmt.Errorf("catalog: write snapshot: %w", err)
	}
	if _, err := w.Write(body); err != nil {
		return fmt.Errorf("catalog: write snapshot: %w", err)
	}
	return nil
}

// bodyFields is the length of the body's array.
func bodyFields(version uint32) int {
	if version == snapshotVersionPlain {
		return 6
	}
	return 8
}

// memberLists are the lists of members in the order of the file.
func (snap *Snapshot) memberLists(version uint32) []*[]uint64 {
	if version == snapshotVersionPlain {
		return []*[]uint64{&snap.Voters, &snap.Learners}
	}
	return []*[]uint64{&snap.Voters, &snap.Learners, &snap.Outgoing, &snap.LearnersNext}
}

// allTables are the numbers of all tables of a state.
func allTables(s *State) []int {
	nos := make([]int, len(s.tables))
	for no := range nos {
		nos[no] = no
	}
	return nos
}

// appendBody encodes the snapshot with these tables, by ascending number.
func (snap Snapshot) appendBody(b []byte, version uint32, tables []int) []byte {
	s := snap.State
	b = msgpack.AppendArrayHeader(b, bodyFields(version))
	b = msgpack.AppendUint(b, s.index)
	b = msgpack.AppendUint(b, s.term)
	for _, list := range snap.memberLists(version) {
		ids := *list
		b = msgpack.AppendArrayHeader(b, len(ids))
		for _, id := range ids {
			b = msgpack.AppendUint(b, id)
		}
	}
	b = msgpack.AppendArrayHeader(b, len(s.done))
	for _, d := range s.done {
		b = msgpack.AppendArrayHeader(b, 4)
		b = msgpack.AppendBin(b, d.id[:])
		b = msgpack.AppendUint(b, d.result.Index)
		b = msgpack.AppendUint(b, uint64(d.result.Rows))
		b = msgpack.AppendUint(b, uint64(d.result.UserID))
	}
	b = msgpack.AppendArrayHeader(b, len(tables))
	for _, no := range tables {
		t := s.tables[no]
		b = msgpack.AppendArrayHeader(b, 2)
		b = msgpack.AppendUint(b, uint64(s.schema.tables[no].def.ID))
		b = msgpack.AppendArrayHeader(b, len(t.rows[0]))
		for _, row := range t.rows[0] {
			b = append(b, row...)
		}
	}
	return b
}

// DecodeSnapshot reads a snapshot to its end. Bytes that EncodeSnapshot would not have written are refused (ErrSnapshot).
func DecodeSnapshot(r io.Reader) (Snapshot, error) {
	var head [snapshotHeaderSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return Snapshot{}, snapshotError("the header of %d bytes is cut off", snapshotHeaderSize)
		}
		return Snapshot{}, fmt.Errorf("catalog: read snapshot: %w", err)
	}
	version, length, sum, err := parseSnapshotHeader(head[:])
	if err != nil {
		return Snapshot{}, err
	}
	// ReadAll grows with the bytes that come, not with the length that the header claims.
	body, err := io.ReadAll(io.LimitReader(r, int64(length)+1))
	if err != nil {
		return Snapshot{}, fmt.Errorf("catalog: read snapshot: %w", err)
	}
	if uint64(len(body)) != length {
		return Snapshot{}, snapshotError("the header promises %d bytes, there are %d", length, len(body))
	}
	if got := crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)); got != sum {
		return Snapshot{}, snapshotError("checksum of the body is %08x, not %08x", got, sum)
	}
	return parseSnapshotBody(body, version)
}

func parseSnapshotHeader(head []byte) (version uint32, length uint64, sum uint32, err error) {
	if string(head[:8]) != snapshotMagic {
		return 0, 0, 0, snapshotError("it does not begin with %q", snapshotMagic)
	}
	got, want := crc32.Checksum(head[:28], crc32.MakeTable(crc32.Castagnoli)), binary.BigEndian.Uint32(head[28:])
	if got != want {
		return 0, 0, 0, snapshotError("checksum of the header is %08x, not %08x", got, want)
	}
	if version = binary.BigEndian.Uint32(head[8:]); version < snapshotVersionPlain || version > snapshotVersion {
		return 0, 0, 0, snapshotError("format version %d is not known, only %d to %d", version, snapshotVersionPlain, snapshotVersion)
	}
	if length = binary.BigEndian.Uint64(head[16:]); length > SnapshotBytesMax {
		return 0, 0, 0, snapshotError("%d bytes are over the limit of %d", length, SnapshotBytesMax)
	}
	return version, length, binary.BigEndian.Uint32(head[12:]), nil
}

func parseSnapshotBody(body []byte, version uint32) (Snapshot, error) {
	r := reader{b: body}
	r.arrayOf(bodyFields(version))
	snap := Snapshot{State: New()}
	s := snap.State
	s.index, s.term = r.uint(), r.uint()
	for _, list := range snap.memberLists(version) {
		*list = r.ids()
	}
	for range r.count(RequestsKept) {
		r.arrayOf(4)
		var d doneRequest
		if id := r.bin(); copy(d.id[:], id) != len(d.id) || len(id) != len(d.id) {
			r.fail("request id of 16 bytes")
		}
		d.result = Result{Index: r.uint(), Rows: r.uint32(), UserID: r.uint32()}
		s.done = append(s.done, d)
	}
	t := tx{s: s}
	var there []int
	for range r.count(len(s.tables) + globalTablesMax) {
		no, err := r.table(&t, there)
		if err != nil {
			return Snapshot{}, err
		}
		there = append(there, no)
	}
	if err := r.end(); err != nil {
		return Snapshot{}, snapshotError("%v", err)
	}
	if err := t.setGlobals(); err != nil {
		return Snapshot{}, snapshotError("%v", err)
	}
	if !bytes.Equal(snap.appendBody(nil, version, there), body) {
		return Snapshot{}, snapshotError("the body is not in its one form")
	}
	return snap, nil
}

func (r *reader) ids() []uint64 {
	var ids []uint64
	for range r.count(membersMax) {
		if r.err != nil {
			return nil
		}
		ids = append(ids, r.uint())
	}
	return ids
}

// table takes the rows of one table, which comes after those that are there, and returns its number. Tables may be missing:
// they are younger than the snapshot. Rows are checked as those of a request are, since nothing later does.
func (r *reader) table(t *tx, there []int) (int, error) {
	r.arrayOf(2)
	id := r.uint32()
	if id >= FirstTableID {
		if err := t.setGlobals(); err != nil {
			return 0, snapshotError("%v", err)
		}
	}
	no, known := t.s.schema.byID[id]
	if r.err == nil && (!known || len(there) > 0 && no <= there[len(there)-1]) {
		r.fail("table of the catalog, by ascending id")
	}
	if r.err != nil {
		return 0, snapshotError("%v", r.err)
	}
	ts := &t.s.schema.tables[no]
	for range r.array() {
		row := r.raw()
		if r.err != nil {
			break
		}
		if err := t.dml(DML{Kind: Insert, Table: ts.def.ID, Tuple: row}); err != nil {
			return 0, snapshotError("a row of %s: %v", ts.def.Name, err)
		}
	}
	t.changes = nil
	if r.err != nil {
		return 0, snapshotError("%v", r.err)
	}
	return no, nil
}
