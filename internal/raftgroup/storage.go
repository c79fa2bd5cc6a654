package raftgroup

import (
	"errors"
	"fmt"
	"sort"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/lycosadb/lycosa/internal/invariant"
)

// entryOverheadBytes stands for what an entry costs beside its data.
const entryOverheadBytes = 64

// storage is the library's view of the written log: positions and terms of all of it, entries of its tail.
type storage struct {
	hard *pb.HardState
	// conf is the membership of the applied index, confIndex that of its last change.
	conf      *pb.ConfState
	confIndex uint64
	// snap is the newest snapshot that can be sent; wanted: a newer one is needed.
	snap   *pb.SnapshotMetadata
	wanted bool
	// baseIndex, baseTerm: the position before the first entry that can be had.
	baseIndex, baseTerm uint64
	last                uint64
	terms               []TermRun
	// tail holds the entries tailFirst..last; older ones are read with older.
	tail         []*pb.Entry
	tailFirst    uint64
	tailBytes    uint64
	tailBytesMax uint64
	older        func(lo, hi, bytesMax uint64) ([]Entry, error)
}

var _ raft.Storage = (*storage)(nil)

func (s *storage) InitialState() (*pb.HardState, *pb.ConfState, error) { return s.hard, s.conf, nil }
func (s *storage) FirstIndex() (uint64, error)                         { return s.baseIndex + 1, nil }
func (s *storage) LastIndex() (uint64, error)                          { return s.last, nil }

func (s *storage) Term(i uint64) (uint64, error) {
	if i < s.baseIndex {
		return 0, raft.ErrCompacted
	}
	if i > s.last {
		return 0, raft.ErrUnavailable
	}
	if i == s.baseIndex {
		return s.baseTerm, nil
	}
	n := sort.Search(len(s.terms), func(k int) bool { return s.terms[k].Index > i })
	invariant.Check(n > 0, "raftgroup: no term for index %d", i)
	return s.terms[n-1].Term, nil
}

func (s *storage) Entries(lo, hi, maxSize uint64) ([]*pb.Entry, error) {
	if lo <= s.baseIndex {
		return nil, raft.ErrCompacted
	}
	if hi > s.last+1 {
		return nil, raft.ErrUnavailable
	}
	if lo < s.tailFirst {
		return s.readOlder(lo, min(hi, s.tailFirst), maxSize)
	}
	part := s.tail[lo-s.tailFirst : hi-s.tailFirst]
	var size uint64
	for i, e := range part {
		size += uint64(len(e.Data)) + entryOverheadBytes
		if i > 0 && size > maxSize {
			part = part[:i]
			break
		}
	}
	return append([]*pb.Entry(nil), part...), nil
}

func (s *storage) readOlder(lo, hi, maxSize uint64) ([]*pb.Entry, error) {
	if s.older == nil {
		return nil, raft.ErrCompacted
	}
	entries, err := s.older(lo, hi, maxSize)
	if errors.Is(err, ErrCompacted) {
		return nil, raft.ErrCompacted
	}
	if err == nil && (len(entries) == 0 || entries[0].Index != lo) {
		err = errors.New("no entry where one must be")
	}
	if err != nil {
		return nil, fmt.Errorf("raftgroup: read entries [%d,%d): %w", lo, hi, err)
	}
	out := make([]*pb.Entry, len(entries))
	for i := range entries {
		out[i] = toPB(&entries[i])
	}
	return out, nil
}

// append adds entries that have been written; they replace what is at their indexes and after.
func (s *storage) append(entries []*pb.Entry) {
	if len(entries) == 0 {
		return
	}
	first := entries[0].GetIndex()
	invariant.Check(first > s.baseIndex && first <= s.last+1,
		"raftgroup: entry %d written to a log of %d to %d", first, s.baseIndex, s.last)
	if first <= s.last {
		s.truncate(first)
	}
	if len(s.tail) == 0 {
		s.tailFirst = first
	}
	for _, e := range entries {
		if n := len(s.terms); n == 0 || s.terms[n-1].Term != e.GetTerm() {
			s.terms = append(s.terms, TermRun{Index: e.GetIndex(), Term: e.GetTerm()})
		}
		s.tailBytes += uint64(len(e.Data)) + entryOverheadBytes
	}
	s.tail = append(s.tail, entries...)
	s.last = entries[len(entries)-1].GetIndex()
}

// truncate drops the entries from index first on.
func (s *storage) truncate(first uint64) {
	for n := len(s.terms); n > 0 && s.terms[n-1].Index >= first; n-- {
		s.terms = s.terms[:n-1]
	}
	keep := uint64(0)
	if first > s.tailFirst {
		keep = first - s.tailFirst
	}
	for i := keep; i < uint64(len(s.tail)); i++ {
		s.tailBytes -= uint64(len(s.tail[i].Data)) + entryOverheadBytes
		s.tail[i] = nil
	}
	if keep < uint64(len(s.tail)) {
		s.tail = s.tail[:keep]
	}
	s.tailFirst = min(s.tailFirst, first)
	s.last = first - 1
}

// trim forgets applied entries beyond the bound. Without older their positions go too.
func (s *storage) trim(applied uint64) {
	if s.tailBytes <= s.tailBytesMax {
		return
	}
	n := 0
	for n < len(s.tail) && s.tailBytes > s.tailBytesMax/2 && s.tail[n].GetIndex() <= applied {
		s.tailBytes -= uint64(len(s.tail[n].Data)) + entryOverheadBytes
		s.tail[n] = nil
		n++
	}
	if n == 0 {
		return
	}
	s.tail = append(make([]*pb.Entry, 0, len(s.tail)-n+16), s.tail[n:]...)
	s.tailFirst += uint64(n)
	if s.older == nil {
		s.compact(s.tailFirst - 1)
	}
}

// compact forgets everything up to index.
func (s *storage) compact(index uint64) {
	if index <= s.baseIndex {
		return
	}
	term, err := s.Term(index)
	invariant.Check(err == nil, "raftgroup: compact to %d, log ends at %d", index, s.last)
	s.baseIndex, s.baseTerm = index, term
	n := sort.Search(len(s.terms), func(k int) bool { return s.terms[k].Index > index+1 })
	if n > 1 {
		s.terms = append([]TermRun(nil), s.terms[n-1:]...)
	}
	if index < s.tailFirst {
		return
	}
	drop := min(index-s.tailFirst+1, uint64(len(s.tail)))
	for _, e := range s.tail[:drop] {
		s.tailBytes -= uint64(len(e.Data)) + entryOverheadBytes
	}
	s.tail = append([]*pb.Entry(nil), s.tail[drop:]...)
	s.tailFirst = index + 1
}
