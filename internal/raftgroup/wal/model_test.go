package wal

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/sys"
)

var testInstance = uuid.MustParse("0d0d0d0d-1111-2222-3333-444444444444")

func testOptions(fsys sys.FS) Options {
	return Options{
		FS: fsys, Dir: "/data", Prefix: "r", Group: "data", Instance: testInstance,
		SegmentBytes: segmentBytesMin, ReserveBytes: 20 << 10,
	}
}

func mustOpen(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// model is what a log should hold.
type model struct {
	base    uint64
	entries []raftgroup.Entry
	hard    raftgroup.HardState
	locals  []string
	// compacted: entries up to here may be gone.
	compacted uint64
}

func (m *model) last() uint64 { return m.base + uint64(len(m.entries)) }

func (m *model) clone() *model {
	c := *m
	c.entries = append([]raftgroup.Entry(nil), m.entries...)
	c.locals = append([]string(nil), m.locals...)
	return &c
}

func (m *model) append(b Batch) {
	if b.HardState != nil {
		m.hard = *b.HardState
	}
	if len(b.Entries) > 0 {
		m.entries = append(m.entries[:b.Entries[0].Index-1-m.base:b.Entries[0].Index-1-m.base], b.Entries...)
	}
	for _, row := range b.Local {
		m.locals = append(m.locals, string(row))
	}
}

func (m *model) reset(index uint64) {
	m.base, m.entries, m.compacted = index, nil, 0
}

// check compares a log with the model.
func (m *model) check(l *Log) error {
	r := l.Recovered()
	if r.HardState.Term != m.hard.Term || r.HardState.Vote != m.hard.Vote {
		return fmt.Errorf("hard state %+v, want %+v", r.HardState, m.hard)
	}
	if l.LastIndex() != m.last() {
		return fmt.Errorf("last index %d, want %d", l.LastIndex(), m.last())
	}
	first := l.FirstIndex()
	if first <= m.base || first > max(m.compacted, m.base)+1 {
		return fmt.Errorf("first index %d, base %d, compacted to %d", first, m.base, m.compacted)
	}
	next := first
	if err := l.Replay(first, func(e raftgroup.Entry) error {
		want := m.entries[next-m.base-1]
		if e.Index != next || e.Term != want.Term || e.Type != want.Type || string(e.Data) != string(want.Data) {
			return fmt.Errorf("entry %+v, want %+v", e, want)
		}
		next++
		return nil
	}); err != nil {
		return err
	}
	if next != m.last()+1 {
		return fmt.Errorf("replay ended before index %d, want %d", next, m.last()+1)
	}
	return m.checkLocals(l)
}

func (m *model) checkLocals(l *Log) error {
	var seen, firstSeen uint64
	if err := l.ReplayLocal(0, func(number uint64, row []byte) error {
		if firstSeen == 0 {
			firstSeen, seen = number, number-1
		}
		if seen++; seen != number || number > uint64(len(m.locals)) || m.locals[number-1] != string(row) {
			return fmt.Errorf("local row %d is %q", number, row)
		}
		return nil
	}); err != nil {
		return err
	}
	if m.compacted == 0 && m.base == 0 && seen != uint64(len(m.locals)) {
		return fmt.Errorf("%d local rows, want %d", seen, len(m.locals))
	}
	return nil
}

// step is one call of a workload on log and model.
type step struct {
	name  string
	log   func(l *Log) (*Log, error)
	model func(m *model)
}

func appendStep(b Batch) step {
	return step{
		name:  fmt.Sprintf("append %d entries", len(b.Entries)),
		log:   func(l *Log) (*Log, error) { return l, l.Append(b) },
		model: func(m *model) { m.append(b) },
	}
}

func entries(first, term uint64, n, bytes int) []raftgroup.Entry {
	var out []raftgroup.Entry
	for i := range n {
		index := first + uint64(i)
		data := make([]byte, bytes)
		for k := range data {
			data[k] = byte(index*31 + term*7 + uint64(k))
		}
		e := raftgroup.Entry{Index: index, Term: term, Data: data}
		if bytes == 0 {
			e.Data = nil
		}
		out = append(out, e)
	}
	return out
}

func hard(term, vote, commit uint64) *raftgroup.HardState {
	return &raftgroup.HardState{Term: term, Vote: vote, Commit: commit}
}

func closeStep(o func() Options) step {
	return step{name: "close and open", log: func(l *Log) (*Log, error) {
		if err := l.Close(); err != nil {
			return l, err
		}
		return Open(o())
	}}
}

func simpleStep(name string, fn func(l *Log) error) step {
	return step{name: name, log: func(l *Log) (*Log, error) { return l, fn(l) }}
}

// workload visits every kind of call: votes, entries, truncation, rotation, local rows, marks, room, compaction, reset.
func workload(o func() Options) []step {
	steps := []step{
		appendStep(Batch{HardState: hard(1, 1, 0), Entries: entries(1, 1, 1, 0)}),
		appendStep(Batch{Entries: entries(2, 1, 3, 100)}),
		simpleStep("mark", func(l *Log) error { l.NoteCommit(3); return l.Mark() }),
		appendStep(Batch{Entries: entries(5, 1, 2, 300), Local: [][]byte{[]byte("local one"), nil}}),
		appendStep(Batch{Entries: entries(7, 1, 1, 1500)}),
		simpleStep("room", func(l *Log) error { return l.EnsureRoom() }),
		appendStep(Batch{Entries: entries(8, 1, 1, 1600)}),
		appendStep(Batch{HardState: hard(3, 2, 6), Entries: entries(7, 3, 2, 50)}),
		appendStep(Batch{Local: [][]byte{[]byte("local two")}}),
		closeStep(o),
		appendStep(Batch{HardState: hard(4, 1, 7)}),
		appendStep(Batch{Entries: entries(9, 4, 1, 6000)}),
		appendStep(Batch{Entries: entries(10, 4, 2, 1000)}),
	}
	compact := simpleStep("compact", func(l *Log) error { return l.CompactTo(8) })
	compact.model = func(m *model) { m.compacted = 8 }
	reset := simpleStep("reset", func(l *Log) error { return l.ResetTo(40, 4) })
	reset.model = func(m *model) { m.reset(40) }
	return append(steps, compact,
		appendStep(Batch{Entries: []raftgroup.Entry{
			{Index: 12, Term: 4, Type: raftgroup.EntryConfChange, Data: []byte("cc")},
		}}),
		reset,
		appendStep(Batch{Entries: entries(41, 4, 2, 10)}),
	)
}

// runSteps runs steps until one fails. before and after are the models before and after the step that was last tried.
func runSteps(o Options, steps []step) (before, after *model, err error) {
	before = &model{}
	after = before
	l, err := Open(o)
	for i := 0; err == nil && i < len(steps); i++ {
		before = after
		after = before.clone()
		if steps[i].model != nil {
			steps[i].model(after)
		}
		if l, err = steps[i].log(l); err != nil {
			err = fmt.Errorf("step %d (%s): %w", i, steps[i].name, err)
		}
	}
	if err == nil {
		before = after
	}
	return before, after, err
}

func isCorrupt(err error) bool {
	var c *CorruptError
	return errors.As(err, &c)
}
