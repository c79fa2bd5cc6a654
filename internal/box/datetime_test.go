package box

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// instant is what counts of a datetime in a comparison.
type instant struct{ seconds, nanoseconds int64 }

func (a instant) compare(b instant) int {
	return cmp.Or(cmp.Compare(a.seconds, b.seconds), cmp.Compare(a.nanoseconds, b.nanoseconds))
}

// randomInstant is one of a few around 1970 and at both ends of what there is.
func randomInstant(rnd *rand.Rand) instant {
	i := instant{seconds: rnd.Int64N(7) - 3, nanoseconds: rnd.Int64N(3) * 499_999_999}
	switch rnd.IntN(8) {
	case 0:
		return instant{seconds: -185604722870400, nanoseconds: rnd.Int64N(2)}
	case 1:
		return instant{seconds: 185480451417600}
	}
	return i
}

// encode appends the instant as seen in some zone; without one and on a full second it has a short form too.
func (a instant) encode(b []byte, rnd *rand.Rand) []byte {
	data := binary.LittleEndian.AppendUint64(nil, uint64(a.seconds))
	if a.nanoseconds != 0 || rnd.IntN(2) == 0 {
		data = binary.LittleEndian.AppendUint32(data, uint32(a.nanoseconds))
		data = binary.LittleEndian.AppendUint16(data, uint16(rnd.IntN(26*60)-12*60))
		data = binary.LittleEndian.AppendUint16(data, uint16(rnd.IntN(3)))
	}
	return msgpack.AppendExt(b, 4, data)
}

// datetimeRow is [instant, instant or nil, interval].
type datetimeRow struct {
	at, second instant
	null       bool
	tup        []byte
}

func randomDatetimeRow(rnd *rand.Rand) datetimeRow {
	r := datetimeRow{at: randomInstant(rnd), second: randomInstant(rnd), null: rnd.IntN(4) == 0}
	r.tup = r.at.encode(msgpack.AppendArrayHeader(nil, 3), rnd)
	if r.null {
		r.tup = msgpack.AppendNil(r.tup)
	} else {
		r.tup = r.second.encode(r.tup, rnd)
	}
	r.tup = msgpack.AppendExt(r.tup, 6, []byte{2, 1, byte(rnd.IntN(100)), 7, 0xff})
	return r
}

// wanted are the rows that a read gives, from those in the order of the index. second tells that it is the one over the
// second field.
func wanted(rows []datetimeRow, second bool, iterator uint32, key instant) (found [][]byte) {
	for _, r := range rows {
		c := r.at.compare(key)
		if second {
			if c = r.second.compare(key); r.null {
				c = -1
			}
		}
		if iterator == iterALL || c == 0 && iterator != iterLT && iterator != iterGT ||
			c < 0 && (iterator == iterLT || iterator == iterLE) || c > 0 && (iterator == iterGT || iterator == iterGE) {
			found = append(found, r.tup)
		}
	}
	if iterator == iterREQ || iterator == iterLT || iterator == iterLE {
		slices.Reverse(found)
	}
	return found
}

