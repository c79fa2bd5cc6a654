package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// ddlChecks see the changes of the schema, and the rows of spaces.
type ddlChecks struct {
	looked map[string]uint64  // by group: the newest entry about spaces that was applied anywhere
	newest map[string]*spaces // by group: its dictionary then; its rows are not kept up to date
	// expected is the dictionary of each version that was committed, begun when the change of it began.
	expected map[uint64]string
	begun    map[uint64]time.Duration
	gone     []*destroyed
	rows     []ackedRow
}

// destroyed is a committed change by which the rows of a space go.
type destroyed struct {
	version      uint64
	space        uint32
	begun, acked time.Duration // acked 0: nobody was told
	settled      bool
	// excused are the groups that had no leader who could be asked.
	excused map[string]bool
}

// ackedRow is a row that a client was told is there.
type ackedRow struct {
	group        string
	space        uint32
	key, value   string
	begun, acked time.Duration
}

func newDDLChecks() ddlChecks {
	return ddlChecks{looked: map[string]uint64{}, newest: map[string]*spaces{}, expected: map[uint64]string{}, begun: map[uint64]time.Duration{}}
}

// checkSpaces looks at each entry about spaces when it is applied first: who has followed a version has its dictionary.
func (c *cluster) checkSpaces(m *dataMachine, data string, index uint64) {
	k, group := &c.ddl, m.r.key
	if index <= k.looked[group] {
		return
	}
	k.looked[group] = index
	var e spaceEntry
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		c.failf("%v", err)
	}
	if e.Key != "" {
		return
	}
	if before := k.newest[group]; before != nil && e.Follow && m.spaces.Refused == "" && e.Version < before.Dict.Followed {
		c.failf("instance %d, %s: the schema goes back from version %d to %d", m.r.i.no, group, before.Dict.Followed, e.Version)
	}
	k.newest[group] = m.spaces.copy()
	if !e.Follow || m.spaces.Refused != "" {
		return
	}
	c.notef("%s follows the schema to %d", group, e.Version)
	if want, got := k.expected[e.Version], shownDictionary(&m.spaces.Dict); got != want {
		c.failf("instance %d, %s: the dictionary that has followed version %d is\n%s\nwant\n%s", m.r.i.no, group, e.Version, got, want)
	}
}

// checkSchema looks at an entry of the catalog when it is applied first.
func (c *cluster) checkSchema(e *raftgroup.Entry, before, after *catalog.State) {
	k := &c.ddl
	if p, pending := after.PendingSchema(); pending {
		if _, known := k.begun[p.Version]; !known {
			c.stats.ddl++
			k.begun[p.Version] = c.now
		}
	}
	was, pending := before.PendingSchema()
	if v := after.TablesVersion(); v != before.TablesVersion() {
		if !pending || was.Version != v {
			c.failf("entry %d commits version %d, which was not pending", e.Index, v)
		}
		c.checkCommit(before, after, was)
	}
	settled, _ := after.PropertyUint(catalog.PropSettledSchemaVersion)
	for _, d := range k.gone {
		if d.settled || d.version > settled {
			continue
		}
		d.settled = true
		for _, rs := range after.Replicasets() {
			if s := k.newest[rs.UUID]; s == nil || s.Dict.Followed < d.version {
				d.excused[rs.UUID] = true
			}
		}
	}
}

// checkSettles: nobody who could be asked is late when the governor puts on record that rows are gone.
func (c *cluster) checkSettles(i *instance, op catalog.Op) {
	for _, d := range op.DML {
		p, err := catalog.ParseProperty(d.Tuple)
		if d.Table != catalog.TableProperty || err != nil || p.Key != catalog.PropSettledSchemaVersion {
			continue
		}
		in, version := i.governorInput(), i.cat.view.Unsettled()
		for _, rs := range in.Catalog.Replicasets() {
			view := in.DataGroups[rs.Name]
			heard := in.Instances[view.Leader].LastHeard
			asked := view.Leader != "" && (heard.IsZero() || in.Now.Sub(heard) < time.Second)
			gone := rs.State == catalog.ReplicasetExpelled || rs.State == catalog.ReplicasetToBeExpelled
			if s := c.ddl.newest[rs.UUID]; asked && !gone && (s == nil || s.Dict.Followed < version) {
				c.failf("change %d of the schema, by which rows go, is settled, replicaset %s is late", version, rs.Name)
			}
		}
	}
}

