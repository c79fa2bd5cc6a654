package discovery

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"
)

type timer struct {
	at  time.Duration
	seq int
	run func()
}

type timers []timer

func (t timers) Len() int { return len(t) }
func (t timers) Less(i, j int) bool {
	return t[i].at < t[j].at || t[i].at == t[j].at && t[i].seq < t[j].seq
}
func (t timers) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(x any)   { *t = append(*t, x.(timer)) }
func (t *timers) Pop() any {
	last := len(*t) - 1
	x := (*t)[last]
	*t = (*t)[:last]
	return x
}

// entrypoint is what a discovery ends in.
type entrypoint struct {
	boot         bool
	leader, uuid string
}

// disk is a data directory as far as it matters here.
type disk struct {
	record     Record
	entrypoint *entrypoint
	// identity is the uuid of the cluster that the instance is a member of.
	identity string
}

// host is a machine of the simulated network with one data directory.
type host struct {
	no        int
	addresses []string // the first is the advertised one
	peers     []string
	canBoot   bool
	disk      disk

	up      bool
	life    int // counts the processes, so that nothing reaches a later one
	machine *Machine
	// knowsFrom is when a member knows its leader again.
	knowsFrom time.Duration
	tickAt    time.Duration
	// steps counts the durable steps; it crashes at those in crashAt, before they are done or after.
	steps   int
	crashAt []int
}

type link struct{ from, to *host }

type sim struct {
	rng    *rand.Rand
	faults faults
	now    time.Duration
	seq    int
	timers timers
	hosts  []*host
	routes map[string]*host
	cut    map[link]bool
	// decided are those whose decision to boot is durable, clusters the uuids that are.
	decided  map[*host]bool
	clusters map[string]bool
	// leader leads the cluster now.
	leader        *host
	crashes, lost int
	wrong         string
	sum           uint64
	log           func(format string, args ...any)
}

func (s *sim) percent(p int) bool { return s.now < simHeal && s.rng.IntN(100) < p }

func (s *sim) after(d time.Duration, run func()) {
	s.seq++
	heap.Push(&s.timers, timer{at: s.now + d, seq: s.seq, run: run})
}

// own does something later unless the process has ended by then.
func (s *sim) own(h *host, d time.Duration, run func()) {
	life := h.life
	s.after(d, func() {
		if h.life == life && h.up {
			run()
		}
	})
}

func (s *sim) between(low, high time.Duration) time.Duration {
	return low + time.Duration(s.rng.Int64N(int64(high-low)+1))
}

func (s *sim) note(format string, args ...any) {
	line := fmt.Sprintf("%v ", s.now) + fmt.Sprintf(format, args...)
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%x %s", s.sum, line)
	s.sum = h.Sum64()
	if s.log != nil {
		s.log("%s", line)
	}
}

func (s *sim) failf(format string, args ...any) {
	if s.wrong == "" {
		s.wrong = fmt.Sprintf("at %v: ", s.now) + fmt.Sprintf(format, args...)
	}
}

// durable does a durable step, unless the process crashes before or after it.
func (s *sim) durable(h *host, what string, write func()) (alive bool) {
	h.steps++
	crash := slices.Contains(h.crashAt, h.steps-1) || s.percent(s.faults.crashPercent)
	if crash && s.rng.IntN(2) == 0 {
		s.kill(h, "before "+what)
		return false
	}
	write()
	s.note("%d: %s", h.no, what)
	if crash {
		s.kill(h, "after "+what)
	}
	return !crash
}

func (s *sim) kill(h *host, where string) {
	s.note("%d ends %s", h.no, where)
	s.crashes++
	h.up, h.machine = false, nil
	h.life++
	s.after(s.between(time.Millisecond, 3*time.Second), func() { s.boot(h) })
}

