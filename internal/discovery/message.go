package discovery

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits of what a peer may make this instance remember.
const (
	// PeersMax is the largest number of known addresses. An instance that heard of more concludes nothing.
	PeersMax = 1024
	// AddressBytesMax is the longest address, in bytes; IDBytesMax the longest id, name or uuid in a message.
	AddressBytesMax = 256
	IDBytesMax      = 256
)

// Request is what an undecided instance sends to every address that it knows.
type Request struct {
	ClusterName string
	// Round is the sender's; an answer carries it back.
	Round uint64
	// ID is the sender's random id, drawn once per data directory.
	ID      string
	CanBoot bool
	// Peers are all addresses that the sender knows, its own among them, sorted.
	Peers []string
}

// AnswerKind says what an Answer is.
type AnswerKind uint8

// The kinds of answers.
const (
	// AnswerResp is the answer of an instance that is undecided too.
	AnswerResp AnswerKind = iota + 1
	// AnswerFinished is the answer of a member, of one that is becoming a member, and of one that has decided.
	AnswerFinished
	// AnswerOtherCluster is the answer to a request with another cluster name. Nothing was learned from it.
	AnswerOtherCluster
	// AnswerRefused is the answer to a request that breaks the limits. Nothing was learned from it.
	AnswerRefused
)

// Answer is the reply to a Request.
type Answer struct {
	Kind        AnswerKind
	ClusterName string
	// Round is that of the request.
	Round uint64

	// ID, CanBoot and Peers are the answering instance's, in an AnswerResp.
	ID      string
	CanBoot bool
	Peers   []string

	// Leader is the address to join at, in an AnswerFinished; empty means that the instance knows none: ask again.
	Leader string
	// ClusterUUID may be empty in an AnswerFinished as long as the cluster is being made.
	ClusterUUID string
}

// AnswerAsMember is the answer of an instance that has an identity or an entrypoint and therefore runs no discovery. The
// leader is empty if it knows none.
func AnswerAsMember(clusterName, leader, clusterUUID string, req Request) Answer {
	if !checkRequest(&req) {
		return Answer{Kind: AnswerRefused, ClusterName: clusterName, Round: req.Round}
	}
	if req.ClusterName != clusterName {
		return Answer{Kind: AnswerOtherCluster, ClusterName: clusterName, Round: req.Round}
	}
	return Answer{Kind: AnswerFinished, ClusterName: clusterName, Round: req.Round, Leader: leader, ClusterUUID: clusterUUID}
}

// Record is what must outlive a crash, durable before any message that shows it.
type Record struct {
	ID string
	// Peers are the known addresses, sorted.
	Peers []string
	// Decision is empty, DecisionBoot, or made by a told leader; ParseDecision reads it.
	Decision string
	// Without are addresses that an operator has said will never answer: nothing waits for them.
	Without []string
}

// Check says what makes a record that was read from disk unusable: an empty or odd id, a decision that is not understood,
// too many or odd addresses.
func (r Record) Check() error {
	if !checkWord(r.ID, IDBytesMax) {
		return fmt.Errorf("discovery: bad id %.40q in the record", r.ID)
	}
	if _, ok := ParseDecision(r.Decision); !ok && r.Decision != "" {
		return fmt.Errorf("discovery: unknown decision %.40q in the record", r.Decision)
	}
	if !checkPeers(r.Without) {
		return fmt.Errorf("discovery: bad list of %d peers to go without in the record", len(r.Without))
	}
	if !checkPeers(r.Peers) {
		return fmt.Errorf("discovery: bad list of %d peers in the record", len(r.Peers))
	}
	return nil
}

// DecisionBoot is the Record.Decision of the one instance that makes the cluster.
const DecisionBoot = "boot"

const decisionJoin = "join"

// joinDecision is the Record.Decision of an instance that was told a leader.
func joinDecision(leader, clusterUUID string) string {
	return strings.TrimSpace(decisionJoin + " " + leader + " " + clusterUUID)
}