// checkCommit: what rows have to agree to is in the log of every replicaset.
func (c *cluster) checkCommit(before, after *catalog.State, p catalog.PendingSchema) {
	k, d := &c.ddl, p.DDL
	c.notef("schema %d is committed, change %d of %d", p.Version, d.Kind, d.TableID())
	var all catalog.Dictionary
	for _, t := range after.SchemaTables() {
		all.Tables = append(all.Tables, t.ID)
		all.Spaces = append(all.Spaces, t.SpaceRow())
		for _, i := range after.SchemaIndexes(t.ID) {
			all.Indexes = append(all.Indexes, i.IndexRow())
		}
	}
	all.Objects = after.SchemaObjects()
	_, all.Sequences = catalog.FollowedIDs(after)
	k.expected[p.Version] = shownDictionary(&all)
	if d.Kind == catalog.DropTable || d.Kind == catalog.TruncateTable || d.Kind == catalog.DropIndex && d.Indexes[0].ID == 0 {
		k.gone = append(k.gone, &destroyed{version: p.Version, space: d.TableID(), begun: k.begun[p.Version], excused: map[string]bool{}})
	}
	if !before.MustAgree(d) || d.Kind == catalog.AlterTable {
		return
	}
	for _, rs := range after.Replicasets() {
		if rs.State == catalog.ReplicasetExpelled || rs.State == catalog.ReplicasetToBeExpelled {
			continue
		}
		s := k.newest[rs.UUID]
		switch {
		case s == nil, d.Kind == catalog.CreateIndex && !s.hasIndex(d.TableID(), d.Indexes[0].ID), d.Kind == catalog.SetObject && !s.isChecked(d.TableID()):
			c.failf("change %d of the schema is committed, replicaset %s does not have it", p.Version, rs.Name)
		}
	}
}

// checkRows: rows are there or were destroyed, and fit what is said of them.
func (c *cluster) checkRows() {
	groups := map[string]*spaces{}
	for _, i := range c.instances {
		if i.gone {
			continue
		}
		m := i.data.m.(*dataMachine)
		if other := groups[i.data.key]; other != nil && string(m.snapshotSpaces()) != string((&dataMachine{spaces: other}).snapshotSpaces()) {
			c.failf("instance %d has other spaces than the other replicas of %s", i.no, i.data.key)
		}
		groups[i.data.key] = m.spaces
	}
	for _, r := range c.ddl.rows {
		s := groups[r.group]
		if s == nil {
			continue
		}
		value, there := s.Rows[r.space][r.key]
		if there && value != r.value {
			c.failf("row %s of space %d of %s is %q, not %q", r.key, r.space, r.group, value, r.value)
		}
		mayGo, mustGo := false, uint64(0)
		for _, d := range c.ddl.gone {
			if d.space != r.space {
				continue
			}
			mayGo = mayGo || d.acked == 0 || d.acked >= r.begun || d.excused[r.group]
			if r.acked < d.begun {
				mustGo = d.version
			}
		}
		switch {
		case !there && !mayGo:
			c.failf("the acknowledged row %s of space %d of %s is lost, written at %v", r.key, r.space, r.group, r.begun)
		case there && mustGo > 0:
			c.failf("row %s of space %d of %s, acknowledged at %v, is there after change %d of the schema", r.key, r.space, r.group, r.acked, mustGo)
		}
	}
	for _, group := range sortedKeys(groups) {
		s := groups[group]
		for space, rows := range s.Rows {
			if s.hasIndex(space, 1) {
				if why := s.mustNot(catalog.DictionaryChange{Space: catalog.SpaceIndex, New: (catalog.SchemaIndex{TableID: space, ID: 1}).IndexRow()}); why != "" {
					c.failf("space %d of %s: %s", space, group, why)
				}
			}
			for key, v := range rows {
				if v == badValue && s.isChecked(space) {
					c.failf("space %d of %s: row %s does not fit", space, group, key)
				}
			}
		}
	}
}

