package wire

import (
	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// CAS asks the leader of the catalog to propose operations, guarded by a predicate if there is one.
type CAS struct {
	Header    Header
	Ops       []catalog.Op
	Predicate *catalog.Predicate
	// Initiator is the id of the user on whose behalf it is done.
	Initiator uint32
	// ID makes sure that it is done once however often it is sent; zero: no such care.
	ID catalog.RequestID
}

// ReadIndex asks the leader of a group for an index: a state that holds it is new enough for a linearizable read.
type ReadIndex struct {
	Header Header
	Group  uint8
}

// GroupChange asks the leader of a data group to change its membership.
type GroupChange struct {
	Header  Header
	Changes []raftgroup.Change
	// CatalogIndex is the index of the catalog from which the changes follow; the group refuses an older one than it has seen.
	CatalogIndex uint64
	// Term is that of the data group, and Voters are its voters, on which the changes were planned: with others they are void.
	Term   uint64
	Voters []uint64
}

// Transfer asks the leader of a group to hand over to a member of it.
type Transfer struct {
	Header Header
	Group  uint8
	// To is a raft id.
	To uint64
	// Term is that of the group, in which the receiver leads it: in another one the request is void.
	Term uint64
}

// SnapshotChunk asks for a part of the snapshot of a group.
type SnapshotChunk struct {
	Header Header
	Group  uint8
	// Index and Term are those of the snapshot, as the raft message announced it: of two leaders, one of whom was overthrown,
	// there may be two of one index.
	Index, Term uint64
	// Offset is where the part begins, Max how many bytes it may have at most, up to SnapshotPartBytesMax.
	Offset, Max uint64
}

// SnapshotPart is the answer to SnapshotChunk. It is the last one if Offset and the length of Data add up to Total.
type SnapshotPart struct {
	Total uint64
	Data  []byte
}

// The numbers of fields that this version knows.
const (
	casFields         = 3
	predicateFields   = 3
	rangeFields       = 5
	resultFields      = 3
	readIndexFields   = 2
	groupChangeFields = 5
	transferFields    = 4
	chunkFields       = 6
	partFields        = 2
)

// Append appends the message to dst. Errors: 12005 if the operations are over a limit of the catalog.
func (m CAS) Append(dst []byte) ([]byte, error) {
	// Operations travel in the one form that they have in the log.
	entry, err := catalog.EncodeEntry(catalog.Entry{Items: []catalog.Item{{Ops: m.Ops, Initiator: m.Initiator, ID: m.ID}}})
	if err != nil {
		return dst, err
	}
	dst = m.Header.append(msgpack.AppendArrayHeader(dst, casFields))
	dst = msgpack.AppendBin(dst, entry)
	if m.Predicate == nil {
		return msgpack.AppendNil(dst), nil
	}
	dst = msgpack.AppendArrayHeader(dst, predicateFields)
	dst = msgpack.AppendUint(msgpack.AppendUint(dst, m.Predicate.Index), m.Predicate.Term)
	dst = msgpack.AppendArrayHeader(dst, len(m.Predicate.Ranges))
	for _, g := range m.Predicate.Ranges {
		dst = msgpack.AppendUint(msgpack.AppendArrayHeader(dst, rangeFields), uint64(g.Table))
		dst = msgpack.AppendBool(msgpack.AppendBin(dst, g.Min.Key), g.Min.Excluded)
		dst = msgpack.AppendBool(msgpack.AppendBin(dst, g.Max.Key), g.Max.Excluded)
	}
	return dst, nil
}

// DecodeCAS reads a message; the bytes in its operations and ranges are parts of b. Errors: 1.
func DecodeCAS(b []byte) (CAS, error) {
	r := reader{b: b, message: "CAS"}
	extra := r.fields(casFields)
	m := CAS{Header: r.header()}
	entry := r.bin(catalog.EntryBytesMax)
	if !r.isNil() {
		p := r.predicate()
		m.Predicate = &p
	}
	if err := r.end(extra); err != nil {
		return CAS{}, err
	}
	e, err := catalog.DecodeEntry(entry)
	if err != nil {
		return CAS{}, errcode.New(errcode.IllegalParams, "operations of a CAS: "+err.Error())
	}
	if len(e.Items) != 1 {
		return CAS{}, errcode.New(errcode.IllegalParams, "operations of a CAS: one request expected")
	}
	m.Ops, m.Initiator, m.ID = e.Items[0].Ops, e.Items[0].Initiator, e.Items[0].ID
	return m, nil
}

func (r *reader) predicate() catalog.Predicate {
	extra := r.fields(predicateFields)
	p := catalog.Predicate{Index: r.uint(), Term: r.uint()}
	for range r.list(RangesMax) {
		if !r.ok() {
			break
		}
		more := r.fields(rangeFields)
		p.Ranges = append(p.Ranges, catalog.Range{Table: uint32(r.uintMax(1<<32 - 1)), Min: r.bound(), Max: r.bound()})
		r.skip(more)
	}
	r.skip(extra)
	return p
}

// bound takes an end of a range; one without a key is open.
func (r *reader) bound() catalog.Bound {
	b := catalog.Bound{Key: r.bin(catalog.OpBytesMax), Excluded: r.bool()}
	if len(b.Key) == 0 {
		b.Key = nil
	}
	return b
}

// AppendResult appends the answer to CAS.
func AppendResult(dst []byte, res catalog.Result) []byte {
	dst = msgpack.AppendUint(msgpack.AppendArrayHeader(dst, resultFields), res.Index)
	return msgpack.AppendUint(msgpack.AppendUint(dst, uint64(res.Rows)), uint64(res.UserID))
}

// DecodeResult reads the answer to CAS. Errors: 1.
func DecodeResult(b []byte) (catalog.Result, error) {
	r := reader{b: b, message: "answer to CAS"}
	extra := r.fields(resultFields)
	res := catalog.Result{Index: r.uint(), Rows: uint32(r.uintMax(1<<32 - 1)), UserID: uint32(r.uintMax(1<<32 - 1))}
	if err := r.end(extra); err != nil {
		return catalog.Result{}, err
	}
	return res, nil
}

// Append appends the message to dst.
func (m ReadIndex) Append(dst []byte) []byte {
	dst = m.Header.append(msgpack.AppendArrayHeader(dst, readIndexFields))
	return msgpack.AppendUint(dst, uint64(m.Group))
}

// DecodeReadIndex reads a message. Errors: 1.
func DecodeReadIndex(b []byte) (ReadIndex, error) {
	r := reader{b: b, message: "ReadIndex"}
	extra := r.fields(readIndexFields)
	m := ReadIndex{Header: r.header(), Group: r.group()}
	if err := r.end(extra); err != nil {
		return ReadIndex{}, err
	}
	return m, nil
}

// AppendIndex appends the answer to ReadIndex.
func AppendIndex(dst []byte, index uint64) []byte {
	return msgpack.AppendUint(msgpack.AppendArrayHeader(dst, 1), index)
}

// DecodeIndex reads the answer to ReadIndex. Errors: 1.
func DecodeIndex(b []byte) (uint64, error) {
	r := reader{b: b, message: "answer to ReadIndex"}
	extra := r.fields(1)
	index := r.uint()
	return index, r.end(extra)
}

// Append appends the message to dst.
func (m GroupChange) Append(dst []byte) []byte {
	dst = m.Header.append(msgpack.AppendArrayHeader(dst, groupChangeFields))
	dst = msgpack.AppendArrayHeader(dst, len(m.Changes))
	for _, c := range m.Changes {
		dst = msgpack.AppendUint(msgpack.AppendUint(msgpack.AppendArrayHeader(dst, 2), uint64(c.Op)), c.ID)
	}
	dst = msgpack.AppendUint(msgpack.AppendUint(dst, m.CatalogIndex), m.Term)
	return appendIDs(dst, m.Voters)
}

// DecodeGroupChange reads a message. Errors: 1.
func DecodeGroupChange(b []byte) (GroupChange, error) {
	r := reader{b: b, message: "GroupChange"}
	extra := r.fields(groupChangeFields)
	m := GroupChange{Header: r.header()}
	for range r.list(ChangesMax) {
		if !r.ok() {
			break
		}
		more := r.fields(2)
		op := raftgroup.ChangeOp(r.uintMax(uint64(raftgroup.Remove)))
		m.Changes = append(m.Changes, raftgroup.Change{Op: op, ID: r.uint()})
		r.skip(more)
	}
	m.CatalogIndex, m.Term, m.Voters = r.uint(), r.uint(), r.ids()
	if err := r.end(extra); err != nil {
		return GroupChange{}, err
	}
	return m, nil
}

// Append appends the message to dst.
func (m Transfer) Append(dst []byte) []byte {
	dst = m.Header.append(msgpack.AppendArrayHeader(dst, transferFields))
	return msgpack.AppendUint(msgpack.AppendUint(msgpack.AppendUint(dst, uint64(m.Group)), m.To), m.Term)
}

// DecodeTransfer reads a message. Errors: 1.
func DecodeTransfer(b []byte) (Transfer, error) {
	r := reader{b: b, message: "Transfer"}
	extra := r.fields(transferFields)
	m := Transfer{Header: r.header(), Group: r.group(), To: r.uint(), Term: r.uint()}
	if err := r.end(extra); err != nil {
		return Transfer{}, err
	}
	return m, nil
}

// Append appends the message to dst.
func (m SnapshotChunk) Append(dst []byte) []byte {
	dst = m.Header.append(msgpack.AppendArrayHeader(dst, chunkFields))
	dst = msgpack.AppendUint(msgpack.AppendUint(dst, uint64(m.Group)), m.Index)
	return msgpack.AppendUint(msgpack.AppendUint(msgpack.AppendUint(dst, m.Offset), m.Max), m.Term)
}

// DecodeSnapshotChunk reads a message; Max is at most SnapshotPartBytesMax. Errors: 1.
func DecodeSnapshotChunk(b []byte) (SnapshotChunk, error) {
	r := reader{b: b, message: "SnapshotChunk"}
	extra := r.fields(chunkFields)
	m := SnapshotChunk{
		Header: r.header(), Group: r.group(), Index: r.uint(), Offset: r.uint(), Max: r.uintMax(SnapshotPartBytesMax), Term: r.uint(),
	}
	if err := r.end(extra); err != nil {
		return SnapshotChunk{}, err
	}
	return m, nil
}

// Append appends the answer to dst.
func (m SnapshotPart) Append(dst []byte) []byte {
	dst = msgpack.AppendUint(msgpack.AppendArrayHeader(dst, partFields), m.Total)
	return msgpack.AppendBin(dst, m.Data)
}

// DecodeSnapshotPart reads the answer to SnapshotChunk; Data is a part of b. Errors: 1.
func DecodeSnapshotPart(b []byte) (SnapshotPart, error) {
	r := reader{b: b, message: "answer to SnapshotChunk"}
	extra := r.fields(partFields)
	m := SnapshotPart{Total: r.uint(), Data: r.bin(SnapshotPartBytesMax)}
	if err := r.end(extra); err != nil {
		return SnapshotPart{}, err
	}
	return m, nil
}
