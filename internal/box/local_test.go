package box

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/meter"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

const tempSpace = 602

// makeLocalSpaces makes a replicated space, a local one and a temporary one.
func makeLocalSpaces(t *testing.T, s *scripted) {
	for _, line := range []string{
		`insert 280 [600,1,"shared","memtx",0,{},[]]`,
		`insert 288 [600,0,"pk","tree",{"unique":true},[[0,"unsigned"]]]`,
		`insert 280 [601,1,"local","memtx",0,{"group_id":1},[]]`,
		`insert 288 [601,0,"pk","tree",{"unique":true},[[0,"unsigned"]]]`,
		`insert 280 [602,1,"temporary","memtx",0,{"temporary":true},[]]`,
		`insert 288 [602,0,"pk","tree",{"unique":true},[[0,"unsigned"]]]`,
	} {
		if out := s.run(line); out[:5] == "error" {
			t.Fatal(line, out)
		}
	}
}

// sealed closes the open version and returns what of it goes into the log.
func sealed(t *testing.T, e *Engine, version uint64) (entry []byte, local []LocalRow) {
	t.Helper()
	entry = bytes.Clone(e.Seal())
	e.EachLocal(func(row []byte) {
		r, err := DecodeLocal(AppendLocal(nil, version, 7, row))
		if err != nil || r.Index != version || r.Term != 7 {
			t.Fatalf("local row %x: %+v, %v", row, r, err)
		}
		local = append(local, r)
	})
	return entry, local
}

// truncate empties a space as a client does.
func truncate(e *Engine, space uint32) error {
	row := msgpack.AppendUint(msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 2), uint64(space)), 1)
	_, err := e.Execute(&Statement{Kind: Replace, SpaceID: 330, Tuple: row})
	return err
}

// again drops the primary key of an emptied space and makes it anew: the order of entry and local rows matters for it.
func again(s *scripted, space uint32) error {
	for _, line := range []string{`delete 288 0 [%d,0]`, `insert 288 [%d,0,"pk","tree",{"unique":true},[[0,"unsigned"]]]`} {
		if out := s.run(fmt.Sprintf(line, space)); out[:5] == "error" {
			return errors.New(out)
		}
	}
	return nil
}

