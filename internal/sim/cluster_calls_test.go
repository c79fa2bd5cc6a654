package sim

import (
	"errors"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/discovery"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/governor"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// header begins every message between members.
type header struct {
	cluster, from string
	epoch, raftID uint64
	term          uint64
	address       string
}

type joinRequest struct{ catalog.JoinRequest }

// joinAnswer has a place or names a leader. chain belongs to the catalog that it brings.
type joinAnswer struct {
	place  catalog.JoinAnswer
	leader string
	chain  uint64
}

type casRequest struct {
	header header
	ops    []catalog.Op
	guard  *catalog.Predicate
	id     catalog.RequestID
}

type groupChange struct {
	header header
	change governor.GroupChange
}

type transferRequest struct {
	header header
	group  uint8
	to     uint64
}

type hello struct{ header header }

// report is what an instance tells the catalog's leader.
type report struct {
	header  header
	applied uint64
	state   lifecycle.State
	status  raftgroup.Status
	members []raftgroup.Member
	schema  schemaReport
	// followed is how far the replicaset has followed the schema.
	followed uint64
}

// letter of a raft group, with the content of a snapshot if it brings one.
type packet struct {
	header   header
	group    uint8
	raw      []byte
	snapshot *groupSnapshot
	arrived  func(ok bool)
}

var errTimeout = errors.New("no answer in time")

func (i *instance) header() header {
	id := i.disk.identity
	return header{id.ClusterUUID, id.InstanceUUID, id.Epoch, id.RaftID, i.catalog.g.Term(), i.address}
}

func (c *cluster) delayOf() time.Duration {
	d := c.between(500*time.Microsecond, c.opt.delay)
	if !c.healed && c.chance(c.opt.slow) {
		d += c.between(0, c.opt.slowDelay)
	}
	return d
}

// carry takes something from one instance to whoever is at an address, or loses it, or brings it more than once.
func (c *cluster) carry(from *instance, what any, address string, deliver func(to *instance)) {
	c.stats.messages++
	c.count(from, what)
	once := func(d time.Duration) {
		c.after(d, func() {
			if to := c.routes[address]; to != nil && to.up && !c.cut[link{from.no, to.no}] {
				to.own(0, func() { deliver(to) })
			}
		})
	}
	if from.address == address {
		once(0)
		return
	}
	if !c.healed && c.chance(c.opt.loss) {
		return
	}
	once(c.delayOf())
	for !c.healed && c.chance(c.opt.duplicates) {
		late := c.delayOf()
		if c.chance(c.opt.replays) {
			late = c.between(0, 10*time.Second)
		}
		once(late)
	}
}

// call asks whoever is at an address; done is called once, unless the process ends before.
func (i *instance) call(address string, req any, timeout time.Duration, done func(answer any, err error)) {
	c := i.c
	c.stats.calls++
	life, open := i.life, true
	finish := func(answer any, err error) {
		if open && i.life == life && i.up {
			open = false
			done(answer, err)
		}
	}
	i.own(timeout, func() { finish(nil, errTimeout) })
	c.carry(i, req, address, func(to *instance) {
		to.serve(req, func(answer any, err error) {
			c.carry(to, "answer", i.address, func(back *instance) {
				if back == i {
					finish(answer, err)
				}
			})
		})
	})
}

// serve answers a call as the instance does in its stage.
func (i *instance) serve(req any, reply func(answer any, err error)) {
	switch req := req.(type) {
	case discovery.Request:
		i.serveDiscovery(req, reply)
	case joinRequest:
		i.serveJoin(req, reply)
	default:
		i.serveMember(req, reply)
	}
}

func (i *instance) serveDiscovery(req discovery.Request, reply func(any, error)) {
	if i.machine != nil {
		if answer := i.discovery(discovery.Receive{From: 1, Request: req}); answer != nil {
			reply(answer, nil)
		}
		return
	}
	leader, uuid := "", ""
	switch e := i.disk.entrypoint; {
	case i.catalog != nil:
		leader, uuid = i.leaderAddress(), i.disk.identity.ClusterUUID
	case i.disk.identity != nil:
		uuid = i.disk.identity.ClusterUUID
	case e != nil && e.Kind == "boot":
		leader, uuid = i.address, e.ClusterUUID
	case e != nil:
		leader, uuid = e.Leader, e.ClusterUUID
	}
	reply(discovery.AnswerAsMember("demo", leader, uuid, req), nil)
}

// leaderAddress is where the catalog's leader is, empty if unknown.
func (i *instance) leaderAddress() string {
	id := i.catalog.g.Status().LeaderID
	if id == i.catalog.id {
		return i.address
	}
	return i.addressOf(groupCatalog, id)
}

// addressOf is where a member of a group is reached: by what it told, or by the catalog.
func (i *instance) addressOf(group uint8, id uint64) string {
	if group == groupData {
		rows := i.cat.byDataID()
		if id = rows[id]; id == 0 {
			return ""
		}
	}
	if address, ok := i.told[id]; ok {
		return address
	}
	return i.cat.view.PeerAddress(id, catalog.ConnIproto)
}

func (i *instance) serveJoin(req joinRequest, reply func(any, error)) {
	if i.catalog == nil {
		return // who asks has to ask again
	}
	if !i.catalog.g.Leading() {
		reply(joinAnswer{leader: i.leaderAddress()}, nil)
		return
	}
	if !i.c.point(i, "is asked") {
		return
	}
	rs := i.c.newUUID()
	i.planJoin(req, rs, 3, reply)
}

// planJoin gives a place, planned again if the catalog has changed meanwhile.
func (i *instance) planJoin(req joinRequest, rs string, tries int, reply func(any, error)) {
	op, guard, err := catalog.PlanJoin(i.cat.view, req.JoinRequest, rs)
	if err != nil {
		reply(nil, err)
		return
	}
	guard.Term = i.catalog.g.Term()
	i.cat.propose(proposal{ops: []catalog.Op{op}, guard: &guard, done: func(_ catalog.Result, err error) {
		if err != nil && tries > 0 && i.catalog.g.Leading() {
			i.own(10*time.Millisecond, func() { i.planJoin(req, rs, tries-1, reply) })
			return
		}
		if err != nil {
			reply(nil, err)
			return
		}
		// After the entry has been applied, not in the middle of it.
		i.own(0, func() { i.answerJoin(req, reply) })
	}})
}

func (i *instance) answerJoin(req joinRequest, reply func(any, error)) {
	answer, err := catalog.AnswerJoin(i.cat.view, req.InstanceUUID)
	if err != nil {
		reply(nil, err)
		return
	}
	pos := i.catalog.g.Position()
	if index, _ := i.cat.view.Position(); index != pos.Index {
		reply(nil, errcode.New(errcode.RaftLogUnavailable, "the catalog is being changed"))
		return
	}
	answer.Leader, answer.Snapshot = i.address, encodeCatalog(i.c, i.cat.view, pos)
	if !i.c.point(i, "has an answer") {
		return
	}
	reply(joinAnswer{place: answer, chain: i.catalog.at.chain}, nil)
}

// admit refuses a message of another cluster, of one that is expelled, and of one that was replaced.
func (i *instance) admit(h header) error {
	id := i.disk.identity
	if i.catalog == nil {
		return errcode.New(errcode.Loading, i.stage.String())
	}
	if h.cluster != id.ClusterUUID || h.epoch != id.Epoch {
		i.c.failf("instance %d of cluster %s hears one of cluster %s", i.no, id.ClusterUUID, h.cluster)
	}
	if err := catalog.CheckMember(i.cat.view, h.from, h.raftID); err != nil && !errcode.Is(err, errcode.NoSuchInstance) {
		return err
	}
	if i.gov.heard == nil {
		i.gov.heard = map[uint64]heardReport{}
	}
	spoke := i.gov.heard[h.raftID]
	spoke.at = i.c.now
	i.gov.heard[h.raftID] = spoke
	if i.cat.view.PeerAddress(h.raftID, catalog.ConnIproto) != h.address {
		i.told[h.raftID] = h.address
	} else {
		delete(i.told, h.raftID)
	}
	return nil
}

func (i *instance) serveMember(req any, reply func(any, error)) {
	switch req := req.(type) {
	case hello:
		if err := i.admit(req.header); err != nil {
			reply(nil, err)
			return
		}
		reply(hello{i.header()}, nil)
	case report:
		err := i.admit(req.header)
		if err == nil {
			i.noteReport(req)
		}
		reply(nil, err)
	case casRequest:
		if err := i.admit(req.header); err != nil {
			reply(nil, err)
			return
		}
		i.cat.propose(proposal{ops: req.ops, guard: req.guard, id: req.id,
			done: func(res catalog.Result, err error) { reply(res, err) }})
	case groupChange:
		if err := i.admitGovernor(req.header); err != nil {
			reply(nil, err)
			return
		}
		reply(nil, i.changeData(req.change))
	case transferRequest:
		if err := i.admitGovernor(req.header); err != nil {
			reply(nil, err)
			return
		}
		reply(nil, i.transfer(req.group, req.to))
	}
}

// admitGovernor refuses a governor whose term is over.
func (i *instance) admitGovernor(h header) error {
	if err := i.admit(h); err != nil {
		return err
	}
	if now := i.catalog.g.Term(); h.term < now {
		return errcode.New(errcode.TermMismatch, h.term, now)
	}
	return nil
}

// introduce says hello to every address that might be a member's, until it is answered.
func (i *instance) introduce() {
	asked := map[string]bool{i.address: true}
	list := i.peers()
	for _, p := range i.cat.view.PeerAddresses() {
		list = append(list, p.Address)
	}
	for _, address := range list {
		if asked[address] {
			continue
		}
		asked[address] = true
		pause := 200 * time.Millisecond
		var say func()
		say = func() {
			i.call(address, hello{i.header()}, time.Second, func(answer any, err error) {
				if h, ok := answer.(hello); err == nil && ok && h.header.cluster == i.disk.identity.ClusterUUID {
					_ = i.admit(h.header)
					return
				}
				if i.heed(err); i.gone {
					return
				}
				i.own(pause, say)
				pause = min(2*pause, 5*time.Second)
			})
		}
		say()
	}
}

// askAround says hello to some member as long as no leader is heard: who was expelled while it was silent is told so, since
// its groups do not know it any more.
func (i *instance) askAround() {
	list := i.peers()
	for _, p := range i.cat.view.PeerAddresses() {
		list = append(list, p.Address)
	}
	if i.catalog.g.Status().LeaderID != 0 {
		return
	}
	i.call(list[i.c.rng.IntN(len(list))], hello{i.header()}, time.Second, func(answer any, err error) {
		if h, ok := answer.(hello); ok && err == nil {
			_ = i.admit(h.header)
			return
		}
		i.heed(err)
	})
}

// heed ends an instance that is told that it is a member no more.
func (i *instance) heed(err error) {
	if errcode.Is(err, errcode.InstanceExpelled) {
		i.c.checkExpelled(i)
		i.leave(err.Error())
	}
}

// sendRaft gives a message to the network; what becomes of a snapshot is reported to the sender.
func (i *instance) sendRaft(r *replica, m raftgroup.Message) {
	c := i.c
	raw, err := m.Append(nil)
	if err != nil {
		c.failf("encode: %v", err)
	}
	p := packet{header: i.header(), group: r.group, raw: raw}
	to, life := m.To(), i.life
	if pos, ok := m.Snapshot(); ok {
		ok := false
		p.snapshot = r.log.snapshotAt(pos.Index)
		p.arrived = func(taken bool) { ok = ok || taken }
		i.own(c.between(20*time.Millisecond, 500*time.Millisecond), func() {
			if i.life == life {
				r.g.ReportSnapshot(to, ok)
				r.drain()
			}
		})
		if p.snapshot == nil {
			return
		}
	}
	address := i.addressOf(r.group, to)
	if address == "" {
		r.g.ReportUnreachable(to)
		return
	}
	c.carry(i, m, address, func(to *instance) { to.receive(p) })
}

func (i *instance) receive(p packet) {
	if i.catalog == nil || i.admit(p.header) != nil {
		return
	}
	r := i.catalog
	if p.group == groupData {
		r = i.data
	}
	m, err := raftgroup.DecodeMessage(p.raw)
	if err != nil {
		i.c.failf("decode: %v", err)
	}
	if m.To() != r.id {
		return
	}
	if p.snapshot != nil {
		r.log.keep(*p.snapshot)
		p.arrived(true)
	}
	r.makeUp()
	_ = r.g.Step(i.clock(), m)
	r.drain()
}
