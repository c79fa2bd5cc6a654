package sim

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/discovery"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// directory is a data directory: what of each file is durable.
type directory struct {
	discovery  *datadir.DiscoveryRecord
	entrypoint *datadir.Entrypoint
	identity   *datadir.Identity
	config     bool
	logs       [3]*diskLog // by group
}

// instance is a process on a machine with a data directory.
type instance struct {
	c       *cluster
	no      uint64
	moves   int // how often its address changed
	address string
	name    string // as its operator gives it, empty at first
	// known are the instances in its list of peers, which its operator keeps up to date from start to start.
	known  []uint64
	domain map[string]string
	disk   directory

	// rate is how fast the clock goes, zero what it showed at bootedAt.
	rate           float64
	bootedAt, zero time.Duration
	life           int
	up, gone       bool // gone: it is expelled, or its operator took it away
	stopping       bool
	held           bool // its files are lost, and it waits for its permit
	paused         time.Duration
	stage          lifecycle.Stage
	state          lifecycle.State
	machine        *discovery.Machine
	tickAt         time.Duration

	catalog, data *replica
	cat           *catalogMachine
	// asked: this process has asked to be Online.
	asked bool
	// told are the addresses that instances told of themselves, by raft id.
	told map[uint64]string
	gov  governing
	work schemaWork
	// membersOf is the catalog index of the last change of the data group's members.
	membersOf uint64
}

func addressOf(no uint64, moves int) string { return fmt.Sprintf("i%d-%d:1", no, moves) }

func (c *cluster) newInstance() *instance {
	i := &instance{c: c, no: uint64(len(c.instances) + 1), rate: 1}
	if c.opt.drift {
		i.rate = []float64{1 / 1.0488, 1.0488, 1 + 0.0488*(2*c.rng.Float64()-1)}[c.rng.IntN(3)]
	}
	i.address = addressOf(i.no, 0)
	if c.chance(0.5) {
		i.domain = map[string]string{"zone": fmt.Sprint(c.rng.IntN(3))}
	}
	c.instances = append(c.instances, i)
	c.routes[i.address] = i
	i.boot()
	return i
}

// peers is its list of peers.
func (i *instance) peers() []string {
	var list []string
	for _, no := range i.known {
		list = append(list, i.c.instances[no-1].address)
	}
	return list
}

// boot starts the machine: its boot-time clock begins anew.
func (i *instance) boot() { i.bootedAt, i.zero = i.c.now, i.c.between(time.Second, time.Minute) }

func (i *instance) clock() time.Duration {
	return i.zero + time.Duration(float64(i.c.now-i.bootedAt)*i.rate)
}

// own makes an event of this life of the process; a pause puts it off.
func (i *instance) own(d time.Duration, do func()) {
	life := i.life
	var at func()
	at = func() {
		switch {
		case !i.up || i.life != life:
		case i.paused > i.c.now:
			i.c.after(i.paused-i.c.now, at)
		default:
			do()
		}
	}
	i.c.after(d, at)
}

// every repeats as long as the process lives.
func (i *instance) every(d time.Duration, do func()) {
	i.own(d, func() {
		do()
		i.every(d, do)
	})
}

// durable does a durable step, unless the process crashes before or after it.
func (i *instance) durable(what string, write func()) (alive bool) {
	c := i.c
	crash := !c.healed && c.chance(c.opt.crashAtStep)
	if crash && c.chance(0.5) {
		c.stats.stepCrashes++
		i.crash("before "+what, true)
		return false
	}
	if !c.point(i, "before "+what) {
		return false
	}
	write()
	c.notef("%d: %s", i.no, what)
	if !c.point(i, "after "+what) {
		return false
	}
	if crash {
		c.stats.stepCrashes++
		i.crash("after "+what, true)
	}
	return !crash
}

