package box

import (
	"sort"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// Virtual is the source of the rows of a space that the engine does not store.
type Virtual interface {
	// Ascend yields the rows in the order of the primary index until yield returns false. It is called on the goroutine
	// of a reader; the tuples need to live only as long as the call of yield.
	Ascend(yield func(tuple []byte) bool)
}

// Sorted is a Virtual that has its rows in the order of every index.
type Sorted interface {
	Virtual
	// Sorted returns the rows in the order of an index of the space, which is a TREE. They must not be changed, by anybody.
	// An error is the client's.
	Sorted(sp *Space, ix *Index) ([][]byte, error)
}

// VirtualFunc makes a function a Virtual.
type VirtualFunc func(yield func(tuple []byte) bool)

// Ascend calls the function.
func (f VirtualFunc) Ascend(yield func(tuple []byte) bool) { f(yield) }

// VirtualSpace describes a virtual space. Where the id is that of a Tarantool system space only Rows counts.
type VirtualSpace struct {
	ID      uint32
	Name    string
	Fields  []tuple.Field
	Indexes []VirtualIndex
	Rows    Virtual
	// ViewOf makes it a system view of a stored space instead: Rows is nil then.
	ViewOf uint32
}

// VirtualIndex is an index of a virtual space: the order in which it can be read.
type VirtualIndex struct {
	ID     uint32
	Name   string
	Unique bool
	Parts  []tuple.Part
}

// spaceRow is the row of _space that shows the virtual space to clients.
func (v *VirtualSpace) spaceRow() []byte {
	b := msgpack.AppendArrayHeader(nil, 7)
	b = msgpack.AppendUint(b, uint64(v.ID))
	b = msgpack.AppendUint(b, 1)
	b = msgpack.AppendStr(b, v.Name)
	engine := "memtx"
	if v.ViewOf != 0 {
		engine = dictionary.EngineSysview
	}
	b = msgpack.AppendStr(b, engine)
	b = msgpack.AppendUint(b, 0)
	b = msgpack.AppendMapHeader(b, 0)
	return tuple.EncodeFormat(b, v.Fields)
}

func (v *VirtualSpace) indexRow(ix VirtualIndex) []byte {
	b := msgpack.AppendArrayHeader(nil, 6)
	b = msgpack.AppendUint(b, uint64(v.ID))
	b = msgpack.AppendUint(b, uint64(ix.ID))
	b = msgpack.AppendStr(b, ix.Name)
	b = msgpack.AppendStr(b, "tree")
	b = msgpack.AppendMapHeader(b, 1)
	b = msgpack.AppendStr(b, "unique")
	b = msgpack.AppendBool(b, ix.Unique)
	return tuple.EncodeParts(b, ix.Parts)
}

// selectVirtual reads a virtual space. Unless its rows are sorted every row is looked at, which is right for the small tables
// that are shown so.
func selectVirtual(q *plan, sp *Space, sink *sink) error {
	if sorted, ok := sp.virtual.(Sorted); ok {
		list, err := sorted.Sorted(sp, q.index)
		if err == nil {
			selectSorted(q, list, sink)
		}
		return err
	}
	selectUnsorted(q, sp.virtual, sink)
	return nil
}

// selectSorted reads rows in the order of the index.
func selectSorted(q *plan, list [][]byte, sink *sink) {
	// A key stands before the rows that have it, or behind them.
	behind := q.iterator == iterGT || q.iterator == iterLE || q.iterator == iterREQ
	at := sort.Search(len(list), func(n int) bool {
		c := q.index.cmp.CompareKey(list[n], q.key, q.parts)
		return c > 0 || c == 0 && !behind
	})
	step := 1
	if q.reverse() {
		at, step = at-1, -1
	}
	for ; at >= 0 && at < len(list) && q.matches(list[at]) && sink.add(list[at]); at += step {
	}
}

func selectUnsorted(q *plan, rows Virtual, sink *sink) {
	if q.index.ID == 0 && !q.reverse() {
		rows.Ascend(func(tup []byte) bool { return !q.matches(tup) || sink.add(tup) })
		return
	}
	var found [][]byte
	rows.Ascend(func(tup []byte) bool {
		if q.matches(tup) {
			found = append(found, append([]byte(nil), tup...))
		}
		return true
	})
	cmp := q.index.cmp
	sort.SliceStable(found, func(i, j int) bool {
		if q.reverse() {
			i, j = j, i
		}
		return cmp.Compare(found[i], found[j]) < 0
	})
	for _, tup := range found {
		if !sink.add(tup) {
			return
		}
	}
}
