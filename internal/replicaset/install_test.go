package replicaset

import (
	"errors"
	"testing"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/runner"
)

var _ runner.Installer = (*Machine)(nil)

// TestInstall: the data becomes what a snapshot holds, and goes on with the entries behind it, as a follower and as a leader.
func TestInstall(t *testing.T) {
	m, e := newTestMachine(t)
	a := client{}
	m.Run(2, 1, []*Batch{{Sink: a, Writes: []Write{put(1, "old")}}})
	m.Commit(2)
	at := raftgroup.Position{Index: 40, Term: 3}
	if err := m.Install(at); err == nil {
		t.Fatal("installed without anything to read it with")
	}
	refused := errors.New("the file is damaged")
	m.LoadWith(func(raftgroup.Position) error { return refused })
	if err := m.Install(at); !errors.Is(err, refused) || visible(t, e) != 1 {
		t.Fatal(err)
	}
	schema := e.PublishedSchema().Version
	changed := 0
	m.onSchema = func() { changed++ }
	m.LoadWith(func(p raftgroup.Position) error {
		l, err := e.NewInstaller(p.Index)
		if err != nil {
			return err
		}
		dictionary.Rows(func(space uint32, row []byte) bool {
			err = l.Add(&box.Run{Space: space, Tuples: [][]byte{row}})
			return err == nil
		})
		for _, key := range []string{"x", "y", "z"} {
			w := put(0, key)
			err = errors.Join(err, l.Add(&box.Run{Space: dictionary.SpaceSchema, Tuples: [][]byte{w.Statement.Tuple}}))
		}
		err = errors.Join(err, l.EndSnapshot())
		l.Finish(p.Index)
		return err
	})
	if err := m.Install(at); err != nil {
		t.Fatal(err)
	}
	if visible(t, e) != 3 || e.Published() != 40 || changed != 1 || e.PublishedSchema().Version <= schema {
		t.Fatalf("%d rows, version %d, schema changed %d times", visible(t, e), e.Published(), changed)
	}
	other, _ := newTestMachine(t)
	m.Apply(41, 3, other.Run(41, 3, []*Batch{{Sink: client{}, Writes: []Write{put(1, "from another")}}}))
	if visible(t, e) != 4 {
		t.Fatalf("%d rows after an entry of another leader", visible(t, e))
	}
	b := client{}
	if m.Run(42, 4, []*Batch{{Sink: b, Writes: []Write{put(1, "old"), put(2, "x")}}}) == nil {
		t.Fatal("no entry")
	}
	m.Commit(42)
	if b[1] != 0 || b[2] != errcode.TupleFound || visible(t, e) != 5 {
		t.Fatalf("answers %v, %d rows", b, visible(t, e))
	}
}
