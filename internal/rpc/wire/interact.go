package wire

import (
	"math"

	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// Interact carries raft messages of all groups from one instance to another, and how the sender is.
type Interact struct {
	Header Header
	// Report is nil if there is nothing new to tell.
	Report   *Report
	Messages []GroupMessage
}

// GroupMessage is a raft message, see raftgroup.DecodeMessage.
type GroupMessage struct {
	Group uint8
	Data  []byte
}

// Report is how an instance is, told to the leader of the catalog.
type Report struct {
	// Applied is the index up to which the catalog is applied.
	Applied uint64
	// State is lifecycle.Start if the sender is in a state that this version does not know.
	State lifecycle.State
	// Sharding tells that the instance has put the current distribution of data into effect.
	Sharding bool
	Data     GroupReport
	Schema   SchemaReport
}

// SchemaReport is what the leader of a data group says to a change of the schema that its rows have to agree to. The zero
// value says nothing.
type SchemaReport struct {
	// Version is that of the change.
	Version uint64
	// Prepared: all rows fit, and those that are written from now on will. If not, Code and Message are why it is refused;
	// a message is cut to WordBytesMax.
	Prepared bool
	Code     uint32
	Message  string
	// Followed is the version of the schema that the replicaset has come to, as its leader knows, or did when it last led.
	Followed uint64
}

// GroupReport is a replica's view of its data group.
type GroupReport struct {
	RaftID uint64
	// Role is one of raftgroup's, empty if there is no group yet.
	Role raftgroup.Role
	Term uint64
	// Leader is a raft id, 0 while none is known.
	Leader                   uint64
	Committed, Applied, Last uint64
	Voters, Learners         []uint64
	Joint                    bool
	// Unsure: the replica takes no part in its group under this id, because it may have forgotten what it had acknowledged.
	Unsure bool
	// Progress comes from a leader only.
	Progress []MemberProgress
}

// MemberProgress is how far a member of a group is, as its leader knows it.
type MemberProgress struct {
	RaftID uint64
	// Match is the highest index that is durable there.
	Match uint64
	// Active tells that it was heard of within an election timeout.
	Active bool
}

// The numbers of fields that this version knows.
const (
	interactFields = 3
	reportFields   = 5
	schemaFields   = 5
	groupFields    = 12
	progressFields = 3
)

// Append appends the message to dst.
func (m Interact) Append(dst []byte) []byte {
	dst = m.Header.append(msgpack.AppendArrayHeader(dst, interactFields))
	if m.Report == nil {
		dst = msgpack.AppendNil(dst)
	} else {
		dst = m.Report.append(dst)
	}
	dst = msgpack.AppendArrayHeader(dst, len(m.Messages))
	for _, g := range m.Messages {
		dst = msgpack.AppendUint(msgpack.AppendArrayHeader(dst, 2), uint64(g.Group))
		dst = msgpack.AppendBin(dst, g.Data)
	}
	return dst
}

// DecodeInteract reads a message; the bytes of its raft messages are parts of b. Errors: 1.
func DecodeInteract(b []byte) (Interact, error) {
	r := reader{b: b, message: "Interact"}
	extra := r.fields(interactFields)
	m := Interact{Header: r.header()}
	if !r.isNil() {
		report := r.report()
		m.Report = &report
	}
	n := r.list(MessagesMax)
	if n > 0 {
		m.Messages = make([]GroupMessage, 0, n)
	}
	for range n {
		if !r.ok() {
			break
		}
		more := r.fields(2)
		m.Messages = append(m.Messages, GroupMessage{Group: r.group(), Data: r.bin(math.MaxUint32)})
		r.skip(more)
	}
	if err := r.end(extra); err != nil {
		return Interact{}, err
	}
	return m, nil
}

func (m *Report) append(dst []byte) []byte {
	dst = msgpack.AppendUint(msgpack.AppendArrayHeader(dst, reportFields), m.Applied)
	dst = msgpack.AppendStr(dst, m.State.String())
	dst = msgpack.AppendBool(dst, m.Sharding)
	dst = m.Data.append(dst)
	dst = msgpack.AppendUint(msgpack.AppendArrayHeader(dst, schemaFields), m.Schema.Version)
	dst = msgpack.AppendUint(msgpack.AppendBool(dst, m.Schema.Prepared), uint64(m.Schema.Code))
	dst = msgpack.AppendStr(dst, m.Schema.Message[:min(len(m.Schema.Message), WordBytesMax)])
	return msgpack.AppendUint(dst, m.Schema.Followed)
}

func (r *reader) report() Report {
	extra := r.fields(reportFields)
	m := Report{Applied: r.uint(), State: r.state(), Sharding: r.bool(), Data: r.groupReport(), Schema: r.schemaReport()}
	r.skip(extra)
	return m
}

func (r *reader) schemaReport() SchemaReport {
	extra := r.fields(schemaFields)
	m := SchemaReport{Version: r.uint(), Prepared: r.bool(), Code: uint32(r.uintMax(math.MaxUint32)), Message: r.word(), Followed: r.uint()}
	r.skip(extra)
	return m
}

// state takes the name of a state. One that is not known comes from a newer version, and is no reason to drop the message.
func (r *reader) state() lifecycle.State {
	s, err := lifecycle.ParseState(r.word())
	if err != nil {
		return lifecycle.Start
	}
	return s
}

func (g *GroupReport) append(dst []byte) []byte {
	dst = msgpack.AppendUint(msgpack.AppendArrayHeader(dst, groupFields), g.RaftID)
	dst = msgpack.AppendStr(dst, string(g.Role))
	for _, v := range [...]uint64{g.Term, g.Leader, g.Committed, g.Applied, g.Last} {
		dst = msgpack.AppendUint(dst, v)
	}
	dst = appendIDs(appendIDs(dst, g.Voters), g.Learners)
	dst = msgpack.AppendBool(dst, g.Joint)
	dst = msgpack.AppendArrayHeader(dst, len(g.Progress))
	for _, p := range g.Progress {
		dst = msgpack.AppendUint(msgpack.AppendArrayHeader(dst, progressFields), p.RaftID)
		dst = msgpack.AppendBool(msgpack.AppendUint(dst, p.Match), p.Active)
	}
	return msgpack.AppendBool(dst, g.Unsure)
}

func (r *reader) groupReport() GroupReport {
	extra := r.fields(groupFields)
	g := GroupReport{
		RaftID: r.uint(), Role: raftgroup.Role(r.word()), Term: r.uint(), Leader: r.uint(), Committed: r.uint(),
		Applied: r.uint(), Last: r.uint(), Voters: r.ids(), Learners: r.ids(), Joint: r.bool(),
	}
	n := r.list(MembersMax)
	if n > 0 {
		g.Progress = make([]MemberProgress, 0, n)
	}
	for range n {
		if !r.ok() {
			break
		}
		more := r.fields(progressFields)
		g.Progress = append(g.Progress, MemberProgress{RaftID: r.uint(), Match: r.uint(), Active: r.bool()})
		r.skip(more)
	}
	g.Unsure = r.bool()
	r.skip(extra)
	return g
}
