package differential

import (
	"fmt"
	"strings"
)

// replaysMax bounds the attempts to make a failure smaller, revivalsMax those that a server does not survive.
const (
	replaysMax  = 400
	revivalsMax = 40
)

// explain renders a difference, with the fewest operations before it that still show one.
func (r *run) explain(d *difference) string {
	short, final := r.shrink()
	var b strings.Builder
	if final == nil {
		final = d
		b.WriteString("(it does not show again when it is replayed)\n")
		short = r.history
	}
	fmt.Fprintf(&b, "%s\n  after %d operations", final.String(), len(short)-1)
	shownMax := 25
	if len(short) > shownMax {
		fmt.Fprintf(&b, ", the last %d of this space", shownMax)
		short = ofSpace(short, final.space)
		short = short[max(0, len(short)-shownMax):]
	}
	b.WriteString(":\n")
	for i := range short {
		fmt.Fprintf(&b, "    %s\n", short[i].String())
	}
	return b.String()
}

// last renders the last n requests.
func (r *run) last(n int) string {
	var b strings.Builder
	for _, q := range r.history[max(0, len(r.history)-n):] {
		fmt.Fprintf(&b, "  %s\n", q.String())
	}
	return b.String()
}

func ofSpace(all []request, id uint32) []request {
	var found []request
	for _, q := range all {
		if q.space == id {
			found = append(found, q)
		}
	}
	return found
}

// shrink looks for a short sequence whose last request is answered differently. It returns nil if not even the whole one
// shows a difference again.
func (r *run) shrink() ([]request, *difference) {
	final := r.history[len(r.history)-1]
	before := r.history[:len(r.history)-1]
	replays := 0
	try := func(prefix []request) *difference {
		replays++
		r.revive()
		d, err := r.replay(append(append([]request(nil), prefix...), final))
		if err != nil {
			return nil
		}
		return d
	}
	var writes []request
	for _, q := range before {
		if !q.isRead() {
			writes = append(writes, q)
		}
	}
	best := try(writes)
	if best == nil {
		return nil, nil
	}
	if own := ofSpace(writes, final.space); final.space != 0 {
		if d := try(own); d != nil {
			writes, best = own, d
		}
	}
	for chunk := (len(writes) + 1) / 2; chunk >= 1 && replays < replaysMax && r.revivals < revivalsMax; chunk /= 2 {
		for at := 0; at < len(writes) && replays < replaysMax && r.revivals < revivalsMax; {
			rest := append(append([]request(nil), writes[:at]...), writes[min(at+chunk, len(writes)):]...)
			if d := try(rest); d != nil {
				writes, best = rest, d
				continue
			}
			at += chunk
		}
	}
	return append(writes, final), best
}

// replay sends a sequence to emptied servers and returns the difference of its last request, nil if there is none.
func (r *run) replay(sequence []request) (*difference, error) {
	if err := r.reset(); err != nil {
		return nil, err
	}
	n := len(sequence) - 1
	for at := 0; at < n; at += 64 {
		if _, err := r.exchange(sequence[at:min(at+64, n)]); err != nil {
			return &difference{failed: err}, nil
		}
	}
	outcomes, err := r.exchange(sequence[n:])
	if err != nil {
		return &difference{failed: err}, nil
	}
	if outcomes[0].same() || outcomes[0].known() {
		return nil, nil
	}
	return &difference{outcome: outcomes[0]}, nil
}
