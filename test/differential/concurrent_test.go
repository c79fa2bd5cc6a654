package differential

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

const (
	lanes    = 6
	laneKeys = 12
)

// laneSpace is where all lanes work. Every key begins with the number of the lane, so that lanes do not meet.
var laneSpace = []string{
	`[512,1,"lanes","memtx",0,{},[{"name":"lane","type":"unsigned"},{"name":"k","type":"unsigned"},{"name":"s","type":"string"},
		{"name":"n","type":"number"},{"name":"u","type":"unsigned"},{"name":"m","type":"map"}]]`,
	`[512,0,"pk","tree",{"unique":true},[[0,"unsigned"],[1,"unsigned"]]]`,
	`[512,1,"s","tree",{"unique":false},[[0,"unsigned"],[2,"string"]]]`,
	`[512,2,"u","tree",{"unique":true},[[0,"unsigned"],[4,"unsigned"]]]`,
	`[512,3,"h","hash",{"unique":true},[[1,"unsigned"],[0,"unsigned"]]]`,
}

// lane makes requests that touch rows of its own alone.
type lane struct {
	number uint64
	*generator
}

// key makes a key of the lane and, if there is one, a second part.
func (l *lane) key(rest ...byte) []byte {
	n := 1
	if len(rest) > 0 {
		n = 2
	}
	return append(msgpack.AppendUint(msgpack.AppendArrayHeader(nil, n), l.number), rest...)
}

func (l *lane) small() []byte { return msgpack.AppendUint(nil, uint64(l.rand.IntN(laneKeys))) }

func (l *lane) tuple() []byte {
	b := msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 6), l.number)
	b = append(b, l.small()...)
	b = append(l.appendNumber(appendString(l.rand, b)), l.small()...)
	return l.appendOf(b, "map")
}

// ops makes operations that leave the lane and the key alone.
func (l *lane) ops() []byte {
	op := func(b []byte, name string, field uint64) []byte {
		return msgpack.AppendUint(msgpack.AppendStr(msgpack.AppendArrayHeader(b, 3), name), field)
	}
	if chance(l.rand, 15) { // with others it could end the real server
		return packJSON(`[["=","m.new",7]]`)
	}
	n := 1 + l.rand.IntN(3)
	b := msgpack.AppendArrayHeader(nil, n)
	for range n {
		switch l.rand.IntN(5) {
		case 0:
			b = appendString(l.rand, op(b, "=", 2))
		case 1:
			b = append(op(b, pick(l.rand, []string{"+", "-"}), 3), byte(l.rand.IntN(100)))
		case 2:
			b = append(op(b, "=", 4), l.small()...)
		case 3:
			b = l.appendOf(op(b, "=", 5), "map")
		case 4:
			b = append(b, packJSON(`[":",2,1,1,"xy"]`)...)
		}
	}
	return b
}

func (l *lane) write() request {
	var m bodyOf
	m.uint(iproto.KeySpaceID, firstID)
	req := request{space: firstID}
	byKey := func() {
		if i := l.rand.IntN(2); i > 0 {
			m.uint(iproto.KeyIndexID, 2)
		}
		m.add(iproto.KeyKey, l.key(l.small()...))
	}
	switch l.rand.IntN(6) {
	case 0:
		req.kind = iproto.TypeInsert
		m.add(iproto.KeyTuple, l.tuple())
	case 1, 2:
		req.kind = iproto.TypeReplace
		m.add(iproto.KeyTuple, l.tuple())
	case 3:
		req.kind = iproto.TypeUpdate
		byKey()
		m.add(iproto.KeyTuple, l.ops())
	case 4:
		req.kind = iproto.TypeUpsert
		m.add(iproto.KeyTuple, l.tuple())
		m.add(iproto.KeyOps, l.ops())
	case 5:
		req.kind = iproto.TypeDelete
		byKey()
	}
	req.body = m.bytes()
	return req
}

func (l *lane) read() request {
	iterator := uint32(l.rand.IntN(2)) // EQ, REQ: others would leave the lane
	switch l.rand.IntN(4) {
	case 0:
		return scan(firstID, firstID, 0, iterator, l.key())
	case 1:
		return scan(firstID, firstID, 1, iterator, l.key())
	case 2:
		return scan(firstID, firstID, 2, iterator, l.key(l.small()...))
	}
	key := append(msgpack.AppendArrayHeader(nil, 2), l.small()...)
	return scan(firstID, firstID, 3, iproto.IterEQ, msgpack.AppendUint(key, l.number))
}

// run sends the lane's requests over connections of its own until n of them were compared.
func (l *lane) run(p *pair, n int) error {
	for compared := 0; compared < n; {
		batch := make([]request, 0, 32)
		make1 := l.write
		if chance(l.rand, 40) {
			make1 = l.read
		}
		for range 1 + l.rand.IntN(32) {
			batch = append(batch, make1())
		}
		outcomes, err := p.exchange(batch)
		if err != nil {
			return err
		}
		for i := range outcomes {
			if o := &outcomes[i]; !o.same() {
				return fmt.Errorf("lane %d, operation %d:\n%s", l.number, compared+i, (&difference{outcome: *o}).String())
			}
		}
		compared += len(batch)
	}
	return nil
}

// TestConcurrent has several connections work on one space at the same time, each on keys of its own: the answers are
// those of one connection alone, and in the end the contents are the same.
func TestConcurrent(t *testing.T) {
	servers := startBoth(t)
	main := servers.dial(t)
	var create []request
	for i, row := range laneSpace {
		system := uint32(spaceIndex)
		if i == 0 {
			system = spaceSpace
		}
		create = append(create, insertInto(system, firstID, packJSON(row)))
	}
	outcomes, err := main.exchange(create)
	if err != nil {
		t.Fatal(err)
	}
	for i := range outcomes {
		if o := &outcomes[i]; !o.same() || o.ours.err != nil {
			t.Fatal((&difference{outcome: *o}).String())
		}
	}
	var all sync.WaitGroup
	for number := range uint64(lanes) {
		l := &lane{number, &generator{rand: rand.New(rand.NewPCG(*seedFlag, number))}}
		p := servers.dial(t)
		all.Go(func() {
			if err := l.run(p, *opsWanted/lanes); err != nil {
				t.Errorf("seed %d: %v", *seedFlag, err)
			}
		})
	}
	all.Wait()
	reads := []request{scan(firstID, firstID, 0, iproto.IterALL, packKey()), scan(firstID, firstID, 1, iproto.IterALL, packKey()),
		scan(firstID, firstID, 2, iproto.IterLE, packKey()), scan(firstID, firstID, 3, iproto.IterALL, packKey())}
	reads[3].unordered = true
	if outcomes, err = main.exchange(reads); err != nil {
		t.Fatal(err)
	}
	for i := range outcomes {
		o := &outcomes[i]
		if !o.same() || len(o.ours.rows()) == 0 {
			t.Errorf("contents: %s", (&difference{outcome: *o}).String())
		}
	}
}