// crash ends the process, or the machine with the power, and starts it again some time later.
func (i *instance) crash(where string, power bool) {
	c := i.c
	c.notef("%d ends %s, power lost: %t", i.no, where, power)
	c.stats.crashes++
	i.end(power)
	down := c.between(10*time.Millisecond, c.opt.down)
	if c.healed {
		down = 10 * time.Millisecond
	}
	i.startLater(down)
}

func (i *instance) end(power bool) {
	for _, r := range []*replica{i.catalog, i.data} {
		if r != nil {
			r.tear()
		}
	}
	i.up, i.machine, i.catalog, i.data, i.cat, i.stopping = false, nil, nil, nil, nil, false
	i.life++
	if power {
		i.boot()
	}
}

func (i *instance) startLater(d time.Duration) {
	life := i.life
	i.c.after(d, func() {
		if i.life == life && !i.up && !i.gone && !i.held {
			i.start()
		}
	})
}

// listing is what a look at the directory finds.
func (d *directory) listing() (l datadir.Listing) {
	if d.identity != nil {
		l.Identity = datadir.Found[datadir.Identity]{State: datadir.Readable, Value: *d.identity}
	}
	if d.entrypoint != nil {
		l.Entrypoint = datadir.Found[datadir.Entrypoint]{State: datadir.Readable, Value: *d.entrypoint}
	}
	if d.discovery != nil {
		l.Discovery = datadir.Found[datadir.DiscoveryRecord]{State: datadir.Readable, Value: *d.discovery}
	}
	if d.config {
		l.Config = datadir.Config{Entries: 1, State: datadir.Readable}
	}
	for n, g := range []*datadir.Group{groupCatalog: &l.Catalog, groupData: &l.Data} {
		if g != nil && d.logs[n] != nil {
			*g = datadir.Group{Entries: 2, Snapshot: true, Log: true}
		}
	}
	return l
}

// start is the parent's look and the child's beginning.
func (i *instance) start() {
	c := i.c
	i.life++
	i.up, i.paused, i.asked, i.tickAt = true, 0, false, -1
	i.told, i.gov, i.state = map[uint64]string{}, governing{}, lifecycle.Unconfigured
	i.work = schemaWork{}
	v := datadir.Look(i.disk.listing())
	i.stage = v.Begin.Stage()
	c.notef("%d starts: %s", i.no, v.Begin)
	if v.Wipe && !i.durable("wipe", func() { i.disk.logs, i.disk.config = [3]*diskLog{}, false }) {
		return
	}
	if len(v.Leftovers) > 0 && !i.durable("leftovers", func() { i.disk.entrypoint, i.disk.discovery = nil, nil }) {
		return
	}
	switch v.Begin {
	case datadir.BeginDiscover:
		i.discover()
	case datadir.BeginBoot:
		i.own(c.between(0, 300*time.Millisecond), i.makeCluster)
	case datadir.BeginJoin:
		i.join()
	case datadir.BeginRestart:
		i.own(c.between(0, 500*time.Millisecond), i.postjoin)
	default:
		c.failf("instance %d: %s: %+v", i.no, v.Begin, v.Cause)
	}
}

// discover runs the discovery core.
func (i *instance) discover() {
	record := discovery.Record{ID: i.c.newUUID()}
	if d := i.disk.discovery; d != nil {
		record = discovery.Record{ID: d.ID, Peers: d.Peers, Decision: d.Decision}
	}
	i.machine = new(discovery.Machine)
	i.discovery(discovery.Start{Record: record, ClusterName: "demo", Own: i.address, Peers: i.peers(), CanBoot: true})
}

