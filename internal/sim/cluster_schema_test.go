package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/errcode"
)

// The spaces of a replicaset: its dictionary and their rows, as entries of the data group's log. What a change does is decided
// where it is applied, by the state that all replicas have there; the leader's part (package instance, schemafollow.go) is done
// by catalog.Follow and what is below.

// spaces is what a replicaset has beside the plain rows.
type spaces struct {
	Dict catalog.Dictionary
	// Changes counts the changes of Dict: one that was computed on an older one has no effect.
	Changes uint64
	// Rows by space and key; a row is its value.
	Rows map[uint32]map[string]string
	// Refused tells nothing to others: it is the answer to the entry that was applied last.
	Refused string
}

// spaceEntry is an entry about spaces. One of the four is given.
type spaceEntry struct {
	// Follow: the changes are made if the dictionary has changed Base times, and Version, Tables and Sequences noted.
	Follow            bool
	Base, Version     uint64
	Changes           []catalog.DictionaryChange
	Tables, Sequences []uint32
	// Note is the version that is noted before something is made in advance.
	Note uint64
	// Advance is made if the rows allow it.
	Advance *catalog.DictionaryChange
	// Own makes a space as a lone replicaset does.
	Own *catalog.DictionaryChange
	// Space, Key, Value: a row is put in.
	Space      uint32
	Key, Value string
}

func (s *spaces) copy() *spaces {
	var c spaces
	b, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		panic(err)
	}
	if c.Rows == nil {
		c.Rows = map[uint32]map[string]string{}
	}
	return &c
}

// apply does what an entry says. Changes that cannot be made are a bug, and an error.
func (s *spaces) apply(data string) error {
	var e spaceEntry
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		return err
	}
	s.Refused = ""
	switch {
	case e.Follow && e.Base != s.Changes:
		s.Refused = "the dictionary has changed"
		return nil
	case e.Follow:
		for _, c := range e.Changes {
			if err := s.change(c); err != nil {
				return err
			}
		}
		s.Dict.Followed, s.Dict.Tables, s.Dict.Sequences = e.Version, e.Tables, e.Sequences
	case e.Note > 0:
		s.Dict.Prepared = e.Note
	case e.Advance != nil:
		if s.Refused = s.mustNot(*e.Advance); s.Refused != "" || has(&s.Dict, e.Advance.New) {
			return nil
		}
		return s.change(*e.Advance)
	case e.Own != nil:
		if has(&s.Dict, e.Own.New) { // by a leader before
			return nil
		}
		return s.change(*e.Own)
	default:
		if s.Refused = s.put(e.Space, e.Key, e.Value); s.Refused != "" {
			return nil
		}
		s.Rows[e.Space][e.Key] = e.Value
		return nil
	}
	s.Changes++
	return nil
}

// change writes a row of the dictionary, with what it means for rows.
func (s *spaces) change(c catalog.DictionaryChange) error {
	s.Changes++
	replace := func(rows [][]byte) ([][]byte, error) {
		if c.Old != nil {
			at := slices.IndexFunc(rows, func(row []byte) bool { return bytes.Equal(row, c.Old) })
			if at < 0 {
				return nil, fmt.Errorf("a row of space %d is not as it was", c.Space)
			}
			rows = slices.Delete(rows, at, at+1)
		}
		if c.New != nil {
			rows = append(rows, c.New)
		}
		return rows, nil
	}
	var err error
	switch c.Space {
	case catalog.SpaceSpace:
		if s.Dict.Spaces, err = replace(s.Dict.Spaces); err != nil {
			return err
		}
		if t, _ := catalog.TableOfSpaceRow(c.Old); c.New == nil {
			delete(s.Rows, t.ID)
		}
	case catalog.SpaceIndex:
		if s.Dict.Indexes, err = replace(s.Dict.Indexes); err != nil {
			return err
		}
		if i, _ := catalog.IndexOfIndexRow(c.Old); c.New == nil && i.ID == 0 {
			delete(s.Rows, i.TableID)
		}
	case catalog.SpaceTruncate:
		// The row is [id, version].
		for _, row := range s.Dict.Spaces {
			if t, _ := catalog.TableOfSpaceRow(row); bytes.HasPrefix(c.New[1:], catalog.Key(t.ID)) {
				delete(s.Rows, t.ID)
			}
		}
	default:
		at := slices.IndexFunc(s.Dict.Objects, func(o catalog.SchemaObject) bool { return o.Space == c.Space && bytes.Equal(o.Row, c.Old) })
		if c.Old != nil && at < 0 {
			return fmt.Errorf("a row of space %d is not as it was", c.Space)
		}
		if c.Old != nil {
			s.Dict.Objects = slices.Delete(s.Dict.Objects, at, at+1)
		}
		if c.New != nil {
			o, err := catalog.ObjectOfRow(c.Space, c.New)
			if err != nil {
				return err
			}
			s.Dict.Objects = append(s.Dict.Objects, o)
		}
	}
	return nil
}

