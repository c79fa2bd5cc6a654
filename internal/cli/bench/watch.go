package bench

import (
	"time"

	"golang.org/x/sys/unix"
)

// watch takes the samples that a run begins and ends with, and tells how it goes.
type watch struct {
	o           *Options
	p           *phase
	threads     []*thread
	first, last sample
}

// sample is what was used and done at one moment.
type sample struct {
	nowNs             int64
	replies, failed   uint64
	server            ProcessUsage
	clientCPU         time.Duration
	serverWasMeasured bool
}

// run returns when the threads have ended.
func (w *watch) run(ended <-chan struct{}) {
	if !w.sleepUntil(w.p.fromNs, ended) {
		return
	}
	w.first = w.take()
	w.last = w.first
	previous := w.first
	for {
		next := min(w.p.clock.now()+int64(max(w.o.ProgressEvery, time.Millisecond)), w.p.untilNs)
		more := w.sleepUntil(next, ended)
		if !more || next == w.p.untilNs {
			w.last = w.take()
			<-ended
			return
		}
		if w.o.Progress == nil {
			continue
		}
		s := w.count()
		w.o.Progress(Progress{
			Elapsed: time.Duration(s.nowNs - w.p.fromNs), Requests: s.replies, Errors: s.failed,
			RequestsPerSecond: float64(s.replies-previous.replies) / time.Duration(s.nowNs-previous.nowNs).Seconds(),
		})
		previous = s
	}
}

// sleepUntil reports whether the time came before the end.
func (w *watch) sleepUntil(atNs int64, ended <-chan struct{}) bool {
	timer := time.NewTimer(time.Duration(atNs - w.p.clock.now()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ended:
		return false
	}
}

// count reads the counters that the threads show.
func (w *watch) count() (s sample) {
	s.nowNs = w.p.clock.now()
	for _, t := range w.threads {
		s.replies += t.shown.replies.Load()
		s.failed += t.shown.failed.Load()
	}
	return s
}

func (w *watch) take() sample {
	s := w.count()
	if w.o.ServerPID != 0 {
		var err error
		s.server, err = ReadProcess(w.o.FS, w.o.ServerPID)
		s.serverWasMeasured = err == nil
	}
	var self unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &self) == nil {
		s.clientCPU = time.Duration(self.Utime.Nano() + self.Stime.Nano())
	}
	return s
}