// TestDatetimesModel: instants, in whatever zone they were given, are keys of a TREE and of a HASH, and intervals are stored
// beside them; reads, whole, in pages and within a transaction, are those of a sorted list.
func TestDatetimesModel(t *testing.T) {
	for _, kind := range []string{"tree", "hash"} {
		rnd := rand.New(rand.NewPCG(11, uint64(len(kind))))
		e := newTestEngine(t, Options{})
		r := e.NewReader()
		defer r.Close()
		s := &scripted{t: t, e: e, r: r, version: 1}
		s.run(`insert 280 [600,1,"t","memtx",0,{},[{"name":"at","type":"datetime"},{"name":"second","type":"datetime","is_nullable":true},{"name":"lasts","type":"interval"}]]`)
		s.run(`insert 288 [600,0,"pk","` + kind + `",{"unique":true},[[0,"datetime"]]]`)
		s.run(`insert 288 [600,1,"second","tree",{"unique":false},[{"field":1,"type":"datetime","is_nullable":true}]]`)
		if out := s.run(`insert 288 [600,2,"no","tree",{"unique":false},[[2,"interval"]]]`); out[:5] != "error" {
			t.Fatalf("an index over intervals: %s", out)
		}
		var rows []datetimeRow
		for range 400 {
			row := randomDatetimeRow(rnd)
			at, exists := slices.BinarySearchFunc(rows, row, func(a, b datetimeRow) int { return a.at.compare(b.at) })
			kind := []Kind{Insert, Replace, Delete}[rnd.IntN(3)]
			st := &Statement{Kind: kind, SpaceID: 600, Tuple: row.tup}
			if kind == Delete {
				st.Key = row.at.encode(msgpack.AppendArrayHeader(nil, 1), rnd)
			}
			s.version++
			e.Begin(s.version)
			got, err := e.Execute(st)
			got = bytes.Clone(got)
			e.Seal()
			e.Publish(s.version)
			want := row.tup
			switch {
			case kind == Insert && exists:
				if !errcode.Is(err, errcode.TupleFound) {
					t.Fatalf("insert of %+v twice: %v", row.at, err)
				}
				continue
			case kind == Delete && exists:
				want = rows[at].tup
				rows = slices.Delete(rows, at, at+1)
			case kind == Delete:
				want = nil
			case exists:
				rows[at] = row
			default:
				rows = slices.Insert(rows, at, row)
			}
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("statement %d on %+v: %x, want %x, %v", kind, row.at, got, want, err)
			}
			if err := checkDatetimes(e, r, rnd, rows, kindOf(e)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func kindOf(e *Engine) string { return e.PublishedSchema().Space(600).Index(0).Type }

// checkDatetimes reads with a random key over both indexes.
func checkDatetimes(e *Engine, r *Reader, rnd *rand.Rand, rows []datetimeRow, kind string) error {
	tx := e.BeginTx()
	defer tx.Close()
	bySecond := slices.Clone(rows)
	slices.SortStableFunc(bySecond, func(a, b datetimeRow) int {
		switch {
		case a.null && b.null:
			return 0
		case a.null:
			return -1
		case b.null:
			return 1
		}
		return a.second.compare(b.second)
	})
	for ix, all := range [][]datetimeRow{rows, bySecond} {
		key := randomInstant(rnd)
		iterators := []uint32{iterEQ, iterREQ, iterALL, iterLT, iterLE, iterGE, iterGT}
		if ix == 0 && kind == typeHash {
			iterators = []uint32{iterEQ}
		}
		for _, it := range iterators {
			q := Query{SpaceID: 600, IndexID: uint32(ix), Iterator: it, Limit: 1 << 20, Key: key.encode(msgpack.AppendArrayHeader(nil, 1), rnd)}
			if it == iterALL {
				q.Key = msgpack.AppendArrayHeader(nil, 0)
			}
			want := wanted(all, ix == 1, it, key)
			out, _, err := r.Select(&q, nil)
			inTx, _, errTx := tx.Select(&q, nil)
			if err != nil || errTx != nil || !slices.EqualFunc(splitTuples(out), want, bytes.Equal) || !bytes.Equal(out, inTx) {
				return fmt.Errorf("index %d, iterator %d, key %+v: %x, in a transaction %x, want %x; %v, %v", ix, it, key, out, inTx, want, err, errTx)
			}
			paged, err := pages(r, q, 2, rnd.IntN(2) == 0)
			if kind == typeTree && (err != nil || !slices.EqualFunc(paged, want, bytes.Equal)) {
				return fmt.Errorf("index %d, iterator %d, key %+v: pages %x, want %x, %v", ix, it, key, paged, want, err)
			}
		}
	}
	return nil
}
