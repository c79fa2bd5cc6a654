// Package discovery decides which of the instances that start together makes the cluster, and tells all others where to
// join. Pure: Step turns an event into effects; the calls, the file and the clock are the runner's. How a cluster is made
// or joined is decided elsewhere (stages Boot and Join).
//
// Each instance asks every address that it knows, in rounds, and learns the addresses that the others know. When all
// known addresses have answered in one round and none was new, the instance with the smallest id among those that may
// boot decides that it does; all others ask on until somebody tells them a leader. Any two instances must have one peer
// in common in their lists: of two that would both decide, the one that this common peer answered later has heard of the
// other. That holds over crashes because an instance shows nothing that it could forget: id, known addresses and decision
// are one record, saved before any message that follows from them.
package discovery

import (
	"slices"
	"time"

	"github.com/lycosadb/lycosa/internal/invariant"
)

const (
	// CallTimeout is the time that one call may take.
	CallTimeout = 2 * time.Second
	// askInterval is the time after an answer or a failure until the same address is asked again.
	askInterval = 200 * time.Millisecond
	// waitInterval is the time between two log lines about what is being waited for.
	waitInterval = 5 * time.Second
	// conflictMemory is how long an address that answered with two ids blocks a decision.
	conflictMemory = 30 * time.Second
)

// peer is what is known of an address.
type peer struct {
	// counts is set when the address has answered as an undecided instance in this round.
	counts  bool
	id      string
	canBoot bool

	inFlight bool
	deadline time.Duration
	// askAt is when to ask again, if no call is in flight.
	askAt time.Duration

	// failure is why there is no answer that counts, for people; it says nothing that decides.
	failure string
	// fault marks a failure that does not mend by itself.
	fault bool
	// conflictUntil is not zero while the address is known to have answered with two ids.
	conflictUntil time.Duration
}

// Machine is the state of one instance's discovery. Its zero value is ready for Start.
type Machine struct {
	record      Record
	clusterName string
	own         string
	canBoot     bool
	started     bool
	concluded   bool
	conclusion  Conclude

	round uint64
	// peers has an entry for each address of the record, which is sorted.
	peers map[string]*peer
	// tooMany is set when more addresses were named than can be remembered: nothing may be concluded then.
	tooMany bool

	// mayBoot holds the ids that told in requests of this round that they can boot.
	mayBoot map[string]bool

	waitAt time.Duration
	// lastFaults is the part of the last logged sentence that does not mend by itself.
	lastFaults string
	effects    []Effect
}

// Step takes one event at the given time of a clock that never jumps, and returns what is to be done, in order. The
// first event is Start, and it is the only Start. The result is the caller's.
func (m *Machine) Step(now time.Duration, event Event) []Effect {
	m.effects = nil
	start, isStart := event.(Start)
	invariant.Check(isStart != m.started, "discovery: event %T out of order", event)
	switch event := event.(type) {
	case Start:
		m.start(now, start)
	case Receive:
		m.receive(now, event)
	case Response:
		m.response(now, event)
	case CallFailed:
		m.callFailed(now, event)
	case GoWithout:
		m.goWithout(event.Address)
	}
	if !m.concluded {
		m.expire(now)
		m.conclude()
	}
	if !m.concluded {
		m.ask(now)
		m.wait(now, event)
	}
	return m.effects
}

// WakeAt returns when the next Tick is wanted, if one is.
func (m *Machine) WakeAt() (at time.Duration, ok bool) {
	if m.concluded || !m.started {
		return 0, false
	}
	at = m.waitAt
	for _, p := range m.peers {
		if p.inFlight {
			at = min(at, p.deadline)
		} else {
			at = min(at, p.askAt)
		}
		if p.conflictUntil != 0 {
			at = min(at, p.conflictUntil)
		}
	}
	return at, true
}

// Concluded returns the conclusion once there is one.
func (m *Machine) Concluded() (Conclude, bool) { return m.conclusion, m.concluded }

// Record returns the record as it was saved last.
func (m *Machine) Record() Record { return cloneRecord(m.record) }

func cloneRecord(r Record) Record {
	r.Peers, r.Without = slices.Clone(r.Peers), slices.Clone(r.Without)
	return r
}

func (m *Machine) emit(e Effect) { m.effects = append(m.effects, e) }

