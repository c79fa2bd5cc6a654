package runner_test

import (
	"slices"
	"testing"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/runner"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/sys/fault"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// localMachine has a local row for each value of the last run.
type localMachine struct {
	*machine
	last []string
}

func (m *localMachine) Run(index, term uint64, reqs []request) []byte {
	entry := m.machine.Run(index, term, reqs)
	m.last = nil
	for _, q := range reqs {
		m.last = append(m.last, q.value)
	}
	return entry
}

func (m *localMachine) LocalRows() [][]byte {
	var rows [][]byte
	for _, v := range m.last {
		rows = append(rows, []byte("local "+v))
	}
	return rows
}

// TestLocalRows: rows beside an entry are in the log with it, in both ways of writing, in its order, and each once.
func TestLocalRows(t *testing.T) {
	for _, mode := range []wal.SyncMode{wal.SyncFsync, wal.SyncWrite} {
		fsys := fault.New()
		log := openLog(t, fsys, mode, 64<<10)
		group, err := runner.NewGroup(log, raftgroup.Config{ID: 1, Position: bootstrap})
		if err != nil {
			t.Fatal(err)
		}
		h := &harness{m: &machine{applied: 1}, log: log}
		h.loop = runner.Start(runner.Config[request]{
			Log: log, Clock: real.Clock{}, Group: group, Machine: &localMachine{machine: h.m}, Name: "data",
		})
		var sent [][]request
		var want []string
		for _, values := range [][]string{{"a", "b"}, {"c"}, {"d", "e", "f"}, {"g"}} {
			sent = append(sent, h.submit(values...))
			for _, v := range values {
				want = append(want, "local "+v)
			}
		}
		for _, reqs := range sent {
			if err := wait(t, reqs); err != nil {
				t.Fatal(err)
			}
		}
		h.stop(t)
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		log = openLog(t, fsys, mode, 64<<10)
		var got []string
		if err := log.ReplayLocal(0, func(_ uint64, row []byte) error {
			got = append(got, string(row))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("mode %v: %q, want %q", mode, got, want)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
