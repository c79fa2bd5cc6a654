package wal

import (
	"sort"

	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// runBytes is how much of a segment one run covers at most, so that a reader has little to skip.
const runBytes = 256 << 10

// segment is a file of the log.
type segment struct {
	seq  uint64
	name string
	salt uint32
	// end is where its records end; for all but the last segment it does not move any more.
	end int64
	// localPrev is the number of the last local row before the segment.
	localPrev uint64
}

// run is a stretch of records in one segment that holds the entries first to last, found by reading records from off on
// until last has been seen. What else the records hold was overwritten later.
type run struct {
	seg         *segment
	off         int64
	first, last uint64
	// closed: entries behind last were overwritten, so that the next entry begins a new run.
	closed bool
}

// index knows where entries are. It is rebuilt at Open and kept while the log is written.
type index struct {
	segs        []*segment
	runs        []run
	first, last uint64
	lastTerm    uint64
	terms       []raftgroup.TermRun
	confs       []raftgroup.Entry
}

// reset makes the log empty, its next entry following last.
func (x *index) reset(last, lastTerm uint64) {
	x.runs, x.terms, x.confs = nil, nil, nil
	x.first, x.last, x.lastTerm = last+1, last, lastTerm
}

// truncate drops the entries above last.
func (x *index) truncate(last uint64) {
	if last >= x.last {
		return
	}
	for n := len(x.runs); n > 0; n-- {
		r := &x.runs[n-1]
		if r.first <= last {
			r.last, r.closed = min(r.last, last), true
			break
		}
		x.runs = x.runs[:n-1]
	}
	for n := len(x.terms); n > 0 && x.terms[n-1].Index > last; n-- {
		x.terms = x.terms[:n-1]
	}
	for n := len(x.confs); n > 0 && x.confs[n-1].Index > last; n-- {
		x.confs = x.confs[:n-1]
	}
	x.last, x.first = last, min(x.first, last+1)
	if n := len(x.terms); n > 0 {
		x.lastTerm = x.terms[n-1].Term
	}
}

// add notes entries of the record at off of the last segment.
func (x *index) add(off int64, e *raftgroup.Entry) {
	seg := x.segs[len(x.segs)-1]
	if n := len(x.runs); n > 0 && x.runs[n-1].seg == seg && !x.runs[n-1].closed && off-x.runs[n-1].off < runBytes {
		x.runs[n-1].last = e.Index
	} else {
		x.runs = append(x.runs, run{seg: seg, off: off, first: e.Index, last: e.Index})
	}
	if n := len(x.terms); n == 0 || x.terms[n-1].Term != e.Term {
		x.terms = append(x.terms, raftgroup.TermRun{Index: e.Index, Term: e.Term})
	}
	if e.Type == raftgroup.EntryConfChange {
		kept := *e
		kept.Data = append([]byte(nil), e.Data...)
		x.confs = append(x.confs, kept)
	}
	x.last, x.lastTerm = e.Index, e.Term
}

// find returns the runs that hold entries lo and above, up to hi exclusive.
func (x *index) find(lo, hi uint64) []run {
	from := sort.Search(len(x.runs), func(i int) bool { return x.runs[i].last >= lo })
	to := sort.Search(len(x.runs), func(i int) bool { return x.runs[i].first >= hi })
	if from >= to {
		return nil
	}
	return append([]run(nil), x.runs[from:to]...)
}

// dropBefore forgets the first n segments and what lies in them.
func (x *index) dropBefore(n int) {
	keep := x.segs[n]
	for len(x.runs) > 0 && x.runs[0].seg.seq < keep.seq {
		x.runs = x.runs[1:]
	}
	x.segs = append([]*segment(nil), x.segs[n:]...)
	x.runs = append([]run(nil), x.runs...)
	x.first = x.last + 1
	if len(x.runs) > 0 {
		x.first = x.runs[0].first
	}
	t := sort.Search(len(x.terms), func(i int) bool { return x.terms[i].Index > x.first })
	if t > 1 {
		x.terms = append([]raftgroup.TermRun(nil), x.terms[t-1:]...)
	}
	for len(x.confs) > 0 && x.confs[0].Index < x.first {
		x.confs = x.confs[1:]
	}
}

func (x *index) bytes() (n int64) {
	for _, s := range x.segs {
		n += s.end
	}
	return n
}

func (x *index) bytesSince(after uint64) (n int64) {
	i := sort.Search(len(x.runs), func(i int) bool { return x.runs[i].last > after })
	if i == len(x.runs) {
		return 0
	}
	n = x.runs[i].seg.end - x.runs[i].off
	for _, s := range x.segs {
		if s.seq > x.runs[i].seg.seq {
			n += s.end
		}
	}
	return n
}