// unfollowed says what is still to be done about the schema.
func (c *cluster) unfollowed() string {
	for _, i := range c.instances {
		if i.gone || i.data == nil || !i.data.g.Leading() || !i.cat.view.KeepsSchema() {
			continue
		}
		view, d := i.cat.view, &i.data.m.(*dataMachine).spaces.Dict
		if p, pending := view.PendingSchema(); pending {
			return fmt.Sprintf("change %d of the schema is pending", p.Version)
		}
		task, _, err := catalog.Follow(view, d)
		if task != catalog.FollowTell || err != nil {
			return fmt.Sprintf("instance %d has task %d about the schema: %v", i.no, task, err)
		}
		if _, ok := catalog.PlanTell(view, d, func(uint32, uint32) bool { return false }); ok {
			return fmt.Sprintf("instance %d has something to tell", i.no)
		}
		if v := view.Unsettled(); v > 0 {
			return fmt.Sprintf("change %d of the schema, by which rows go, is not settled", v)
		}
	}
	return ""
}

// The spaces of clients; those from firstOwnSpace on are made by a lone replicaset.
const (
	firstSpace    = 600
	firstOwnSpace = 603
	lastSpace     = 604
)

// startSchemaClients make, change and drop spaces, and write to them.
func (c *cluster) startSchemaClients() {
	if c.opt.ddl == 0 {
		return
	}
	c.every(c.opt.ddl, func() {
		if list := c.serving(); len(list) > 0 {
			c.changeSchema(list[c.rng.IntN(len(list))])
		}
	})
	c.every(c.opt.writeEvery, func() {
		if list := c.serving(); len(list) > 0 {
			c.writeSpace(list[c.rng.IntN(len(list))])
		}
	})
}

// changeSchema has an instance begin a change, and looks for its end there.
func (c *cluster) changeSchema(i *instance) {
	view, m := i.cat.view, i.data.m.(*dataMachine)
	space := uint32(firstSpace + c.rng.IntN(lastSpace-firstSpace+1))
	if !view.KeepsSchema() {
		if i.data.g.Leading() && space >= firstOwnSpace {
			c.makeOwn(i, m, space)
		}
		return
	}
	if _, pending := view.PendingSchema(); pending || m.spaces.Dict.Followed < view.TablesVersion() {
		return
	}
	d, ok := c.drawDDL(view, space)
	if !ok {
		return
	}
	op, guard, version, err := catalog.PlanDDL(view, d)
	if err != nil {
		c.failf("instance %d: %+v: %v", i.no, d, err)
	}
	guard.Term = i.catalog.g.Term()
	c.notef("%d begins change %d of space %d as version %d", i.no, d.Kind, d.TableID(), version)
	i.record(proposal{ops: []catalog.Op{op}, guard: &guard, done: func(res catalog.Result, err error) {
		if err == nil {
			i.awaitSchema(res.Index, version, d, c.now+30*time.Second)
		}
	}}, 3*time.Second)
}

// awaitSchema acknowledges a change when an instance would.
func (i *instance) awaitSchema(index, version uint64, d catalog.DDL, until time.Duration) {
	c := i.c
	i.own(40*time.Millisecond, func() {
		view := i.cat.view
		if i.catalog.at.index >= index {
			done, err := view.SchemaOutcome(version)
			if done && err != nil {
				c.stats.ddlAborted++
				return
			}
			followed := i.data.m.(*dataMachine).spaces.Dict.Followed >= version
			if done && followed && (!d.MustSettle() || view.Settled(version)) {
				c.acknowledgeSchema(version)
				return
			}
		}
		if c.now < until {
			i.awaitSchema(index, version, d, until)
		}
	})
}

func (c *cluster) acknowledgeSchema(version uint64) {
	c.stats.ddlAcked++
	c.notef("version %d is acknowledged", version)
	if _, committed := c.ddl.expected[version]; !committed {
		c.failf("version %d of the schema is acknowledged, and was not committed", version)
	}
	for _, d := range c.ddl.gone {
		if d.version == version {
			d.acked = c.now
		}
	}
}

// makeOwn makes a space as a lone replicaset does: it, then its primary key.
func (c *cluster) makeOwn(i *instance, m *dataMachine, space uint32) {
	t := catalog.SchemaTable{ID: space, Name: fmt.Sprint("t", space), Engine: "memtx", Owner: catalog.AdminID}
	change := catalog.DictionaryChange{Space: catalog.SpaceSpace, New: t.SpaceRow()}
	if slices.ContainsFunc(m.spaces.Dict.Spaces, func(row []byte) bool { return bytes.Equal(row, t.SpaceRow()) }) {
		change = catalog.DictionaryChange{Space: catalog.SpaceIndex, New: indexOf(space, 0).IndexRow()}
		if m.spaces.hasIndex(space, 0) {
			return
		}
	}
	if i.work.busy <= c.now { // who is busy might make it twice
		i.entry(spaceEntry{Own: &change}, func(string) {})
	}
}