// ParseDecision reads a Record.Decision. ok is false for an empty one and for one that is not understood.
func ParseDecision(text string) (c Conclude, ok bool) {
	words := strings.Fields(text)
	switch {
	case len(words) == 1 && words[0] == DecisionBoot:
		return Conclude{Boot: true}, true
	case len(words) == 2 && words[0] == decisionJoin:
		return Conclude{Leader: words[1]}, true
	case len(words) == 3 && words[0] == decisionJoin:
		return Conclude{Leader: words[1], ClusterUUID: words[2]}, true
	}
	return Conclude{}, false
}

// Event is an input of Step: Start, Receive, Response, CallFailed or Tick.
type Event interface{ event() }

// Start is the first event.
type Start struct {
	// Record is what was read from disk and passes its Check, or one with only a freshly drawn ID if there was none.
	Record      Record
	ClusterName string
	// Own is the address under which the others reach this instance.
	Own string
	// Peers is the configured list.
	Peers []string
	// CanBoot is false for a tier that cannot vote and for manual assembly.
	CanBoot bool
}

// Receive is a request from another instance or from this one. From is the caller's to choose: the Reply carries it back.
type Receive struct {
	From    uint64
	Request Request
}

// Response is the answer to the Call of the same address and round.
type Response struct {
	Address string
	Round   uint64
	Answer  Answer
}

// CallFailed says that a Call has no answer.
type CallFailed struct {
	Address string
	Round   uint64
	Text    string
}

// GoWithout says that an address will never answer. An operator says so, and answers for it: if the instance behind it has made a
// cluster with others, there will be two.
type GoWithout struct{ Address string }

// Tick says only that time has passed; Machine.WakeAt says when the next one is wanted.
type Tick struct{}

func (Start) event()      {}
func (Receive) event()    {}
func (Response) event()   {}
func (CallFailed) event() {}
func (Tick) event()       {}
func (GoWithout) event()  {}

// Effect is something that Step wants done: Save, Call, Reply, Conclude or Wait.
type Effect interface{ effect() }

// Save makes the record durable. The effects after it may be begun only when that is done; if it fails, never.
type Save struct{ Record Record }

// Call sends the request to the address and turns the outcome into a Response or a CallFailed with the same address and
// round. An outcome after the deadline (on the clock of Step's now) is a failure.
type Call struct {
	Address  string
	Request  Request
	Deadline time.Duration
}

// Reply answers a Receive.
type Reply struct {
	To     uint64
	Answer Answer
}

// Conclude is the end: this instance makes the cluster, or joins at the leader's address. It comes again if the instance
// is started again with the record.
type Conclude struct {
	Boot   bool
	Leader string
	// ClusterUUID may be empty.
	ClusterUUID string
}

// Wait is a sentence for the log about what is being waited for. Failure marks those that will not mend by themselves.
type Wait struct {
	Text    string
	Failure bool
}

func (Save) effect()     {}
func (Call) effect()     {}
func (Reply) effect()    {}
func (Conclude) effect() {}
func (Wait) effect()     {}

func checkRequest(req *Request) bool {
	return checkWord(req.ID, IDBytesMax) && len(req.ClusterName) <= IDBytesMax && checkPeers(req.Peers)
}

func checkAnswer(a *Answer) bool {
	switch a.Kind {
	case AnswerResp:
		return checkWord(a.ID, IDBytesMax) && checkPeers(a.Peers)
	case AnswerFinished:
		return (a.Leader == "" || checkWord(a.Leader, AddressBytesMax)) && (a.ClusterUUID == "" || checkWord(a.ClusterUUID, IDBytesMax))
	case AnswerOtherCluster:
		return len(a.ClusterName) <= IDBytesMax
	case AnswerRefused:
		return true
	}
	return false
}

func checkPeers(peers []string) bool {
	return len(peers) <= PeersMax && !slices.ContainsFunc(peers, func(p string) bool { return !checkWord(p, AddressBytesMax) })
}

// checkWord accepts text that is a word in a record and in a log line: printable, without spaces.
func checkWord(text string, bytesMax int) bool {
	if text == "" || len(text) > bytesMax {
		return false
	}
	return !strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c >= 0x7f })
}
