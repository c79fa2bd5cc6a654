package raftgroup_test

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/cryptotest"

	"github.com/google/uuid"

	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/runner"
	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
	"github.com/lycosadb/lycosa/internal/sys/fault"
)

// peer is one simulated replica: the real core on the real log on a simulated disk.
type peer struct {
	id      uint64
	fs      *fault.FS
	log     *wal.Log
	group   *raftgroup.Group
	writes  []*raftgroup.Write
	applied uint64
	cut     bool
}

// cluster runs peers in one goroutine; every choice comes from rng.
type cluster struct {
	t      *testing.T
	rng    *rand.Rand
	voters []uint64
	peers  map[uint64]*peer
	net    [][]byte
	loss   float64
	// committed is what any replica ever applied; leaders the leader of each term.
	committed map[uint64]string
	leaders   map[uint64]uint64
	top       uint64
	proposals int
	crashes   int
	trace     []byte
}

func newCluster(t *testing.T, seed uint64, n int) *cluster {
	cryptotest.SetGlobalRandom(t, seed)
	c := &cluster{
		t: t, rng: rand.New(rand.NewPCG(seed, uint64(n))), peers: map[uint64]*peer{},
		committed: map[uint64]string{}, leaders: map[uint64]uint64{}, loss: 0.05,
	}
	for id := uint64(1); id <= uint64(n); id++ {
		c.voters = append(c.voters, id)
	}
	for _, id := range c.voters {
		c.peers[id] = &peer{id: id, fs: fault.New()}
		c.start(c.peers[id])
	}
	return c
}

func (c *cluster) fatalf(format string, args ...any) {
	c.t.Helper()
	c.t.Fatalf(format, args...)
}

func (c *cluster) note(format string, args ...any) {
	c.trace = fmt.Appendf(c.trace, format+"\n", args...)
}

// start opens the log and the group of a peer; its state machine begins empty, at the bootstrap position.
func (c *cluster) start(p *peer) {
	for attempt := 0; ; attempt++ {
		log, err := wal.Open(wal.Options{
			FS: p.fs, Dir: "/log", Group: "data", Instance: uuid.UUID{byte(p.id)},
			SegmentBytes: 8 << 10, ReserveBytes: 4 << 10,
		})
		if err == nil {
			p.log = log
			break
		}
		if !errors.Is(err, fault.ErrCrashed) || attempt > 20 {
			c.fatalf("peer %d: %v", p.id, err)
		}
		p.fs.Reboot(c.policy())
	}
	var err error
	p.writes, p.applied = nil, 1
	p.group, err = runner.NewGroup(p.log, raftgroup.Config{
		ID: p.id, Position: raftgroup.Position{Index: 1, Term: 1, Voters: c.voters}, TailBytes: 2 << 10,
		Send: func(m raftgroup.Message) {
			raw, err := m.Append(nil)
			if err != nil {
				c.fatalf("encode: %v", err)
			}
			if c.rng.Float64() >= c.loss {
				c.net = append(c.net, raw)
			}
		},
	})
	if err != nil {
		c.fatalf("peer %d: %v", p.id, err)
	}
	c.note("start %d last %d", p.id, p.log.LastIndex())
	if p.group.Lone() {
		_ = p.group.Campaign()
	}
}

func (c *cluster) policy() fault.Policy {
	switch c.rng.IntN(4) {
	case 0:
		return fault.LoseUnsynced
	case 1:
		return fault.KeepUnsynced
	case 2:
		return fault.TearLast(c.rng.IntN(4))
	}
	return fault.Random(c.rng, 0.5)
}

// drain does all work of a peer but its disk writes.
func (c *cluster) drain(p *peer) {
	for {
		rd, ok := p.group.Ready()
		if !ok {
			return
		}
		if rd.Write != nil {
			p.writes = append(p.writes, rd.Write)
		}
		for _, e := range rd.Committed {
			c.apply(p, e)
		}
		if len(rd.Committed) > 0 {
			p.group.Applied()
		}
		if s := p.group.Status(); s.Role == raftgroup.RoleLeader {
			if other, ok := c.leaders[s.Term]; ok && other != p.id {
				c.fatalf("term %d has two leaders, %d and %d", s.Term, other, p.id)
			}
			c.leaders[s.Term] = p.id
		}
	}
}

func (c *cluster) apply(p *peer, e raftgroup.Entry) {
	if e.Index != p.applied+1 {
		c.fatalf("peer %d applies %d after %d", p.id, e.Index, p.applied)
	}
	p.applied = e.Index
	what := fmt.Sprintf("%d %s", e.Term, e.Data)
	if was, ok := c.committed[e.Index]; ok && was != what {
		c.fatalf("index %d was committed as %q, peer %d has %q", e.Index, was, p.id, what)
	}
	c.committed[e.Index] = what
	c.top = max(c.top, e.Index)
	c.note("apply %d %d %s", p.id, e.Index, what)
}

