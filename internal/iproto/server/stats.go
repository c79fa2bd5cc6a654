package server

import (
	"sync/atomic"

	"github.com/lycosadb/lycosa/internal/iproto"
)

// typeCounters is the number of request types that are counted one by one; higher ones share the last counter.
const typeCounters = 80

// counters are written by connections and read by Stats.
type counters struct {
	connections  atomic.Int64
	trusted      atomic.Int64 // of the connections
	accepted     atomic.Uint64
	refused      atomic.Uint64
	cutSlow      atomic.Uint64
	cutLate      atomic.Uint64
	cutProtocol  atomic.Uint64
	decodePanics atomic.Uint64
	events       atomic.Uint64
	bytesIn      atomic.Uint64
	bytesOut     atomic.Uint64
	queued       atomic.Int64
	requests     [typeCounters + 1]atomic.Uint64
}

// Stats is a snapshot of a server's counters.
type Stats struct {
	// Connections are open now; Accepted and Refused count since the start.
	Connections       int64
	Accepted, Refused uint64
	// CutSlow counts connections cut because the peer did not read, CutLate because it did not send in time before it
	// logged in, CutProtocol because it sent what is no frame or too large a one.
	CutSlow, CutLate, CutProtocol uint64
	// DecodePanics counts requests on which the decoder failed; it should stay 0.
	DecodePanics      uint64
	BytesIn, BytesOut uint64
	// Events counts what was told to sessions that watch.
	Events uint64
	// InFlight is the number of requests taken over by the backend and not completed yet.
	InFlight int64
	// Queued is the size of the finished replies that wait to be written.
	Queued int64
	// Requests counts decoded requests by the name of their type; types that nobody serves are under "UNKNOWN".
	Requests map[string]uint64
}

// Stats returns the counters. They are read one by one while connections go on.
func (s *Server) Stats() Stats {
	c := &s.counters
	st := Stats{
		Connections: c.connections.Load(), Accepted: c.accepted.Load(), Refused: c.refused.Load(),
		CutSlow: c.cutSlow.Load(), CutLate: c.cutLate.Load(), CutProtocol: c.cutProtocol.Load(),
		DecodePanics: c.decodePanics.Load(), Events: c.events.Load(),
		BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
		InFlight: max(0, s.gate.inFlight.Load()), Queued: max(0, c.queued.Load()), Requests: make(map[string]uint64),
	}
	for t := range c.requests {
		n := c.requests[t].Load()
		if n == 0 {
			continue
		}
		name := "UNKNOWN"
		if t < typeCounters && known(iproto.Type(t)) {
			name = iproto.TypeName(iproto.Type(t))
		}
		st.Requests[name] += n
	}
	return st
}

// runCount counts requests of equal type in a row, so that a pipeline costs one atomic addition.
type runCount struct {
	kind uint32
	n    uint64
}

func (r *runCount) add(c *counters, t iproto.Type) {
	kind := min(t, typeCounters)
	if kind != r.kind {
		r.flush(c)
		r.kind = kind
	}
	r.n++
}

func (r *runCount) flush(c *counters) {
	if r.n != 0 {
		c.requests[r.kind].Add(r.n)
		r.n = 0
	}
}
