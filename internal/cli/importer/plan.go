package importer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// unfinishedSuffix ends the name of a space while it is not whole.
const unfinishedSuffix = " (import unfinished)"

// firstUser is the lowest id of a user or role that is not built in.
const firstUser = 32

// spacePlan is one space on its way.
type spacePlan struct {
	report *SpaceReport
	// old is the id of a space of the same name that it will replace, 0 if there is none.
	old uint32
	// row is its row of _space in the source, at the end.
	row []byte
	// births is which of the spaces that have had its number is meant.
	births int
	// accepted is the row as the cluster took it, nil while the space is not there. indexes are the numbers of the indexes that
	// the cluster has.
	accepted []byte
	indexes  map[uint32]bool
	// refused are the indexes that the cluster refused, and why; changed is what was changed in the row of the space, or of
	// an index, so that the cluster took it.
	refused map[uint32]string
	changed map[string][]string
	// sample is the first refusal of a row, or why the space is left out.
	sample string
	// guess is how many rows it has, as far as statements and their answers say.
	guess uint64
}

func (p *spacePlan) live() bool { return p.report.State != stateLeftOut }

// idMap says which number a user, space or sequence has in the cluster.
type idMap map[uint32]uint32

// plan is what is going to be done.
type plan struct {
	*content
	x      *existing
	o      Options
	report *Report
	// spaces are those that are brought over or were left out on the way, by their number in the source.
	spaces map[uint32]*spacePlan
	order  []*spacePlan
	// users, sequences and spaceIDs map numbers of the source to numbers in the cluster. newUsers and newSequences are
	// rows to be written.
	users, sequences, spaceIDs idMap
	newUsers, newSequences     [][]byte
	// leftovers are spaces of an interrupted import.
	leftovers map[string]uint32
}

func newPlan(c *content, x *existing, o Options, report *Report) *plan {
	return &plan{content: c, x: x, o: o, report: report, spaces: map[uint32]*spacePlan{}, users: idMap{}, sequences: idMap{},
		spaceIDs: idMap{}, leftovers: map[string]uint32{}}
}

func (p *plan) note(kind, name, what, format string, args ...any) {
	p.report.Notes = append(p.report.Notes, Note{Kind: kind, Name: name, What: what, Reason: fmt.Sprintf(format, args...)})
}

// make decides about everything that depends on the source and on what is in the cluster. An error means that nothing
// can be done: names that exist, or spaces that were asked for and are not there.
func (p *plan) make() error {
	p.report.Notes = append(p.report.Notes, p.content.notes...)
	if version := p.final.rows[dictionary.SpaceSchema][string(msgpack.AppendStr(nil, "version"))]; version != nil {
		if major := uintAt(version, 1); major != 2 {
			p.note("file", "schema", "other version", "the schema has version %d.%d; what is not as in 2.x is listed", major, uintAt(version, 2))
		}
	}
	for name, id := range p.x.spaces.byName {
		if strings.HasSuffix(name, unfinishedSuffix) {
			p.leftovers[name] = id
			delete(p.x.spaces.taken, id) // they are removed before anything is made
		}
	}
	p.planUsers()
	if err := p.planSpaces(); err != nil {
		return err
	}
	p.planSequences()
	if err := p.clashes(); err != nil {
		return err
	}
	p.listOthers()
	return nil
}

// wanted tells whether a space is to be brought over by its name.
func (p *plan) wanted(name string) bool {
	return len(p.o.Spaces) == 0 || slices.Contains(p.o.Spaces, name)
}

func (p *plan) planSpaces() error {
	missing := slices.Clone(p.o.Spaces)
	var rows [][]byte
	for _, row := range p.final.all(dictionary.SpaceSpace) {
		name := strAt(row, 2)
		if uintAt(row, 0) < uint64(dictionary.UserIDMin) || !p.wanted(name) {
			continue
		}
		missing = slices.DeleteFunc(missing, func(m string) bool { return m == name })
		rows = append(rows, row)
	}
	if len(missing) > 0 {
		return errcode.New(errcode.NoSuchSpace, strings.Join(missing, "', '"))
	}
	for _, row := range rows {
		p.planSpace(row)
	}
	return nil
}

