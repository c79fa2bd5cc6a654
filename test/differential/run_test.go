package differential

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// run is one epoch: from empty servers on, random requests until the wanted number or the first difference.
type run struct {
	*pair
	gen *generator
	// history is all that was sent, in order.
	history  []request
	compared int
	// lostValue tells that a sequence may have another value there and here.
	lostValue bool
	// counts counts replies by request type and result.
	counts map[string]int
}

// difference is the first request that the servers answered differently.
type difference struct {
	outcome
	// failed is set if a server answered nothing at all.
	failed error
}

// String renders both answers.
func (d *difference) String() string {
	if d.failed != nil {
		return "    " + d.failed.Error()
	}
	return fmt.Sprintf("  %s\n    tarantool: %s\n    ours:      %s", d.request.String(), d.reference.String(), d.ours.String())
}

var variable = regexp.MustCompile(`'[^']*'|[0-9]+`)

// signature is what different occurrences of one cause mostly have in common.
func (d *difference) signature() string {
	if d.failed != nil {
		return variable.ReplaceAllString(d.failed.Error(), "#")
	}
	kind := func(a *answer) string {
		if a.err != nil {
			return variable.ReplaceAllString(errorText(a.err), "#")
		}
		return "ok"
	}
	return iproto.TypeName(d.kind) + "/" + kind(&d.reference) + "/" + kind(&d.ours)
}

func (r *run) epoch(ops int) (*difference, error) {
	r.revive()
	if err := r.reset(); err != nil {
		return nil, err
	}
	for r.compared < ops {
		batch := r.gen.batch()
		if d, err := r.send(batch); d != nil || err != nil {
			return d, err
		}
		if r.lostValue {
			r.lostValue = false
			if d, err := r.send(r.gen.setSequences()); d != nil || err != nil {
				return d, err
			}
		}
		if changesDictionary(batch) {
			if d, err := r.readDictionary(); d != nil || err != nil {
				return d, err
			}
		}
		if chance(r.gen.rand, 3) {
			if d, err := r.checkContents(); d != nil || err != nil {
				return d, err
			}
		}
	}
	return r.checkContents()
}

// send sends a batch, learns from the answers and returns the first difference.
func (r *run) send(batch []request) (*difference, error) {
	r.history = append(r.history, batch...)
	outcomes, err := r.exchange(batch)
	if err != nil {
		return &difference{failed: err}, nil
	}
	for i := range outcomes {
		o := &outcomes[i]
		if !o.same() && !o.known() {
			r.history = r.history[:len(r.history)-len(batch)+i+1]
			return &difference{outcome: *o}, nil
		}
		r.compared++
		r.count(o)
		s := r.gen.spaces[o.space]
		r.lostValue = r.lostValue || s != nil && s.sequence && o.movesSequence()
		if s != nil && !o.unordered {
			for n, row := range o.reference.rows() {
				if n == 4 {
					break
				}
				s.remember(row)
			}
		}
	}
	return nil, nil
}

func (r *run) count(o *outcome) {
	result := "ok"
	if o.reference.err != nil {
		result = fmt.Sprint(o.reference.err.Code)
	} else if len(o.reference.rows()) == 0 {
		result = "none"
	}
	r.counts[iproto.TypeName(o.kind)+":"+result]++
}

// batch makes some requests that are sent at once. Reads have a batch of their own: what a read sees of writes that are
// still under way is not part of the contract.
func (g *generator) batch() []request {
	batch := g.requests()
	for i := range batch {
		if s := g.spaces[batch[i].space]; s != nil && !batch[i].isRead() {
			pk := s.index(0)
			batch[i].hashed = pk != nil && pk.hash
		}
	}
	return batch
}

// unknownTypes are request types that nobody has. Larger ones than a byte holds are left out: 2.6 takes the low byte.
var unknownTypes = []iproto.Type{33, 50, 63, 130, 200, 255}

func (g *generator) requests() []request {
	r := g.rand
	s := g.anySpace()
	if s == nil || len(g.spaces) < 3 && chance(r, 30) {
		return g.createSpace(uint32(firstID + r.IntN(lastID-firstID+1)))
	}
	if chance(r, g.ddlPercent) {
		return g.ddl(s)
	}
	if chance(r, 3) {
		return g.sequences(s)
	}
	if chance(r, 6) {
		return []request{g.system(s)}
	}
	if s.sequence && chance(r, 30) {
		return []request{g.take(s)}
	}
	n := 1 + r.IntN(30)
	batch := make([]request, 0, n)
	reads := chance(r, 35)
	for range n {
		if chance(r, 60) {
			s = g.anySpace()
		}
		if reads {
			batch = append(batch, g.read(s))
			continue
		}
		batch = append(batch, g.write(s))
		if chance(r, 1) && chance(r, 20) {
			batch = append(batch, request{kind: pick(r, unknownTypes), space: s.id, body: []byte{0x80}})
		}
		if chance(r, 1) && chance(r, 50) {
			batch = append(batch, g.ddl(s)...)
		}
	}
	return batch
}