// hasIndex tells whether a space has an index; the one with the id 1 is unique over the values.
func (s *spaces) hasIndex(space, id uint32) bool {
	return slices.ContainsFunc(s.Dict.Indexes, func(row []byte) bool {
		i, _ := catalog.IndexOfIndexRow(row)
		return i.TableID == space && i.ID == id
	})
}

// isChecked tells whether a space has a constraint: then no value is badValue.
func (s *spaces) isChecked(space uint32) bool {
	return slices.ContainsFunc(s.Dict.Objects, func(o catalog.SchemaObject) bool { return o.Space == catalog.SpaceCKConstraint && o.Table == space })
}

const badValue = "bad"

// mustNot tells why a change can not be made in advance, empty if it can.
func (s *spaces) mustNot(c catalog.DictionaryChange) string {
	if c.Space == catalog.SpaceCKConstraint {
		if o, _ := catalog.ObjectOfRow(c.Space, c.New); len(s.Rows[o.Table]) > 0 {
			return "referencing space must be empty"
		}
		return ""
	}
	i, _ := catalog.IndexOfIndexRow(c.New)
	seen := map[string]bool{}
	for _, v := range s.Rows[i.TableID] {
		if seen[v] && i.ID == 1 {
			return "duplicate key"
		}
		seen[v] = true
	}
	return ""
}

// put tells why a row can not be put in, empty if it can, and makes room for it then.
func (s *spaces) put(space uint32, key, value string) string {
	switch {
	case !s.hasIndex(space, 0):
		return "no such space, or no primary key"
	case s.isChecked(space) && value == badValue:
		return "check constraint failed"
	}
	for k, v := range s.Rows[space] {
		if v == value && k != key && s.hasIndex(space, 1) {
			return "duplicate key"
		}
	}
	if s.Rows[space] == nil {
		s.Rows[space] = map[string]string{}
	}
	return ""
}

// schemaKey is in the place of a row's key in entries about spaces.
const schemaKey = "\x00schema\x00"

// applySpaces is the part of apply that is about spaces.
func (m *dataMachine) applySpaces(data string, index uint64) {
	c := m.r.i.c
	if err := m.spaces.apply(data); err != nil {
		c.failf("instance %d, %s, entry %d: %v", m.r.i.no, m.r.key, index, err)
	}
	c.checkSpaces(m, data, index)
}

// proposeSpaces proposes an entry about spaces; done is told why it was refused, empty if it was not.
func (m *dataMachine) proposeSpaces(e spaceEntry, done func(refused string)) bool {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return m.write(schemaKey, string(b), func(ok bool) {
		if !ok {
			done("another entry came in its place")
			return
		}
		done(m.spaces.Refused)
	})
}

// schemaWork is what an instance knows as the leader of its replicaset.
type schemaWork struct {
	said schemaReport
	// followed is how far the replicaset had come when it was looked at last, busy until when an entry is waited for.
	followed uint64
	busy     time.Duration
}

// schemaReport is what a leader says to a change.
type schemaReport struct {
	version uint64
	refusal string
}

const followEvery = 60 * time.Millisecond

