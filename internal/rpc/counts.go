package rpc

import (
	"sync/atomic"
	"time"
)

// counts is what is counted of the calls of one procedure.
type counts struct {
	answered, refused, lost atomic.Uint64
	nanos                   atomic.Int64
}

func (p *Pool) countsOf(procedure string) *counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.counts[procedure]
	if n == nil {
		n = &counts{}
		p.counts[procedure] = n
	}
	return n
}

// Counts tells how the calls of a procedure ended since the pool was made.
type Counts struct {
	Procedure string
	// Answered calls got a value, Refused ones a numbered error; Lost ones could not be sent or got no answer.
	Answered, Refused, Lost uint64
	// Waited is how long those that were answered or refused took in all.
	Waited time.Duration
}

// Counts returns what was counted for each procedure that was called, in no order.
func (p *Pool) Counts() []Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Counts, 0, len(p.counts))
	for procedure, n := range p.counts {
		all = append(all, Counts{Procedure: procedure, Answered: n.answered.Load(), Refused: n.refused.Load(), Lost: n.lost.Load(),
			Waited: time.Duration(n.nanos.Load())})
	}
	return all
}
