package wal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/google/uuid"

	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// A segment is a header of segmentHeaderBytes and records after it, each padded to a multiple of recordAlign, then zeros.
// All numbers are little-endian. Checksums are CRC-32C.
const (
	formatVersion      = 1
	segmentHeaderBytes = 192
	recordHeaderBytes  = 56
	entryHeaderBytes   = 16
	localHeaderBytes   = 4
	recordAlign        = 8
	groupBytesMax      = 32
	// recordBytesMax bounds the body of a record.
	recordBytesMax = 64 << 20
	// segmentBytesMax bounds a segment file.
	segmentBytesMax = 1 << 30
)

var magic = [8]byte{'L', 'Y', 'C', 'R', 'L', 'O', 'G', 0}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// What a record holds; a record of several kinds has them in this order in its body.
const (
	kindHardState = 1 << iota
	kindTruncate
	kindEntries
	kindLocal
	kindClose
	kindMark

	kindsKnown = kindHardState | kindTruncate | kindEntries | kindLocal | kindClose | kindMark
)

// segmentHeader begins each segment file. It holds all that a reader would have to know from the segments before.
type segmentHeader struct {
	seq      uint64
	instance uuid.UUID
	group    string
	// salt begins the checksum of every record header in this segment: bytes that a client sends can never look like a
	// record, and neither can what is left in reused disk blocks.
	salt uint32
	// chain is the checksum of the last record before this segment.
	chain uint32
	// last and lastTerm are index and term of the last entry before this segment. With base set, no entry before it counts.
	last, lastTerm uint64
	base           bool
	localLast      uint64
	hard           raftgroup.HardState
	// size of the file: a shorter one has lost its end.
	size int64
}

// firstChain is the chain value of the first record. It does not depend on size, which a rewrite may change.
func (h *segmentHeader) firstChain() uint32 {
	return crc32.Update(h.chain, castagnoli, binary.LittleEndian.AppendUint32(nil, h.salt))
}

func (h *segmentHeader) encode() []byte {
	b := make([]byte, segmentHeaderBytes)
	copy(b, magic[:])
	le := binary.LittleEndian
	le.PutUint32(b[8:], formatVersion)
	le.PutUint32(b[12:], h.salt)
	le.PutUint64(b[16:], h.seq)
	copy(b[24:40], h.instance[:])
	le.PutUint32(b[40:], h.chain)
	if h.base {
		b[44] = 1
	}
	b[45] = byte(len(h.group))
	copy(b[48:48+groupBytesMax], h.group)
	for i, v := range [...]uint64{h.last, h.lastTerm, h.localLast, h.hard.Term, h.hard.Vote, h.hard.Commit,
		uint64(h.size)} {
		le.PutUint64(b[80+8*i:], v)
	}
	le.PutUint32(b[segmentHeaderBytes-4:], crc32.Checksum(b[:segmentHeaderBytes-4], castagnoli))
	return b
}

func decodeSegmentHeader(b []byte) (h segmentHeader, err error) {
	if len(b) < segmentHeaderBytes || [8]byte(b[:8]) != magic {
		return h, errors.New("not a log segment")
	}
	le := binary.LittleEndian
	if v := le.Uint32(b[8:]); v != formatVersion {
		return h, errors.New("log segment of an unknown format version")
	}
	if crc32.Checksum(b[:segmentHeaderBytes-4], castagnoli) != le.Uint32(b[segmentHeaderBytes-4:]) {
		return h, errors.New("checksum of the segment header does not match")
	}
	if b[45] > groupBytesMax || b[44] > 1 {
		return h, errors.New("bad field in the segment header")
	}
	h.salt, h.seq, h.chain = le.Uint32(b[12:]), le.Uint64(b[16:]), le.Uint32(b[40:])
	h.instance = uuid.UUID(b[24:40])
	h.base = b[44] == 1
	h.group = string(b[48 : 48+int(b[45])])
	at := func(i int) uint64 { return le.Uint64(b[80+8*i:]) }
	h.last, h.lastTerm, h.localLast = at(0), at(1), at(2)
	h.hard = raftgroup.HardState{Term: at(3), Vote: at(4), Commit: at(5)}
	if at(6) < segmentHeaderBytes || at(6) > segmentBytesMax {
		return h, errors.New("bad size in the segment header")
	}
	h.size = int64(at(6))
	return h, nil
}

// recordHeader begins each record.
type recordHeader struct {
	// bodyBytes is the length of the body without its padding, bodySum covers both.
	bodyBytes uint32
	bodySum   uint32
	// chain is the header checksum of the record before, see firstChain for the first record of a segment.
	chain   uint32
	kind    uint8
	entries uint32
	// index is that of the first entry, or of the last one in the log if there are none here.
	index uint64
	// term is the newest term the replica knew.
	term uint64
	// commit is the durable watermark: the highest index that this replica knew to be committed.
	commit uint64
	// synced is the offset in this file up to which the file was known to be synced before this record was written. A bad
	// record below it is damage, not a torn write.
	synced uint64
	// sum is the checksum of the fields above.
	sum uint32
}

func (h *recordHeader) put(b []byte, salt uint32) (sum uint32) {
	_ = b[recordHeaderBytes-1]
	le := binary.LittleEndian
	le.PutUint32(b[4:], h.bodyBytes)
	le.PutUint32(b[8:], h.bodySum)
	le.PutUint32(b[12:], h.chain)
	le.PutUint32(b[16:], uint32(h.kind))
	le.PutUint32(b[20:], h.entries)
	le.PutUint64(b[24:], h.index)
	le.PutUint64(b[32:], h.term)
	le.PutUint64(b[40:], h.commit)
	le.PutUint64(b[48:], h.synced)
	sum = crc32.Update(salt, castagnoli, b[4:recordHeaderBytes])
	le.PutUint32(b, sum)
	return sum
}

