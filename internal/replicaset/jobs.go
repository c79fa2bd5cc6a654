package replicaset

import (
	"slices"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
)

// job is a statement that looks at all rows of a space, a slice in each turn, and its client, who waits.
type job struct {
	build *box.Build
	sink  Sink
	sync  uint64
}

// JobEvent tells how a statement that takes long gets on.
type JobEvent struct {
	Build *box.Build
	// Ended is set when it is over: Err is nil if its entry is on its way to be committed.
	Ended bool
	Err   error
}

// OnJob has fn called, on the loop's goroutine, when a statement begins to take long, with each of its slices, and when it
// ends. To be set before the loop starts.
func (m *Machine) OnJob(fn func(JobEvent)) { m.onJob = fn }

func (m *Machine) tell(ev JobEvent) {
	if m.onJob != nil {
		m.onJob(ev)
	}
}

func (m *Machine) begin(build *box.Build, sink Sink, sync uint64) {
	m.jobs = append(m.jobs, job{build, sink, sync})
	m.tell(JobEvent{Build: build})
}

// Busy tells that Run has work to do even if it is given no requests.
func (m *Machine) Busy() bool { return len(m.jobs) > 0 }

// work gives the oldest job one slice and answers its client when it is done. Jobs that nobody waits for are given up.
func (m *Machine) work() {
	m.jobs = slices.DeleteFunc(m.jobs, func(j job) bool {
		g, ok := j.sink.(goner)
		if !ok || !g.Gone() {
			return false
		}
		m.engine.Abandon(j.build)
		m.answer(j, nil, errcode.New(errcode.SessionClosed))
		return true
	})
	if len(m.jobs) == 0 {
		return
	}
	j := m.jobs[0]
	tup, err := m.engine.Continue(j.build)
	if err == error(j.build) {
		m.tell(JobEvent{Build: j.build})
		return
	}
	m.jobs = slices.Delete(m.jobs, 0, 1)
	m.answer(j, tup, err)
}

// answer holds the reply of a job until the open version is committed.
func (m *Machine) answer(j job, tup []byte, err error) {
	frames := m.reply(nil, j.sync, tup, err)
	m.held = append(m.held, held{batch: &Batch{Sink: j.sink, Writes: []Write{{Sync: j.sync, wrote: err == nil}}}, frames: frames})
	m.tell(JobEvent{Build: j.build, Ended: true, Err: err})
}

// GiveUp ends all jobs with an error: this replica does not lead any more, or it stops. What they have made is dropped;
// none of it was ever proposed.
func (m *Machine) GiveUp(err error) {
	for _, j := range m.jobs {
		m.engine.Abandon(j.build)
		j.sink.Complete(iproto.AppendError(nil, j.sync, m.engine.PublishedSchema().Version, errcode.Of(err)))
		m.tell(JobEvent{Build: j.build, Ended: true, Err: err})
	}
	clear(m.jobs)
	m.jobs = m.jobs[:0]
	if published := m.engine.Published(); m.running <= published {
		// Nothing is in flight. The numbers of versions in which there were only slices may come again.
		m.engine.Rollback(published)
	}
}
