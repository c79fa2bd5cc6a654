package discovery

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// namesMax is how many addresses a sentence names; the rest is counted.
const namesMax = 8

// wait emits the sentence about what is being waited for: a fault as soon as it is seen, anything else every five
// seconds.
func (m *Machine) wait(now time.Duration, event Event) {
	faults, silent := m.obstacles()
	text := names(faults)
	if _, isTick := event.(Tick); isTick && now >= m.waitAt {
		m.waitAt = now + waitInterval
	} else if text == "" || text == m.lastFaults {
		return
	}
	m.lastFaults = text
	m.emit(m.sentence(faults, silent))
}

// Waiting says in a sentence what the instance is waiting for now. The text is empty before Start and after the
// conclusion.
func (m *Machine) Waiting() Wait {
	if m.concluded || !m.started {
		return Wait{}
	}
	return m.sentence(m.obstacles())
}

// obstacles lists why nothing can be decided yet: what will not mend by itself, and who has not answered.
func (m *Machine) obstacles() (faults, silent []string) {
	if m.tooMany {
		faults = append(faults, fmt.Sprintf("more than %d addresses were named, nothing can be decided", PeersMax))
	}
	for _, address := range m.record.Peers {
		p := m.peers[address]
		switch {
		case address == m.own && p.id != "" && p.id != m.record.ID:
			faults = append(faults, address+": another instance answers at this instance's own address, check --advertise")
		case p.conflictUntil != 0:
			faults = append(faults, address+": it answers with more than one id (load-balanced addresses are not supported)")
		case p.counts, slices.Contains(m.record.Without, address):
		case p.fault:
			faults = append(faults, address+": "+p.failure)
		case p.failure != "":
			silent = append(silent, address+" ("+p.failure+")")
		default:
			silent = append(silent, address)
		}
	}
	return faults, silent
}

func (m *Machine) sentence(faults, silent []string) Wait {
	switch {
	case len(faults) > 0 && len(silent) > 0:
		return Wait{Text: "waiting for peers: " + names(faults) + "; no answer yet: " + names(silent), Failure: true}
	case len(faults)+len(silent) > 0:
		return Wait{Text: "waiting for peers: " + names(append(faults, silent...)), Failure: len(faults) > 0}
	}
	if found, ok := m.smallest(); ok {
		return Wait{Text: "all peers answered, waiting for " + m.addressOf(found.id) + " to make the cluster"}
	}
	return Wait{Text: "all peers answered, but none of them may make the cluster"}
}

// addressOf returns the first address behind which the id was found.
func (m *Machine) addressOf(id string) string {
	for _, address := range m.record.Peers {
		if m.peers[address].id == id {
			return address
		}
	}
	return id
}

func names(list []string) string {
	if len(list) > namesMax {
		list = append(slices.Clone(list[:namesMax]), fmt.Sprintf("and %d more", len(list)-namesMax))
	}
	return strings.Join(list, ", ")
}

func quote(text string) string { return strconv.Quote(text) }