func indexOf(space, id uint32) catalog.SchemaIndex {
	return catalog.SchemaIndex{TableID: space, ID: id, Name: fmt.Sprint("i", id), Type: "tree", Parts: []byte{0x90}}
}

// drawDDL draws a change of a space that makes sense as the catalog knows it.
func (c *cluster) drawDDL(view *catalog.State, space uint32) (catalog.DDL, bool) {
	t, known := view.SchemaTable(space)
	row := append(append([]byte{0x96}, catalog.Key(space, "ck")...), 0xc2, 0xa3, 'S', 'Q', 'L', 0xa1, 'x', 0xc3)
	check, err := catalog.ObjectOfRow(catalog.SpaceCKConstraint, row)
	if err != nil {
		c.failf("%v", err)
	}
	_, checked := view.SchemaObject(check.Space, check.Key())
	if !known {
		d := catalog.DDL{Kind: catalog.CreateTable, Indexes: []catalog.SchemaIndex{indexOf(space, 0)},
			Table: catalog.SchemaTable{ID: space, Name: fmt.Sprint("t", space), Engine: "memtx", Owner: catalog.AdminID}}
		if c.chance(0.2) {
			d.Objects = []catalog.SchemaObject{check}
		}
		return d, space < firstOwnSpace
	}
	_, keyed := view.SchemaIndex(space, 0)
	_, unique := view.SchemaIndex(space, 1)
	kind := func(k catalog.DDLKind, ix ...catalog.SchemaIndex) catalog.DDL {
		return catalog.DDL{Kind: k, Table: catalog.SchemaTable{ID: space}, Indexes: ix}
	}
	switch n := c.rng.IntN(10); {
	case !keyed:
		return kind(catalog.CreateIndex, indexOf(space, 0)), true
	case n < 3:
		return kind(catalog.TruncateTable), true
	case n < 5 && unique:
		return kind(catalog.DropIndex, indexOf(space, 1)), true
	case n < 5:
		return kind(catalog.CreateIndex, indexOf(space, 1)), true
	case n < 7 && checked:
		return catalog.DDL{Kind: catalog.DropObject, Objects: []catalog.SchemaObject{check}}, true
	case n < 7:
		return catalog.DDL{Kind: catalog.SetObject, Objects: []catalog.SchemaObject{check}}, true
	case n == 7:
		name := fmt.Sprint("u", space)
		if strings.HasPrefix(t.Name, "u") {
			name = fmt.Sprint("t", space)
		}
		t.Name = name
		return catalog.DDL{Kind: catalog.AlterTable, Table: t}, true
	case unique || checked:
		return catalog.DDL{}, false
	case n == 8:
		return kind(catalog.DropIndex, indexOf(space, 0)), true
	}
	return kind(catalog.DropTable), space < firstOwnSpace
}

// writeSpace puts a row into a space at the leader of an instance's replicaset.
func (c *cluster) writeSpace(i *instance) {
	leader := c.dataLeader(i.data.key)
	if leader == nil || leader.paused > c.now {
		return
	}
	m := leader.data.m.(*dataMachine)
	if len(m.spaces.Dict.Spaces) == 0 {
		return
	}
	t, _ := catalog.TableOfSpaceRow(m.spaces.Dict.Spaces[c.rng.IntN(len(m.spaces.Dict.Spaces))])
	c.clients.count++
	row := ackedRow{group: leader.data.key, space: t.ID, key: fmt.Sprintf("k%05d", c.clients.count), begun: c.now}
	row.value = []string{badValue, "same", row.key, row.key, row.key}[c.rng.IntN(5)]
	m.proposeSpaces(spaceEntry{Space: t.ID, Key: row.key, Value: row.value}, func(refused string) {
		if refused == "" {
			c.stats.spaceRows++
			row.acked = c.now
			c.ddl.rows = append(c.ddl.rows, row)
		}
	})
}