func (m *Machine) start(now time.Duration, s Start) {
	err := s.Record.Check()
	invariant.Check(err == nil, "discovery: start: %v", err)
	invariant.Check(checkWord(s.Own, AddressBytesMax), "discovery: bad own address %q", s.Own)
	m.started, m.clusterName, m.own, m.canBoot = true, s.ClusterName, s.Own, s.CanBoot
	m.record = Record{ID: s.Record.ID, Decision: s.Record.Decision, Without: slices.Clone(s.Record.Without)}
	m.peers = make(map[string]*peer)
	m.waitAt = now + waitInterval
	if conclusion, ok := ParseDecision(s.Record.Decision); ok {
		m.record.Peers = slices.Clone(s.Record.Peers)
		m.concluded, m.conclusion = true, conclusion
		m.emit(conclusion)
		return
	}
	for _, address := range s.Record.Peers {
		if m.peers[address] == nil {
			m.peers[address] = &peer{}
			m.record.Peers = append(m.record.Peers, address)
		}
	}
	slices.Sort(m.record.Peers)
	m.merge(now, append(slices.Clone(s.Peers), s.Own))
	if m.round == 0 {
		m.newRound(now)
	}
}

// merge adds addresses to the record, saves it and begins a round if one of them is new.
func (m *Machine) merge(now time.Duration, addresses []string) {
	known := slices.Clone(m.record.Peers)
	for _, address := range addresses {
		if _, ok := m.peers[address]; ok || !checkWord(address, AddressBytesMax) {
			continue
		}
		if len(m.peers) >= PeersMax {
			m.tooMany = true
			break
		}
		m.peers[address] = &peer{}
		known = append(known, address)
	}
	if len(known) == len(m.record.Peers) {
		return
	}
	slices.Sort(known)
	m.record.Peers = known
	m.emit(Save{Record: cloneRecord(m.record)})
	m.newRound(now)
}

// newRound makes all answers so far not count, and all addresses be asked at once.
func (m *Machine) newRound(now time.Duration) {
	m.round++
	m.mayBoot = make(map[string]bool)
	for _, p := range m.peers {
		p.counts, p.inFlight, p.askAt = false, false, now
	}
}

func (m *Machine) receive(now time.Duration, r Receive) {
	req := &r.Request
	if m.concluded {
		m.emit(Reply{To: r.From, Answer: AnswerAsMember(m.clusterName, m.leader(), m.conclusion.ClusterUUID, *req)})
		return
	}
	answer := Answer{ClusterName: m.clusterName, Round: req.Round}
	switch {
	case !checkRequest(req):
		answer.Kind = AnswerRefused
	case req.ClusterName != m.clusterName:
		answer.Kind = AnswerOtherCluster
	default:
		m.merge(now, req.Peers)
		m.noteSender(now, req)
		answer.Kind, answer.ID, answer.CanBoot = AnswerResp, m.record.ID, m.canBoot
		answer.Peers = slices.Clone(m.record.Peers)
	}
	m.emit(Reply{To: r.From, Answer: answer})
}

// leader is the address that a decided instance names.
func (m *Machine) leader() string {
	if m.conclusion.Boot {
		return m.own
	}
	return m.conclusion.Leader
}

// noteSender begins a new round if the sender tells other than it answered: it was started again with another choice.
// What it told is remembered for the round, because an answer that it gave before may still be on its way.
func (m *Machine) noteSender(now time.Duration, req *Request) {
	changed := len(m.mayBoot) >= PeersMax
	for _, p := range m.peers {
		changed = changed || p.counts && p.id == req.ID && p.canBoot != req.CanBoot
	}
	if changed {
		m.newRound(now)
	}
	if req.CanBoot {
		m.mayBoot[req.ID] = true
	}
}

func (m *Machine) callFailed(now time.Duration, f CallFailed) {
	p := m.peers[f.Address]
	if m.concluded || p == nil || f.Round != m.round || !p.inFlight {
		return
	}
	m.again(now, p, f.Text, false)
}

// again plans the next call to an address whose last one gave no answer that counts.
func (m *Machine) again(now time.Duration, p *peer, failure string, fault bool) {
	p.inFlight, p.askAt = false, now+askInterval
	p.failure, p.fault = failure, fault
}