// write does the oldest disk write of a peer, which may be the moment of a crash.
func (c *cluster) write(p *peer, faults bool) {
	if len(p.writes) == 0 {
		return
	}
	w := p.writes[0]
	if faults && c.rng.IntN(60) == 0 {
		p.fs.CrashAt(1 + c.rng.IntN(3))
	}
	err := p.log.Append(wal.Batch{HardState: w.HardState, Entries: w.Entries})
	if err == nil && c.rng.IntN(8) == 0 {
		p.log.NoteCommit(p.applied)
		if err = p.log.Mark(); err == nil {
			err = p.log.EnsureRoom()
		}
	}
	if err != nil {
		if !errors.Is(err, fault.ErrCrashed) {
			c.fatalf("peer %d: %v", p.id, err)
		}
		c.crash(p)
		return
	}
	p.writes = p.writes[1:]
	p.group.Persisted(w)
	c.drain(p)
}

func (c *cluster) crash(p *peer) {
	c.crashes++
	p.fs.Reboot(c.policy())
	c.note("crash %d", p.id)
	c.start(p)
	c.drain(p)
}

func (c *cluster) deliver() {
	if len(c.net) == 0 {
		return
	}
	i := c.rng.IntN(min(len(c.net), 8))
	raw := c.net[i]
	if c.rng.IntN(20) > 0 {
		c.net = append(c.net[:i], c.net[i+1:]...)
	}
	m, err := raftgroup.DecodeMessage(raw)
	if err != nil {
		c.fatalf("%v", err)
	}
	p := c.peers[m.To()]
	if p.cut || c.peers[m.From()].cut {
		return
	}
	// Errors are of messages that came too late.
	_ = p.group.Step(m)
	c.drain(p)
}

func (c *cluster) propose(p *peer) {
	if !p.group.Leading() {
		return
	}
	c.drain(p)
	if !p.group.Leading() {
		return
	}
	want, term := p.group.LastIndex()+1, p.group.Term()
	if newest := c.committed[p.applied]; !strings.HasPrefix(newest, fmt.Sprint(term, " ")) {
		c.fatalf("peer %d leads term %d and has applied no entry of it: %q", p.id, term, newest)
	}
	c.proposals++
	index, err := p.group.Propose(fmt.Appendf(nil, "value %d of %d", c.proposals, p.id))
	if err != nil {
		return
	}
	if index != want || p.group.Term() != term {
		c.fatalf("proposal got index %d, promised was %d", index, want)
	}
	c.drain(p)
}

// step is one random event.
func (c *cluster) step(faults bool) {
	p := c.peers[c.voters[c.rng.IntN(len(c.voters))]]
	switch n := c.rng.IntN(100); {
	case n < 15:
		p.group.Tick()
		c.drain(p)
	case n < 55:
		c.deliver()
	case n < 80:
		c.write(p, faults)
	case n < 97:
		c.propose(p)
	case n < 98 && faults && c.rng.IntN(5) == 0:
		c.crash(p)
	case n < 99 && faults && c.rng.IntN(10) == 0:
		p.cut = !p.cut
		c.note("cut %d %t", p.id, p.cut)
	}
}

// settle heals everything and runs until all peers have applied the same, new entries included.
func (c *cluster) settle() {
	c.loss = 0
	for _, p := range c.peers {
		p.cut = false
	}
	goal := uint64(0)
	for i := 0; i < 200_000; i++ {
		c.step(false)
		if i == 20_000 {
			goal = c.top + 1
		}
		done := goal > 0
		for _, id := range c.voters {
			done = done && c.peers[id].applied >= goal
		}
		if done {
			return
		}
	}
	for _, id := range c.voters {
		c.t.Logf("peer %d: %+v", id, c.peers[id].group.Status())
	}
	c.fatalf("the group does not come to rest: committed to %d, goal %d", c.top, goal)
}

func simulate(t *testing.T, seed uint64, peers, events int) *cluster {
	c := newCluster(t, seed, peers)
	for range events {
		c.step(true)
	}
	c.settle()
	return c
}

func TestSimulatedGroups(t *testing.T) {
	for _, peers := range []int{1, 3} {
		crashes, committed, terms := 0, uint64(0), 0
		for seed := range uint64(16) {
			c := simulate(t, seed, peers, 5000)
			crashes += c.crashes
			committed += c.top
			terms += len(c.leaders)
		}
		t.Logf("%d peers: %d crashes, %d entries committed, %d terms with a leader", peers, crashes, committed, terms)
		if crashes < 50 || committed < 5000 || terms < 30 {
			t.Errorf("%d peers: the simulation does not reach far enough", peers)
		}
	}
}

func TestSimulationRepeats(t *testing.T) {
	sum := func() uint64 {
		h := fnv.New64a()
		_, _ = h.Write(simulate(t, 7, 3, 4000).trace)
		return h.Sum64()
	}
	if a, b := sum(), sum(); a != b {
		t.Errorf("one seed ran in two ways: %x and %x", a, b)
	}
}
