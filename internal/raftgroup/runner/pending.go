package runner

import "time"

// pendingEntry is an entry that Run made and that is not committed yet.
type pendingEntry struct {
	index, term uint64
	bytes       int
	// at is when it was run.
	at time.Duration
}

// pending is the queue of such entries, oldest first.
type pending struct {
	entries []pendingEntry
	head    int
	bytes   int
}

func (p *pending) empty() bool          { return p.head == len(p.entries) }
func (p *pending) first() *pendingEntry { return &p.entries[p.head] }
func (p *pending) clear()               { *p = pending{entries: p.entries[:0]} }

func (p *pending) push(e pendingEntry) {
	p.entries = append(p.entries, e)
	p.bytes += e.bytes
}

func (p *pending) pop() {
	p.bytes -= p.entries[p.head].bytes
	if p.head++; p.head == len(p.entries) {
		p.entries, p.head = p.entries[:0], 0
	}
}