func (m *Machine) response(now time.Duration, r Response) {
	p := m.peers[r.Address]
	if m.concluded || p == nil {
		return
	}
	current := r.Round == m.round && p.inFlight
	a := &r.Answer
	switch {
	case !checkAnswer(a) || a.Round != r.Round:
		if current {
			m.again(now, p, "its answer is not understood", true)
		}
	case a.Kind == AnswerFinished:
		m.finished(now, p, a)
	case a.Kind == AnswerOtherCluster:
		p.counts = false
		m.again(now, p, "it belongs to cluster "+quote(a.ClusterName)+", this instance to "+quote(m.clusterName), true)
	case a.Kind == AnswerRefused:
		p.counts = false
		m.again(now, p, "it refuses the request", true)
	default:
		m.noteID(now, p, a)
		if current && r.Round == m.round {
			m.again(now, p, "", false)
			p.counts, p.canBoot = true, a.CanBoot || m.mayBoot[a.ID]
		}
		m.merge(now, a.Peers)
	}
}

// noteID remembers under which id an address answers. A second id means that the address leads to several instances, or
// that the instance behind it was replaced: answers so far do not count, and for a while nothing is concluded.
func (m *Machine) noteID(now time.Duration, p *peer, a *Answer) {
	if p.id != "" && p.id != a.ID {
		p.conflictUntil = now + conflictMemory
		m.newRound(now)
	}
	p.id = a.ID
}

func (m *Machine) finished(now time.Duration, p *peer, a *Answer) {
	p.counts = false
	leader := m.peers[a.Leader]
	switch {
	case a.Leader == "":
		m.again(now, p, "it belongs to the cluster but knows no leader yet", false)
	case a.Leader == m.own || leader != nil && leader.id == m.record.ID:
		m.again(now, p, "it says that this instance, which has no data, is the leader", true)
	default:
		m.decide(joinDecision(a.Leader, a.ClusterUUID))
	}
}

// expire forgets doubts whose time is over.
func (m *Machine) expire(now time.Duration) {
	for _, p := range m.peers {
		if now >= p.conflictUntil {
			p.conflictUntil = 0
		}
	}
}

// conclude decides that this instance makes the cluster, if a round is complete and it is the one.
func (m *Machine) conclude() {
	if !m.canBoot || m.tooMany || !m.complete() {
		return
	}
	if smallest, ok := m.smallest(); ok && smallest.id == m.record.ID {
		m.decide(DecisionBoot)
	}
}

// goWithout remembers that nothing need wait for an address. One that answers all the same counts like any other.
func (m *Machine) goWithout(address string) {
	if m.concluded || m.peers[address] == nil || address == m.own || slices.Contains(m.record.Without, address) {
		return
	}
	m.record.Without = append(m.record.Without, address)
	m.emit(Save{Record: cloneRecord(m.record)})
}

// complete reports whether all known addresses have answered in this round, but for those that are gone without, and none is
// in doubt.
func (m *Machine) complete() bool {
	for address, p := range m.peers {
		if !p.counts && slices.Contains(m.record.Without, address) {
			continue
		}
		if !p.counts || p.conflictUntil != 0 || address == m.own && p.id != m.record.ID {
			return false
		}
	}
	return true
}

// smallest returns the peer with the smallest id of those that may boot.
func (m *Machine) smallest() (found *peer, ok bool) {
	for _, p := range m.peers {
		if p.counts && p.canBoot && (found == nil || p.id < found.id) {
			found = p
		}
	}
	return found, found != nil
}

func (m *Machine) decide(decision string) {
	conclusion, ok := ParseDecision(decision)
	invariant.Check(ok, "discovery: decision %q", decision)
	m.record.Decision = decision
	m.concluded, m.conclusion = true, conclusion
	m.emit(Save{Record: cloneRecord(m.record)})
	m.emit(conclusion)
}

// ask calls every address whose time has come, in a fixed order.
func (m *Machine) ask(now time.Duration) {
	for _, address := range m.record.Peers {
		p := m.peers[address]
		if p.inFlight && now >= p.deadline {
			m.again(now, p, "no answer", false)
			p.askAt = now
		}
		if p.inFlight || now < p.askAt {
			continue
		}
		p.inFlight, p.deadline = true, now+CallTimeout
		m.emit(Call{Address: address, Deadline: p.deadline, Request: Request{ClusterName: m.clusterName, Round: m.round,
			ID: m.record.ID, CanBoot: m.canBoot, Peers: slices.Clone(m.record.Peers)}})
	}
}