// follow does what the leader of a replicaset has to do about the schema.
func (i *instance) follow() {
	view, m := i.cat.view, i.data.m.(*dataMachine)
	if !i.data.g.Leading() || i.work.busy > i.c.now || !view.KeepsSchema() {
		return
	}
	d := &m.spaces.Dict
	i.work.followed = d.Followed
	p, pending := view.PendingSchema()
	task, changes, err := catalog.Follow(view, d)
	switch {
	case err != nil:
		if pending && view.MustAgree(p.DDL) {
			i.work.said = schemaReport{p.Version, err.Error()}
		}
	case task == catalog.FollowWrite:
		tables, sequences := catalog.FollowedIDs(view)
		i.entry(spaceEntry{Follow: true, Base: m.spaces.Changes, Version: view.TablesVersion(), Changes: changes, Tables: tables, Sequences: sequences}, func(string) {})
	case task == catalog.FollowPrepare:
		i.prepare(p, d)
	case task == catalog.FollowTell:
		i.tellSpaces(view, d)
	}
}

// entry proposes an entry about spaces, one at a time.
func (i *instance) entry(e spaceEntry, done func(refused string)) {
	i.work.busy = i.c.now + time.Second
	life := i.life
	if !i.data.m.(*dataMachine).proposeSpaces(e, func(refused string) {
		if i.life == life {
			i.work.busy = 0
			done(refused)
		}
	}) {
		i.work.busy = 0
	}
}

// prepare makes a change in advance: it is noted, made, and agreed to, each after the one before is applied.
func (i *instance) prepare(p catalog.PendingSchema, d *catalog.Dictionary) {
	if i.work.said.version == p.Version {
		return
	}
	if d.Prepared != p.Version {
		i.entry(spaceEntry{Note: p.Version}, func(string) {})
		return
	}
	var advance catalog.DictionaryChange
	switch p.DDL.Kind {
	case catalog.CreateIndex:
		advance = catalog.DictionaryChange{Space: catalog.SpaceIndex, New: p.DDL.Indexes[0].IndexRow()}
	case catalog.SetObject:
		advance = catalog.DictionaryChange{Space: p.DDL.Objects[0].Space, New: p.DDL.Objects[0].Row}
	}
	if advance.New == nil || has(d, advance.New) { // a new name needs nobody's rows
		i.work.said = schemaReport{version: p.Version}
		return
	}
	i.entry(spaceEntry{Advance: &advance}, func(refused string) {
		if refused == "another entry came in its place" {
			return
		}
		i.work.said = schemaReport{p.Version, refused}
	})
}

// tellSpaces tells the catalog what the replicaset had when it was alone.
func (i *instance) tellSpaces(view *catalog.State, d *catalog.Dictionary) {
	ddl, ok := catalog.PlanTell(view, d, func(uint32, uint32) bool { return false })
	if !ok {
		return
	}
	op, guard, _, err := catalog.PlanDDL(view, ddl)
	if err != nil {
		if !errcode.Is(err, errcode.SchemaPending) {
			i.c.failf("instance %d can not tell %+v: %v", i.no, ddl, err)
		}
		return
	}
	guard.Term = i.catalog.g.Term()
	i.work.busy = i.c.now + time.Second
	i.record(proposal{ops: []catalog.Op{op}, guard: &guard, done: func(catalog.Result, error) { i.work.busy = 0 }}, time.Second)
}

// has tells whether a row of the dictionary is there.
func has(d *catalog.Dictionary, row []byte) bool {
	return slices.ContainsFunc(append(slices.Clone(d.Spaces), d.Indexes...), func(r []byte) bool { return bytes.Equal(r, row) }) ||
		slices.ContainsFunc(d.Objects, func(o catalog.SchemaObject) bool { return bytes.Equal(o.Row, row) })
}

// shownDictionary is a dictionary without what was made in advance or never told: equal for all that have followed a version.
func shownDictionary(d *catalog.Dictionary) string {
	var lines []string
	for _, row := range d.Spaces {
		if t, _ := catalog.TableOfSpaceRow(row); d.Follows(t.ID) {
			lines = append(lines, fmt.Sprintf("space %x", row))
		}
	}
	for _, row := range d.Indexes {
		if i, _ := catalog.IndexOfIndexRow(row); d.Follows(i.TableID) {
			lines = append(lines, fmt.Sprintf("index %x", row))
		}
	}
	for _, o := range d.Objects {
		if o.Space == catalog.SpaceSequence && slices.Contains(d.Sequences, o.Sequence) || o.Table != 0 && d.Follows(o.Table) {
			lines = append(lines, fmt.Sprintf("object %d %x", o.Space, o.Row))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