// discovery gives an event to the core and carries its effects out.
func (i *instance) discovery(event discovery.Event) (answer any) {
	for _, effect := range i.machine.Step(i.clock(), event) {
		switch e := effect.(type) {
		case discovery.Save:
			r := &datadir.DiscoveryRecord{ID: e.Record.ID, Peers: e.Record.Peers, Decision: e.Record.Decision}
			if !i.durable("discovery record, decision \""+r.Decision+"\"", func() { i.disk.discovery = r }) {
				return nil
			}
		case discovery.Call:
			i.call(e.Address, e.Request, discovery.CallTimeout, func(answer any, err error) {
				switch {
				case i.machine == nil:
				case err != nil:
					i.discovery(discovery.CallFailed{Address: e.Address, Round: e.Request.Round, Text: err.Error()})
				default:
					i.discovery(discovery.Response{Address: e.Address, Round: e.Request.Round, Answer: answer.(discovery.Answer)})
				}
			})
		case discovery.Reply:
			answer = e.Answer
		case discovery.Conclude:
			i.own(i.c.between(0, 100*time.Millisecond), func() { i.concluded(e) })
		}
	}
	i.wakeDiscovery()
	return answer
}

func (i *instance) wakeDiscovery() {
	at, ok := i.machine.WakeAt()
	now := i.clock()
	if !ok || i.tickAt >= now && at >= i.tickAt {
		return
	}
	i.tickAt = max(at, now)
	i.own(time.Duration(float64(i.tickAt-now)/i.rate)+time.Microsecond, func() {
		if i.machine != nil {
			i.tickAt = -1
			i.discovery(discovery.Tick{})
		}
	})
}

// concluded writes the entrypoint; the next child finds it.
func (i *instance) concluded(d discovery.Conclude) {
	e := &datadir.Entrypoint{Kind: datadir.EntryJoin, InstanceUUID: i.c.newUUID(), ClusterUUID: d.ClusterUUID, Leader: d.Leader,
		Peers: i.machine.Record().Peers, InstanceName: i.name}
	if d.Boot {
		e.Kind, e.ClusterUUID, e.ReplicasetUUID = datadir.EntryBoot, i.c.newUUID(), i.c.newUUID()
	}
	if i.durable("entrypoint "+e.Kind, func() {
		i.disk.entrypoint = e
		if d.Boot {
			i.c.checkCluster(i, e.ClusterUUID)
		}
	}) {
		i.end(false)
		i.startLater(i.c.between(10*time.Millisecond, 200*time.Millisecond))
	}
}

// steps does durable steps one after the other.
func (i *instance) steps(then func(), steps ...func() bool) {
	if len(steps) == 0 {
		then()
		return
	}
	i.own(i.c.between(time.Millisecond, 20*time.Millisecond), func() {
		if steps[0]() {
			i.steps(then, steps[1:]...)
		}
	})
}

// makeCluster is stage Boot.
func (i *instance) makeCluster() {
	c := i.c
	p := i.bootstrapParams()
	entries, err := catalog.Bootstrap(p)
	if err != nil {
		c.failf("bootstrap: %v", err)
	}
	state := catalog.New()
	state.SetPosition(1, catalog.BootstrapTerm)
	pos := raftgroup.Position{Index: 1, Term: 1, Voters: []uint64{catalog.FirstRaftID}}
	log := newDiskLog(pos, applied{1, 1, 1}, encodeCatalog(c, state, pos), catalog.FirstRaftID)
	for n, data := range entries {
		log.entries = append(log.entries, raftgroup.Entry{Index: uint64(n + 2), Term: 1, Data: data})
	}
	log.hard.Commit = log.last()
	id := datadir.Identity{ClusterName: p.ClusterName, ClusterUUID: p.ClusterUUID, Epoch: firstEpoch, InstanceName: "default_1_1",
		InstanceUUID: p.InstanceUUID, ReplicasetName: "default_1", ReplicasetUUID: p.ReplicasetUUID, Tier: p.Tier,
		RaftID: catalog.FirstRaftID, DataRaftID: catalog.FirstDataRaftID}
	i.become(id, log, catalog.FirstDataRaftID, func() { c.stats.boots++ })
}

