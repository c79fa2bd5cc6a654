package governor

import (
	"slices"
	"strconv"
	"strings"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// GroupView is what the catalog's leader knows of one raft group: of its own at first hand, of a data group from the last
// report of that group's leader.
type GroupView struct {
	// Known: there is a report of a leader. Without it the other fields mean nothing.
	Known bool
	// Leader is the name of the instance that leads the group, empty if unknown.
	Leader string
	// Term is the group's term in which the report was made.
	Term uint64
	// Voters and Learners are raft ids in that group.
	Voters, Learners []uint64
	// Joint: a change of membership is under way.
	Joint bool
	// Progress is the highest index that the leader knows to be in a member's log, by raft id; 0 or missing: not known.
	Progress map[uint64]uint64
	// Active holds the members that the leader has heard of lately, by raft id. It itself need not be among them.
	Active map[uint64]bool
	// Small holds the members whose memory does not hold what the leader has, by raft id: they get no vote.
	Small map[uint64]bool
	// Committed is the highest committed index.
	Committed uint64
}

// caughtUpMax is how many entries a learner may be behind when it is given a vote, and a voter when it is to lead: what
// travels in a moment, even under load.
const caughtUpMax = 1000

// caughtUp reports whether a member has nearly all that is committed. One that never answered has not.
func (v GroupView) caughtUp(id uint64) bool {
	match := v.Progress[id]
	return match > 0 && caughtUp(match, v.Committed)
}

// caughtUp reports whether so much of a total is nearly all, however large both are.
func caughtUp(have, total uint64) bool { return have >= total || total-have <= caughtUpMax }

// live reports whether a member answers its leader.
func (v GroupView) live(id, leader uint64) bool { return id == leader || v.Active[id] }

// member reports whether the id is a voter or a learner.
func (v GroupView) member(id uint64) bool {
	return slices.Contains(v.Voters, id) || slices.Contains(v.Learners, id)
}

// quorate reports whether more than half of the voters answer the leader.
func (v GroupView) quorate(voters []uint64, leader uint64) bool {
	n := 0
	for _, id := range voters {
		if v.live(id, leader) {
			n++
		}
	}
	return n > len(voters)/2
}

// silent returns the voters that do not answer the leader.
func (v GroupView) silent(voters []uint64, leader uint64) []uint64 {
	return slices.DeleteFunc(slices.Clone(voters), func(id uint64) bool { return v.live(id, leader) })
}

// Action is what a step does besides writing to the catalog: CatalogChange, GroupChange or TransferLeader.
type Action interface{ action() }

// CatalogChange changes the membership of the catalog's group, which this instance leads.
type CatalogChange struct {
	Term    uint64 // of the group; in another one the action is void
	Changes []raftgroup.Change
	// Voters is whom the change was planned on: with other ones it is void.
	Voters []uint64
}

// GroupChange asks the leader of a data group to change its membership. The group refuses one whose CatalogIndex is older
// than that of an earlier change.
type GroupChange struct {
	Replicaset   string
	Leader       string // name of the instance that leads the group
	Term         uint64 // of the group; in another one the action is void
	CatalogIndex uint64
	Changes      []raftgroup.Change
	// Voters is whom the change was planned on: with other ones it is void.
	Voters []uint64
}

// TransferLeader asks the leader of a group to hand over.
type TransferLeader struct {
	Replicaset string // empty: the catalog's group
	From, To   string // names of instances
	ToID       uint64 // raft id of To in that group
	Term       uint64 // of the group; in another one the action is void
}

func (CatalogChange) action()  {}
func (GroupChange) action()    {}
func (TransferLeader) action() {}

// changeSet gathers changes of membership together with their wording.
type changeSet struct {
	names   map[uint64]string
	changes []raftgroup.Change
	words   map[string][]string
}

func newChangeSet(names map[uint64]string) *changeSet {
	return &changeSet{names: names, words: map[string][]string{}}
}

// The wordings of changes, in the order in which they are told.
const (
	wordLearner = "add learner"
	wordPromote = "give a vote to"
	wordDemote  = "take the vote from"
	wordRemove  = "remove"
)

func (c *changeSet) add(word string, op raftgroup.ChangeOp, id uint64) {
	c.changes = append(c.changes, raftgroup.Change{Op: op, ID: id})
	c.words[word] = append(c.words[word], memberName(c.names, id))
}

func (c *changeSet) text() string {
	var parts []string
	for _, word := range []string{wordLearner, wordPromote, wordDemote, wordRemove} {
		if who := c.words[word]; len(who) > 0 {
			parts = append(parts, word+" "+listed(who))
		}
	}
	return strings.Join(parts, "; ")
}

// memberName is the name of the instance with that raft id, or the id of one that no row names.
func memberName(names map[uint64]string, id uint64) string {
	if name, ok := names[id]; ok {
		return name
	}
	return "raft id " + strconv.FormatUint(id, 10)
}

func memberNames(names map[uint64]string, ids []uint64) []string {
	var out []string
	for _, id := range ids {
		out = append(out, memberName(names, id))
	}
	return out
}

// listedMax bounds the names in one sentence.
const listedMax = 5

// listed joins names, at most listedMax of them.
func listed(names []string) string {
	if len(names) > listedMax {
		return strings.Join(names[:listedMax], ", ") + " and " + strconv.Itoa(len(names)-listedMax) + " more"
	}
	return strings.Join(names, ", ")
}

// catalogNames and dataNames map raft ids to the names of instances.
func catalogNames(rows []catalog.Instance) map[uint64]string {
	out := make(map[uint64]string, len(rows))
	for _, row := range rows {
		out[row.RaftID] = row.Name
	}
	return out
}

func dataNames(rows []catalog.Instance) map[uint64]string {
	out := make(map[uint64]string, len(rows))
	for _, row := range rows {
		out[row.DataRaftID] = row.Name
	}
	return out
}

// idOf returns the raft id of an instance in a group whose names are given, 0 if it is not there.
func idOf(names map[uint64]string, name string) uint64 {
	for id, n := range names {
		if n == name {
			return id
		}
	}
	return 0
}
