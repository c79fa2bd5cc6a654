package box

import (
	"testing"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/meter"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// FuzzStatement runs foreign tuples, keys and operations as statements on the dictionary and on a space: each is done or
// refused with a number, takes memory in proportion, and the engine is as before when it is rolled back.
func FuzzStatement(f *testing.F) {
	e := newTestEngine(f, Options{})
	r := e.NewReader()
	f.Cleanup(r.Close)
	t := &testing.T{}
	s := &scripted{t: t, e: e, r: r, version: 1}
	makeModelSpaces(t, s)
	s.run(`insert 600 [1,"a",7]`)
	for kind, tup := range []string{
		`[700,1,"s","memtx",0,{"group_id":1},[{"name":"a","type":"map"}]]`,
		`[600,5,"i","tree",{"unique":false},[{"field":1,"type":"string","path":"a[1]","collation":2}]]`,
		`[600,5,"i","hash",{"unique":true},[[0,"unsigned"],[1,"string"]]]`,
		`[1,1,"seq",1,1,100,1,0,false]`, `[600,1,false,0,""]`, `[600,1]`, `[1,"b",2]`,
	} {
		f.Add(fromJSON(f, tup), []byte{0x91, 0x93, 0xa1, '=', 1, 2}, uint8(kind), uint8(kind%5))
	}
	spaces := []uint32{dictionary.SpaceSpace, dictionary.SpaceIndex, dictionary.SpaceSequence, dictionary.SpaceSpaceSequence,
		dictionary.SpaceTruncate, treeSpace, 601}
	f.Fuzz(func(t *testing.T, tup, ops []byte, space, kind uint8) {
		for _, b := range [][]byte{tup, ops} {
			if msgpack.Check(b) != nil || msgpack.TypeOf(b[0]) != msgpack.TypeArray {
				return
			}
		}
		st := &Statement{Kind: Insert + Kind(kind%5), SpaceID: spaces[int(space)%len(spaces)], Key: tup, Tuple: tup, Ops: ops}
		before := e.NewestSchema().Version
		bound := 1<<20 + uint64(64*len(ops)+256)*uint64(len(tup)+len(ops)+64)
		meter.CheckBound(t, len(tup)+len(ops), bound, func() {
			e.Begin(s.version + 1)
			_, err := e.Execute(st)
			e.Seal()
			e.Rollback(s.version)
			if err != nil && errcode.Of(err).Code == errcode.Unknown {
				t.Errorf("an error without a number: %v", err)
			}
		})
		if e.NewestSchema().Version != before {
			t.Errorf("schema version %d, before it was %d", e.NewestSchema().Version, before)
		}
	})
}