// become is what Boot and Join have in common: the logs, the configuration, and last the identity.
func (i *instance) become(id datadir.Identity, log *diskLog, bootstrapID uint64, done func()) {
	i.steps(
		func() {
			done()
			i.postjoin()
		},
		func() bool { return i.durable("catalog", func() { i.disk.logs[groupCatalog] = log }) },
		func() bool {
			return i.durable("data", func() {
				pos := raftgroup.Position{Index: 1, Term: 1, Voters: []uint64{bootstrapID}}
				vote := uint64(0)
				if bootstrapID == id.DataRaftID {
					vote = id.DataRaftID
				}
				i.disk.logs[groupData] = newDiskLog(pos, applied{1, 1, 1}, nil, vote)
			})
		},
		func() bool { return i.durable("config", func() { i.disk.config = true }) },
		func() bool {
			return i.durable("identity", func() {
				i.c.checkIdentity(i, id, bootstrapID)
				i.disk.identity = &id
			})
		},
		func() bool {
			return i.durable("leftovers", func() { i.disk.entrypoint, i.disk.discovery = nil, nil })
		},
	)
}

func newDiskLog(pos raftgroup.Position, at applied, content []byte, vote uint64) *diskLog {
	return &diskLog{
		hard: raftgroup.HardState{Term: pos.Term, Vote: vote, Commit: pos.Index}, base: pos.Index, start: pos.Index,
		snapshots: []groupSnapshot{{pos, at, content}},
	}
}

func encodeCatalog(c *cluster, s *catalog.State, pos raftgroup.Position) []byte {
	var b bytes.Buffer
	if err := catalog.EncodeSnapshot(&b, catalog.Snapshot{State: s, Voters: pos.Voters,
		Learners: pos.Learners, Outgoing: pos.Outgoing, LearnersNext: pos.LearnersNext}); err != nil {
		c.failf("encode a snapshot: %v", err)
	}
	return b.Bytes()
}

// The pauses between requests for a place.
const (
	joinPause    = 250 * time.Millisecond
	joinPauseMax = 5 * time.Second
	joinCall     = 2 * time.Second
)

// join is stage Join: it asks the leader until there is an answer.
func (i *instance) join() {
	e := i.disk.entrypoint
	req := joinRequest{catalog.JoinRequest{ClusterName: "demo", InstanceUUID: e.InstanceUUID, InstanceName: e.InstanceName,
		FailureDomain: i.domain, Version: "0.1.0", Address: i.address}}
	leader, pause, turn := e.Leader, joinPause, 0
	var ask func()
	ask = func() {
		address := leader
		if address == "" {
			peers := append(slices.Clone(e.Peers), i.peers()...)
			address = peers[turn%len(peers)]
			turn++
		}
		i.call(address, req, joinCall, func(answer any, err error) {
			i.c.notef("%d asked %s for a place: %v", i.no, address, err)
			if a, ok := answer.(joinAnswer); err == nil && ok && a.place.RaftID != 0 {
				i.joined(a)
				return
			} else if ok && a.leader != "" && a.leader != address {
				leader = a.leader
				i.own(0, ask)
				return
			}
			if err != nil && catalog.JoinRefusalIsFinal(err) {
				i.refused(err)
				return
			}
			// All are asked between two pauses.
			leader = ""
			if turn%max(1, len(e.Peers)+len(i.known)) == 0 {
				i.own(pause, ask)
				pause = min(2*pause, joinPauseMax)
				return
			}
			i.own(0, ask)
		})
	}
	ask()
}

func (i *instance) joined(a joinAnswer) {
	c := i.c
	if !c.point(i, "gets a place") {
		return
	}
	snap, err := catalog.DecodeSnapshot(bytes.NewReader(a.place.Snapshot))
	if err != nil {
		c.failf("instance %d: the catalog that came with its place: %v", i.no, err)
	}
	row, ok := snap.State.InstanceByUUID(a.place.InstanceUUID)
	if !ok || row.RaftID != a.place.RaftID || row.DataRaftID != a.place.DataRaftID {
		c.failf("instance %d: its place is %+v, the catalog that came with it has %+v", i.no, a.place, row)
	}
	index, term := snap.State.Position()
	pos := raftgroup.Position{Index: index, Term: term, Voters: snap.Voters, Learners: snap.Learners, Outgoing: snap.Outgoing,
		LearnersNext: snap.LearnersNext}
	id := datadir.Identity{ClusterName: "demo", ClusterUUID: a.place.ClusterUUID, Epoch: a.place.Epoch,
		InstanceName: a.place.InstanceName, InstanceUUID: a.place.InstanceUUID, ReplicasetName: a.place.ReplicasetName,
		ReplicasetUUID: a.place.ReplicasetUUID, Tier: a.place.Tier, RaftID: a.place.RaftID, DataRaftID: a.place.DataRaftID}
	log := newDiskLog(pos, applied{index, term, a.chain}, a.place.Snapshot, 0)
	i.become(id, log, a.place.BootstrapRaftID, func() { c.stats.joins++ })
}