func (p *plan) planSpace(row []byte) {
	id, name := uint32(uintAt(row, 0)), strAt(row, 2)
	sp := &spacePlan{row: row, births: p.final.births[id], indexes: map[uint32]bool{}, refused: map[uint32]string{},
		changed: map[string][]string{}, report: &SpaceReport{Name: name, SourceID: id, State: statePlanned}}
	if c := p.counts[id]; c != nil {
		sp.report.count = *c
	}
	old, exists := p.x.spaces.byName[name]
	engine := strAt(row, 3)
	switch {
	case engine == "vinyl":
		sp.leaveOut("its engine is vinyl, whose files are not read: how many rows it has is not known")
	case hasKey(fieldAt(row, 5), "view"):
		sp.leaveOut("it is a view of SQL")
	case engine != dictionary.EngineMemtx:
		sp.leaveOut("its engine is " + engine)
	case exists && p.o.SkipExisting:
		sp.leaveOut("a space of this name exists and is left as it is")
	case exists:
		sp.old = old
	}
	if exists && p.o.SkipExisting {
		p.spaceIDs[id] = old
	}
	if !sp.live() {
		p.report.Notes = append(p.report.Notes, Note{Kind: "space", Name: name, What: stateLeftOut, Reason: sp.sample, Rows: sp.rowsKnown(engine)})
		return
	}
	sp.report.ID = p.x.spaces.free(id, max(p.x.maxID+1, p.highest()+1))
	if sp.report.ID != id {
		p.note("space", name, "renumbered", "its number %d is taken in the cluster: it has number %d there", id, sp.report.ID)
	}
	p.spaceIDs[id] = sp.report.ID
	p.spaces[id] = sp
	p.order = append(p.order, sp)
}

// leaveOut says that a space is not brought over.
func (sp *spacePlan) leaveOut(reason string) { sp.report.State, sp.sample = stateLeftOut, reason }

// rowsKnown is how many rows of a space that is left out are in the files, where these say so.
func (sp *spacePlan) rowsKnown(engine string) *uint64 {
	if engine != dictionary.EngineMemtx || sp.report.Logs > 0 || hasKey(fieldAt(sp.row, 5), "view") {
		return nil
	}
	return &sp.report.Snapshot
}

// highest is the highest number of a space in the source.
func (p *plan) highest() uint32 {
	highest := dictionary.UserIDMin - 1
	for _, row := range p.final.all(dictionary.SpaceSpace) {
		highest = max(highest, uint32(uintAt(row, 0)))
	}
	return highest
}

// clashes refuses to touch what is in the cluster already, unless that was asked for.
func (p *plan) clashes() error {
	if p.o.Replace {
		return nil
	}
	var spaces []string
	for _, sp := range p.order {
		if sp.old != 0 {
			spaces = append(spaces, sp.report.Name)
		}
	}
	if len(spaces) > 0 {
		return errcode.New(errcode.ImportExists, "spaces", strings.Join(spaces, ", "))
	}
	var sequences []string
	for _, row := range p.newSequences {
		if _, ok := p.x.sequences.byName[strAt(row, 2)]; ok {
			sequences = append(sequences, strAt(row, 2))
		}
	}
	if len(sequences) > 0 {
		return errcode.New(errcode.ImportExists, "sequences", strings.Join(sequences, ", "))
	}
	return nil
}

func (p *plan) planUsers() {
	for _, row := range p.final.all(dictionary.SpaceUser) {
		id, name := uint32(uintAt(row, 0)), strAt(row, 2)
		existing, exists := p.x.users.byName[name]
		switch {
		case id < firstUser:
			p.users[id] = id
			if id == dictionary.UserAdmin && hasKey(fieldAt(row, 4), "chap-sha1") {
				p.note("user", name, "left out", "its password stays what it is in the cluster")
			}
			continue
		case exists:
			p.users[id] = existing
			p.note("user", name, "exists", "it keeps its password; grants are added to it")
			continue
		}
		p.users[id] = p.x.users.free(id, firstUser)
		if p.users[id] != id {
			p.note("user", name, "renumbered", "its number %d is taken in the cluster: it has number %d there", id, p.users[id])
		}
		p.newUsers = append(p.newUsers, row)
	}
}