func changesDictionary(batch []request) bool {
	for i := range batch {
		for _, id := range []uint32{spaceSpace, spaceIndex, spaceSpaceSequence} {
			if !batch[i].isRead() && strings.Contains(string(batch[i].body), string(systemKey(id))) {
				return true
			}
		}
	}
	return false
}

// systemKey is how the key and id of a system space stand in a body.
func systemKey(id uint32) []byte {
	var m bodyOf
	m.uint(iproto.KeySpaceID, uint64(id))
	return m.b
}

// scan reads everything of an index in its order, for user spaces in the dictionary.
func scan(system, about uint32, index uint32, iterator uint32, key []byte) request {
	var m bodyOf
	m.uint(iproto.KeySpaceID, uint64(system))
	m.uint(iproto.KeyIndexID, uint64(index))
	m.uint(iproto.KeyIterator, uint64(iterator))
	m.uint(iproto.KeyLimit, 1<<32-1)
	m.add(iproto.KeyKey, key)
	return request{kind: iproto.TypeSelect, space: about, body: m.bytes()}
}

func dictionaryReads() []request {
	var reads []request
	for _, system := range []uint32{spaceSpace, spaceIndex, spaceTruncate, spaceSpaceSequence} {
		reads = append(reads, scan(system, 0, 0, iproto.IterGE, packKey(firstID)))
	}
	reads = append(reads, scan(spaceSchema, 0, 0, iproto.IterGE, msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 1), schemaKeys[0])))
	data := scan(spaceSequenceData, 0, 0, iproto.IterALL, packKey())
	data.unordered = true
	return append(reads, scan(spaceSequence, 0, 0, iproto.IterALL, packKey()), data)
}

// readDictionary compares the rows of user spaces and makes the generator's model of them.
func (r *run) readDictionary() (*difference, error) {
	reads := dictionaryReads()
	r.history = append(r.history, reads...)
	outcomes, err := r.exchange(reads)
	if err != nil {
		return nil, err
	}
	for i := range outcomes {
		if !outcomes[i].same() {
			r.history = r.history[:len(r.history)-len(reads)+i+1]
			return &difference{outcome: outcomes[i]}, nil
		}
	}
	r.gen.spaces, err = readModel(r.gen.spaces, outcomes[0].reference.rows(), outcomes[1].reference.rows())
	for _, row := range outcomes[3].reference.rows() {
		if s := r.gen.spaces[firstUint(row)]; s != nil {
			s.sequence = true
			v, _, err := msgpack.ReadUint(tuple.FieldAt(row, 3))
			if err != nil {
				return nil, err
			}
			s.auto = int(v)
		}
	}
	return nil, err
}

// checkContents compares everything in every index.
func (r *run) checkContents() (*difference, error) {
	reads := dictionaryReads()
	for id := uint32(firstID); id <= lastID; id++ {
		s := r.gen.spaces[id]
		if s == nil {
			continue
		}
		for _, ix := range s.indexes {
			q := scan(id, id, ix.id, iproto.IterALL, packKey())
			q.unordered = ix.hash
			reads = append(reads, q)
		}
	}
	compared := r.compared
	d, err := r.send(reads)
	r.compared = compared
	return d, err
}

// reset empties both servers.
func (r *run) reset() error {
	for _, c := range []*pair{{reference: r.reference, ours: r.reference}, {reference: r.ours, ours: r.ours}} {
		if err := c.empty(); err != nil {
			return err
		}
	}
	r.gen.spaces = map[uint32]*space{}
	return nil
}

// empty drops all user spaces of the first server of a pair; the other must be the same one.
func (p *pair) empty() error {
	reads, err := p.exchange(dictionaryReads())
	if err != nil {
		return err
	}
	model, err := readModel(nil, reads[0].reference.rows(), reads[1].reference.rows())
	if err != nil {
		return err
	}
	batch := append(dropSequences(), dropSchemaRows()...)
	for _, s := range model {
		batch = append(batch, (&generator{}).dropSpace(s)...)
	}
	if _, err := p.exchange(batch); err != nil {
		return err
	}
	reads, err = p.exchange(dictionaryReads())
	if err != nil {
		return err
	}
	for _, o := range reads {
		if len(o.reference.rows()) > 0 {
			return fmt.Errorf("dropping everything left %s", o.reference.String())
		}
	}
	return nil
}