// boot looks at the directory and begins what it means.
func (s *sim) boot(h *host) {
	h.up, h.tickAt = true, -1
	h.life++
	h.knowsFrom = s.now + s.between(0, 3*time.Second)
	switch {
	case h.disk.identity != "":
		s.note("%d is a member", h.no)
		if s.faults.candidate {
			h.machine = new(Machine)
			h.machine.Step(s.now, Start{Record: Record{ID: "0"}, ClusterName: "demo", Own: h.addresses[0]})
		}
		s.crashSomeTime(h)
		return
	case h.disk.entrypoint != nil:
		s.note("%d has an entrypoint", h.no)
		s.own(h, s.between(0, 500*time.Millisecond), func() { s.enter(h) })
		return
	}
	if s.rng.IntN(5) == 0 && s.now < simHeal {
		h.canBoot = !h.canBoot
	}
	record := h.disk.record
	if s.faults.forget {
		record.Peers = nil
	}
	if record.ID == "" {
		record.ID = fmt.Sprintf("%016x", s.rng.Uint64())
	}
	s.note("%d starts as %s, may boot: %t", h.no, record.ID, h.canBoot)
	h.machine = new(Machine)
	s.step(h, Start{Record: record, ClusterName: "demo", Own: h.addresses[0], Peers: h.peers, CanBoot: h.canBoot})
}

// crashSomeTime lets a member be started again now and then.
func (s *sim) crashSomeTime(h *host) {
	if s.percent(2 * s.faults.crashPercent) {
		s.own(h, s.between(0, 3*time.Second), func() { s.kill(h, "as a member") })
	}
}

// step gives an event to the instance and carries its effects out, in order, up to a crash.
func (s *sim) step(h *host, event Event) (answer *Answer) {
	for _, effect := range h.machine.Step(s.now, event) {
		switch effect := effect.(type) {
		case Save:
			if !s.durable(h, fmt.Sprintf("record %v", effect.Record), func() { s.save(h, effect.Record) }) {
				return nil
			}
		case Call:
			s.call(h, effect)
		case Reply:
			answer = &effect.Answer
		case Conclude:
			s.concluded(h, effect)
		}
	}
	if s.percent(s.faults.crashPercent) && s.rng.IntN(4) == 0 {
		s.own(h, 0, func() { s.kill(h, "between steps") })
	}
	if at, ok := h.machine.WakeAt(); ok && (h.tickAt < s.now || at < h.tickAt) {
		h.tickAt = max(at, s.now)
		s.own(h, h.tickAt-s.now, func() {
			if h.machine != nil {
				h.tickAt = -1
				s.step(h, Tick{})
			}
		})
	}
	return answer
}

func (s *sim) save(h *host, r Record) {
	h.disk.record = r
	if r.Decision == DecisionBoot {
		s.decided[h] = true
	}
	if len(s.decided) > 1 {
		s.failf("two instances decided to make the cluster")
	}
}

// concluded checks what was told, and some time later writes the entrypoint.
func (s *sim) concluded(h *host, c Conclude) {
	if !c.Boot {
		if to := s.routes[c.Leader]; to == nil || !s.decided[to] && to.disk.identity == "" {
			s.failf("told leader %s, who neither decided to boot nor is a member", c.Leader)
		}
	}
	s.own(h, s.between(0, time.Second), func() {
		e := &entrypoint{boot: c.Boot, leader: c.Leader, uuid: c.ClusterUUID}
		if c.Boot {
			e.leader, e.uuid = h.addresses[0], fmt.Sprintf("u%016x", s.rng.Uint64())
		}
		alive := s.durable(h, fmt.Sprintf("entrypoint %+v", *e), func() {
			h.disk.entrypoint = e
			if e.boot {
				s.clusters[e.uuid] = true
			}
			if len(s.clusters) > 1 {
				s.failf("two clusters")
			}
		})
		if alive { // the next child
			h.machine = nil
			s.own(h, s.between(0, 300*time.Millisecond), func() { s.enter(h) })
		}
	})
}