// userRow is a user as the cluster will have it.
func (p *plan) userRow(row []byte) []byte {
	name, kind := strAt(row, 2), strAt(row, 3)
	out := msgpack.AppendArrayHeader(nil, 5)
	out = msgpack.AppendUint(out, uint64(p.users[uint32(uintAt(row, 0))]))
	out = msgpack.AppendUint(out, uint64(p.owner(row)))
	out = msgpack.AppendStr(msgpack.AppendStr(out, name), kind)
	auth, dropped, err := keepKeys(fieldAt(row, 4), func(method string) bool { return method == "chap-sha1" })
	switch {
	case err != nil || fieldAt(row, 4) == nil:
		return msgpack.AppendMapHeader(out, 0)
	case len(dropped) > 0:
		p.note("user", name, "changed", "passwords of method %s are left out: set one in the cluster", strings.Join(dropped, ", "))
	}
	return append(out, auth...)
}

// owner is the number in the cluster of the user who owns what a row describes; admin if it is nobody there.
func (p *plan) owner(row []byte) uint32 {
	if id, ok := p.users[uint32(uintAt(row, 1))]; ok {
		return id
	}
	return dictionary.UserAdmin
}

func (p *plan) planSequences() {
	for _, row := range p.final.all(dictionary.SpaceSequence) {
		id, name := uint32(uintAt(row, 0)), strAt(row, 2)
		if !p.usesSequence(id) {
			continue
		}
		if old, exists := p.x.sequences.byName[name]; exists {
			p.sequences[id] = old
			if p.o.SkipExisting {
				p.note("sequence", name, "exists", "it is left as it is")
				continue
			}
		} else {
			p.sequences[id] = p.x.sequences.free(id, 1)
		}
		if p.sequences[id] != id {
			p.note("sequence", name, "renumbered", "its number %d is taken in the cluster: it has number %d there", id, p.sequences[id])
		}
		p.newSequences = append(p.newSequences, row)
	}
}

// usesSequence tells whether a sequence is to be brought over: all are, unless only some spaces were asked for.
func (p *plan) usesSequence(id uint32) bool {
	if len(p.o.Spaces) == 0 {
		return true
	}
	for source := range p.spaces {
		if b := p.final.row(dictionary.SpaceSpaceSequence, uint64(source)); b != nil && uint32(uintAt(b, 1)) == id {
			return true
		}
	}
	return false
}

// listOthers lists what is not brought over at all.
func (p *plan) listOthers() {
	known := map[uint32]map[string]bool{}
	dictionary.Rows(func(space uint32, row []byte) bool {
		if known[space] == nil {
			known[space] = map[string]bool{}
		}
		known[space][strAt(row, nameField(space))] = true
		return true
	})
	for _, row := range p.final.all(dictionary.SpaceFunc) {
		name, language := strAt(row, 2), strAt(row, 4)
		if !known[dictionary.SpaceFunc][name] && !strings.HasPrefix(language, "SQL") {
			p.note("function", name, "left out", "functions in %s are not available", orWord(language, "LUA"))
		}
	}
	for _, row := range p.final.all(dictionary.SpaceTrigger) {
		p.note("trigger", strAt(row, 0), "left out", "triggers of SQL are not available")
	}
	for _, row := range p.final.all(dictionary.SpaceCollation) {
		if name := strAt(row, 1); !known[dictionary.SpaceCollation][name] {
			p.note("collation", name, "left out", "collations of one's own are not available")
		}
	}
	if n := len(p.final.rows[dictionary.SpaceCluster]); n > 1 {
		p.note("replica", fmt.Sprint(n), "left out", "the source belonged to a cluster of %d replicas, and this cluster knows its own members", n)
	}
}

func nameField(space uint32) int {
	if space == dictionary.SpaceCollation {
		return 1
	}
	return 2
}

func orWord(word, otherwise string) string {
	if word == "" {
		return otherwise
	}
	return word
}