// TestLocalRows: random batches over replicated, local and temporary spaces, some rolled back. An engine that is fed entries
// and local rows holds the same but for the temporary space, and counts the same local rows; one that is fed the entries
// alone, as another replica is, has nothing in its local space.
func TestLocalRows(t *testing.T) {
	for seed := range uint64(4) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		e, same, other := newTestEngine(t, Options{}), newTestEngine(t, Options{}), newTestEngine(t, Options{})
		s := &scripted{t: t, e: e, r: e.NewReader(), version: 1}
		defer s.r.Close()
		var readers []*Reader
		for _, replica := range []*Engine{same, other} {
			r := replica.NewReader()
			defer r.Close()
			readers = append(readers, r)
			makeLocalSpaces(t, &scripted{t: t, e: replica, r: r, version: 1})
		}
		makeLocalSpaces(t, s)
		s.open = true
		models := []*model{{600, false, map[uint64]row{}}, {601, false, map[uint64]row{}}, {tempSpace, false, map[uint64]row{}}}
		for version := s.version + 1; version < 200; version++ {
			before := []*model{models[0].clone(), models[1].clone(), models[2].clone()}
			e.Begin(version)
			for range rnd.IntN(8) + 1 {
				m := models[rnd.IntN(3)]
				err := m.step(e, rnd)
				if rnd.IntN(20) == 0 {
					err = truncate(e, m.space)
					clear(m.rows)
				}
				if rnd.IntN(20) == 0 {
					err = again(s, m.space)
					clear(m.rows)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			entry, local := sealed(t, e, version)
			if rnd.IntN(5) == 0 {
				e.Rollback(version - 1)
				version--
				models = before
				continue
			}
			e.Publish(version)
			if err := errors.Join(same.Apply(version, entry, local...), other.Apply(version, entry)); err != nil {
				t.Fatal(err)
			}
			same.Publish(version)
			other.Publish(version)
		}
		if err := errors.Join(models[0].compare(s.r), models[1].compare(s.r), models[2].compare(s.r),
			models[0].compare(readers[0]), models[1].compare(readers[0]), models[0].compare(readers[1])); err != nil {
			t.Fatal(err)
		}
		empty := map[uint64]row{}
		if err := errors.Join((&model{tempSpace, false, empty}).compare(readers[0]), (&model{601, false, empty}).compare(readers[1])); err != nil {
			t.Fatal(err)
		}
		counts := make([]uint64, 0, 3)
		for _, engine := range []*Engine{e, same, other} {
			v := engine.OpenView()
			counts = append(counts, v.LocalRows())
			v.Close()
		}
		if counts[0] == 0 || counts[0] != counts[1] || counts[2] != 0 {
			t.Fatalf("seed %d: local rows counted: %d", seed, counts)
		}
	}
}

// TestMixedTransaction: a transaction writes replicated spaces or others, not both; it may read all of them.
func TestMixedTransaction(t *testing.T) {
	e := newTestEngine(t, Options{})
	s := &scripted{t: t, e: e, r: e.NewReader(), version: 1}
	defer s.r.Close()
	makeLocalSpaces(t, s)
	put := func(tx *Tx, space uint32) error {
		_, err := tx.Execute(&Statement{Kind: Replace, SpaceID: space, Tuple: row{id: 1, tag: "x"}.encode()})
		return err
	}
	for _, c := range []struct {
		spaces  []uint32
		refused bool
	}{
		{[]uint32{600, 600}, false}, {[]uint32{601, 601}, false}, {[]uint32{601, tempSpace}, false},
		{[]uint32{600, 601}, true}, {[]uint32{601, 600}, true}, {[]uint32{600, tempSpace}, true}, {[]uint32{tempSpace, 600}, true},
	} {
		tx := e.BeginTx()
		if err := put(tx, c.spaces[0]); err != nil {
			t.Fatal(err)
		}
		if _, _, err := tx.Select(&Query{SpaceID: c.spaces[1], Iterator: iterALL, Limit: 1, Key: msgpack.AppendArrayHeader(nil, 0)}, nil); err != nil {
			t.Errorf("spaces %v: select: %v", c.spaces, err)
		}
		if err := put(tx, c.spaces[1]); errcode.Is(err, errcode.MixedTransaction) != c.refused || !c.refused && err != nil {
			t.Errorf("spaces %v: %v", c.spaces, err)
		}
		s.version++
		e.Begin(s.version)
		if err := e.CommitTx(tx); err != nil {
			t.Errorf("spaces %v: commit: %v", c.spaces, err)
		}
		tx.Close()
		e.Seal()
		e.Publish(s.version)
	}
}

// FuzzDecodeLocal feeds foreign bytes as a local row: what is accepted is read the same again.
func FuzzDecodeLocal(f *testing.F) {
	f.Add([]byte{5, 2, 0, 1, 0xd8, 4, 3, 0x91, 1, 0xc0})
	f.Fuzz(func(t *testing.T, b []byte) {
		meter.Check(t, len(b), 16, func() { _, _ = DecodeLocal(b) })
		r, err := DecodeLocal(b)
		if err != nil {
			return
		}
		kind := rowPut
		if r.Row.Deleted {
			kind = rowDelete
		}
		tail := appendRow(binary.AppendUvarint(nil, r.After), kind, r.Row.SpaceID, r.Row.Data)
		again, err := DecodeLocal(AppendLocal(nil, r.Index, r.Term, tail))
		if err != nil || again.After != r.After || again.Row.SpaceID != r.Row.SpaceID || !bytes.Equal(again.Row.Data, r.Row.Data) {
			t.Fatalf("%+v, again %+v, %v", r, again, err)
		}
	})
}