// enter runs the entrypoint: wipe, make or join the cluster, identity.
func (s *sim) enter(h *host) {
	e := h.disk.entrypoint
	if !s.durable(h, "wipe", func() {}) {
		return
	}
	if e.boot {
		s.own(h, s.between(0, time.Second), func() {
			s.durable(h, "identity", func() {
				h.disk.identity = e.uuid
				s.leader = h
			})
		})
		return
	}
	var join func()
	join = func() {
		l := s.leader
		if l == nil || !l.up || s.cut[link{h, l}] || s.cut[link{l, h}] || s.percent(s.faults.lossPercent) {
			s.own(h, 250*time.Millisecond, join)
			return
		}
		uuid := l.disk.identity
		if e.uuid != "" && e.uuid != uuid {
			s.failf("%d was told cluster %s, and joins %s", h.no, e.uuid, uuid)
		}
		s.durable(h, "identity", func() { h.disk.identity = uuid })
		if s.rng.IntN(3) == 0 && h.up {
			s.leader = h
		}
	}
	join()
}

func (s *sim) delay() time.Duration {
	if s.now >= simHeal {
		return s.between(time.Millisecond, 5*time.Millisecond)
	}
	return s.between(0, s.faults.delayMax)
}

// gone tells whether a message is lost on its way.
func (s *sim) gone(from, to *host) bool {
	gone := s.cut[link{from, to}] || from != to && s.percent(s.faults.lossPercent)
	if gone {
		s.lost++
	}
	return gone
}

func (s *sim) call(h *host, call Call) {
	back := func(event Event) {
		if h.machine != nil {
			s.step(h, event)
		}
	}
	s.own(h, call.Deadline-s.now, func() {
		back(CallFailed{Address: call.Address, Round: call.Request.Round, Text: "no answer"})
	})
	to := s.routes[call.Address]
	deliver := func() {
		if s.gone(h, to) {
			return
		}
		answer := s.receive(to, call.Request)
		if answer == nil || s.gone(to, h) {
			return
		}
		s.own(h, s.delay(), func() {
			back(Response{Address: call.Address, Round: call.Request.Round, Answer: *answer})
		})
	}
	s.after(s.delay(), deliver)
	if s.percent(s.faults.doublePercent) {
		late := s.delay()
		if s.percent(s.faults.replayPercent) {
			late = s.between(0, 10*time.Second)
		}
		s.after(late, deliver)
	}
}

// receive answers as the instance does in its stage.
func (s *sim) receive(h *host, req Request) *Answer {
	leader, uuid := "", h.disk.identity
	switch {
	case !h.up:
		return nil
	case h.machine != nil:
		return s.step(h, Receive{From: 1, Request: req})
	case h.disk.entrypoint != nil && uuid == "":
		leader, uuid = h.disk.entrypoint.leader, h.disk.entrypoint.uuid
	case s.now >= h.knowsFrom && s.leader != nil:
		leader = s.leader.addresses[0]
	}
	answer := AnswerAsMember("demo", leader, uuid, req)
	return &answer
}

// run plays the simulation to its end and says what was wrong.
func (s *sim) run() error {
	outside := func(h *host) bool { return h.disk.identity == "" }
	for s.timers.Len() > 0 && s.wrong == "" {
		next := heap.Pop(&s.timers).(timer)
		if next.at > simEnd {
			break
		}
		s.now = next.at
		next.run()
		if !slices.ContainsFunc(s.hosts, outside) {
			break
		}
		if s.now > simHeal+5*time.Second && s.nobodyMay() {
			return nil
		}
	}
	switch {
	case s.wrong != "":
		return fmt.Errorf("%s", s.wrong)
	case len(s.clusters) != 1 || len(s.decided) != 1:
		return fmt.Errorf("%d instances decided to make the cluster, there are %d clusters", len(s.decided), len(s.clusters))
	}
	for _, h := range s.hosts {
		if outside(h) && h.machine != nil {
			return fmt.Errorf("%s has no place: %+v", h.addresses[0], h.machine.Waiting())
		}
		if outside(h) || !s.clusters[h.disk.identity] {
			return fmt.Errorf("%s has no place: %+v", h.addresses[0], h.disk)
		}
	}
	return nil
}

func (s *sim) nobodyMay() bool {
	return len(s.decided) == 0 && !slices.ContainsFunc(s.hosts, func(h *host) bool { return h.canBoot })
}