// parseRecordHeader reads a header; false if it is none. Nothing in it is used before its checksum was found right,
// except the length, which is compared with room, the bytes that follow the header in the file.
func parseRecordHeader(b []byte, salt uint32, room int64) (h recordHeader, ok bool) {
	if len(b) < recordHeaderBytes {
		return h, false
	}
	le := binary.LittleEndian
	h.bodyBytes = le.Uint32(b[4:])
	if h.bodyBytes > recordBytesMax || alignUp(int64(h.bodyBytes)) > room {
		return h, false
	}
	h.sum = le.Uint32(b)
	if crc32.Update(salt, castagnoli, b[4:recordHeaderBytes]) != h.sum {
		return h, false
	}
	kind := le.Uint32(b[16:])
	if kind == 0 || kind&^kindsKnown != 0 {
		return h, false
	}
	h.bodySum, h.chain, h.kind, h.entries = le.Uint32(b[8:]), le.Uint32(b[12:]), uint8(kind), le.Uint32(b[20:])
	h.index, h.term, h.commit, h.synced = le.Uint64(b[24:]), le.Uint64(b[32:]), le.Uint64(b[40:]), le.Uint64(b[48:])
	return h, true
}

// recordBytes is what a record takes in the file.
func (h *recordHeader) recordBytes() int64 { return alignUp(recordHeaderBytes + int64(h.bodyBytes)) }

func alignUp(n int64) int64 { return (n + recordAlign - 1) &^ (recordAlign - 1) }

// body is a record's content, its bytes aliasing the record.
type body struct {
	hard      raftgroup.HardState
	truncate  uint64
	localPrev uint64
	entries   []byte
	locals    []byte
}

var errBody = errors.New("malformed record")

// appendBody appends the content of a batch. localPrev is the number of the last local row before it.
func appendBody(dst []byte, kind uint8, b *Batch, truncate, localPrev uint64) []byte {
	le := binary.LittleEndian
	if kind&kindHardState != 0 {
		dst = le.AppendUint64(dst, b.HardState.Term)
		dst = le.AppendUint64(dst, b.HardState.Vote)
		dst = le.AppendUint64(dst, b.HardState.Commit)
	}
	if kind&kindTruncate != 0 {
		dst = le.AppendUint64(dst, truncate)
	}
	for i := range b.Entries {
		e := &b.Entries[i]
		dst = le.AppendUint32(dst, uint32(len(e.Data)))
		dst = le.AppendUint32(dst, uint32(e.Type))
		dst = le.AppendUint64(dst, e.Term)
		dst = append(dst, e.Data...)
	}
	if kind&kindLocal != 0 {
		dst = le.AppendUint64(dst, localPrev)
		for _, row := range b.Local {
			dst = le.AppendUint32(dst, uint32(len(row)))
			dst = append(dst, row...)
		}
	}
	return dst
}

// parseBody splits a record's body whose checksum is right; entries and local rows are checked, not copied.
func parseBody(h *recordHeader, b []byte) (out body, err error) {
	le := binary.LittleEndian
	if h.kind&kindHardState != 0 {
		if len(b) < 24 {
			return out, errBody
		}
		out.hard = raftgroup.HardState{Term: le.Uint64(b), Vote: le.Uint64(b[8:]), Commit: le.Uint64(b[16:])}
		b = b[24:]
	}
	if h.kind&kindTruncate != 0 {
		if len(b) < 8 {
			return out, errBody
		}
		out.truncate = le.Uint64(b)
		b = b[8:]
	}
	if (h.kind&kindEntries != 0) != (h.entries > 0) {
		return out, errBody
	}
	rest := b
	for range h.entries {
		if _, rest, err = nextEntry(rest, 0); err != nil {
			return out, err
		}
	}
	out.entries = b[:len(b)-len(rest)]
	if h.kind&kindLocal == 0 {
		if len(rest) != 0 {
			return out, errBody
		}
		return out, nil
	}
	if len(rest) < 8+localHeaderBytes {
		return out, errBody
	}
	out.localPrev, out.locals = le.Uint64(rest), rest[8:]
	for rest = out.locals; len(rest) > 0; {
		if _, rest, err = nextLocal(rest); err != nil {
			return out, err
		}
	}
	return out, nil
}

// nextEntry reads the entry at the start of b, giving it the index.
func nextEntry(b []byte, index uint64) (e raftgroup.Entry, rest []byte, err error) {
	if len(b) < entryHeaderBytes {
		return e, nil, errBody
	}
	le := binary.LittleEndian
	n, typ := uint64(le.Uint32(b)), le.Uint32(b[4:])
	if n > uint64(len(b)-entryHeaderBytes) || typ > uint32(raftgroup.EntryConfChange) {
		return e, nil, errBody
	}
	end := entryHeaderBytes + int(n)
	e = raftgroup.Entry{Index: index, Term: le.Uint64(b[8:]), Type: raftgroup.EntryType(typ)}
	if n > 0 {
		e.Data = b[entryHeaderBytes:end:end]
	}
	return e, b[end:], nil
}

func nextLocal(b []byte) (row, rest []byte, err error) {
	if len(b) < localHeaderBytes {
		return nil, nil, errBody
	}
	n := uint64(binary.LittleEndian.Uint32(b))
	if n > uint64(len(b)-localHeaderBytes) {
		return nil, nil, errBody
	}
	end := localHeaderBytes + int(n)
	return b[localHeaderBytes:end:end], b[end:], nil
}