// refused ends an instance that cannot get a place: only one that was expelled meanwhile, or whose name is gone.
func (i *instance) refused(err error) {
	if !i.c.checks.mayBeRefused[i.no] {
		i.c.failf("instance %d is refused: %v", i.no, err)
	}
	i.leave(err.Error())
}

// leave takes the instance out of the cluster for ever.
func (i *instance) leave(why string) {
	i.c.notef("%d leaves: %s", i.no, why)
	i.end(false)
	i.gone = true
}

// postjoin opens both groups and begins to serve.
func (i *instance) postjoin() {
	id := i.disk.identity
	i.machine, i.stage, i.state = nil, lifecycle.Postjoin, lifecycle.ConnectingFullmesh
	i.cat = &catalogMachine{i: i}
	rows := &dataMachine{pending: map[uint64]dataWrite{}}
	i.catalog = i.open(groupCatalog, "catalog", id.RaftID, i.cat)
	i.data = i.open(groupData, id.ReplicasetUUID, id.DataRaftID, rows)
	rows.r = i.data
	i.c.notef("%d is %s, raft ids %d and %d, catalog at %d, data at %d", i.no, id.InstanceName, id.RaftID, id.DataRaftID,
		i.catalog.at.index, i.data.at.index)
	for _, r := range []*replica{i.catalog, i.data} {
		length := time.Duration(float64(r.g.TickLength()) / i.rate)
		i.every(length, r.tick)
		i.own(0, r.run)
	}
	i.every(reportEvery, i.report)
	i.every(governEvery, i.govern)
	i.every(followEvery, i.follow)
	i.own(0, i.introduce)
	i.own(0, i.comeOnline)
	i.every(time.Second, i.askAround)
	i.every(50*time.Millisecond, i.connect)
}

// connect moves the state on.
func (i *instance) connect() {
	cat, data := i.catalog.g.Status(), i.data.g.Status()
	wanted := data.Committed
	if i.data.g.Lone() {
		wanted = data.LastIndex
	}
	if i.state == lifecycle.ConnectingFullmesh && cat.LeaderID != 0 && data.LeaderID != 0 && i.data.at.index >= wanted {
		i.state = lifecycle.RolesConfigured
	}
	if row, ok := i.cat.view.InstanceByUUID(i.disk.identity.InstanceUUID); ok && row.Current.Name == lifecycle.Expelled {
		i.c.checkExpelled(i)
		i.leave("it is expelled")
	}
}

// describe is for a run that failed.
func (i *instance) describe() string {
	text := fmt.Sprintf("instance %d: up %t, gone %t, stage %s, state %s", i.no, i.up, i.gone, i.stage, i.state)
	if i.machine != nil {
		text += fmt.Sprintf(", waits: %s", i.machine.Waiting().Text)
	}
	if i.catalog != nil {
		text += fmt.Sprintf("\n  catalog %+v\n  data of %s: %+v", i.catalog.g.Status(), i.disk.identity.ReplicasetName, i.data.g.Status())
		if i.catalog.g.Leading() {
			for _, w := range append(slices.Clone(i.gov.last.Waiting), i.gov.last.Steps...) {
				text += "\n  governor: " + w.Subject + ": " + w.Text
			}
		}
	}
	return text
}
