package faults

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// network is a bridge in the namespace of the test, with a namespace for each instance behind it. What instances send each
// other is forwarded by the bridge, where rules drop it; what the test's clients say is not.
type network struct {
	t testing.TB
	// n tells networks apart.
	n int
	// cabled networks have cables that can be bad, by instance; bitten is what these have done.
	cabled bool
	cables map[int]*cable
	bitten bitten
}

var networks int

// newNetwork makes a bridge and the rules of its faults.
func newNetwork(t testing.TB) *network {
	t.Helper()
	networks++
	w := &network{t: t, n: networks, cables: map[int]*cable{}}
	must(t, "ip", "link", "add", w.bridge(), "type", "bridge")
	t.Cleanup(func() { must(t, "ip", "link", "del", w.bridge()) })
	must(t, "ip", "addr", "add", fmt.Sprintf("10.77.%d.254/24", w.n), "dev", w.bridge())
	must(t, "ip", "link", "set", w.bridge(), "up")
	w.nft(fmt.Sprintf(`table bridge %s {
	set cut { type ifname . ifname; }
	set lossy { type ifname . ifname; }
	counter cut { }
	counter lost { }
	chain forward {
		type filter hook forward priority 0; policy accept;
		iifname . oifname @cut counter name cut drop
		iifname . oifname @lossy numgen random mod 100 < 25 counter name lost drop
	}
}
`, w.table()))
	t.Cleanup(func() { w.nft(fmt.Sprintf("delete table bridge %s\n", w.table())) })
	return w
}

func (w *network) bridge() string       { return fmt.Sprintf("lytb%d", w.n) }
func (w *network) table() string        { return fmt.Sprintf("lyt%d", w.n) }
func (w *network) space(i int) string   { return fmt.Sprintf("lyt%d-%d", w.n, i) }
func (w *network) link(i int) string    { return fmt.Sprintf("lyt%d-%d", w.n, i) }
func (w *network) address(i int) string { return fmt.Sprintf("10.77.%d.%d:3301", w.n, i+1) }
func (w *network) http(i int) string    { return fmt.Sprintf("10.77.%d.%d:8081", w.n, i+1) }
func (w *network) inside(i int) []string {
	return []string{"nsenter", "--net=/run/netns/" + w.space(i)}
}
func (w *network) pair(a, b int) string { return w.link(a) + " . " + w.link(b) }
func (w *network) elements(set string, pairs [][2]int) string {
	list := make([]string, 0, len(pairs))
	for _, p := range pairs {
		list = append(list, w.pair(p[0], p[1]))
	}
	return fmt.Sprintf("add element bridge %s %s { %s }\n", w.table(), set, strings.Join(list, ", "))
}

func (w *network) nft(script string) {
	w.t.Helper()
	if _, err := commandWith(script, "nft", "-f", "-"); err != nil {
		w.t.Fatalf("%v\n%s", err, script)
	}
}

// host makes the namespace of instance i, connected to the bridge.
func (w *network) host(i int) {
	w.t.Helper()
	name := w.space(i)
	must(w.t, "ip", "netns", "add", name)
	w.t.Cleanup(func() { must(w.t, "ip", "netns", "del", name) })
	if w.cabled {
		far := w.link(i) + "f"
		w.cables[i] = newCable(w.t, w.link(i), far, &w.bitten)
		must(w.t, "ip", "link", "set", far, "name", "eth0", "netns", name)
	} else {
		must(w.t, "ip", "link", "add", w.link(i), "type", "veth", "peer", "name", "eth0", "netns", name)
	}
	must(w.t, "ip", "link", "set", w.link(i), "master", w.bridge(), "up")
	must(w.t, "ip", "-n", name, "addr", "add", fmt.Sprintf("10.77.%d.%d/24", w.n, i+1), "dev", "eth0")
	must(w.t, "ip", "-n", name, "link", "set", "eth0", "up")
	must(w.t, "ip", "-n", name, "link", "set", "lo", "up")
}

// cut drops what is sent along the pairs (from, to) from now on.
func (w *network) cut(pairs ...[2]int) { w.nft(w.elements("cut", pairs)) }

// lossy drops a quarter of what is sent along the pairs.
func (w *network) lossy(pairs ...[2]int) { w.nft(w.elements("lossy", pairs)) }

// degrade makes the lines along the pairs as bad as that.
func (w *network) degrade(q quality, pairs ...[2]int) {
	for _, p := range pairs {
		w.cables[p[0]].set(p[1], q)
	}
}

// heal ends cuts and losses, and makes all lines good.
func (w *network) heal() {
	for _, c := range w.cables {
		for to := range w.cables {
			c.set(to, quality{})
		}
	}
	w.nft(fmt.Sprintf("flush set bridge %s cut\nflush set bridge %s lossy\n", w.table(), w.table()))
}

// dropped is how many packets a rule has dropped so far.
func (w *network) dropped(counter string) int {
	w.t.Helper()
	var doc struct {
		Objects []struct {
			Counter struct {
				Packets int `json:"packets"`
			} `json:"counter"`
		} `json:"nftables"`
	}
	out := must(w.t, "nft", "-j", "list", "counter", "bridge", w.table(), counter)
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		w.t.Fatalf("%v in %s", err, out)
	}
	sum := 0
	for _, o := range doc.Objects {
		sum += o.Counter.Packets
	}
	return sum
}

// bites waits until a rule has dropped something since before: a fault that drops nothing proves nothing.
func (w *network) bites(counter string, before int) {
	w.t.Helper()
	waitFor(w.t, "packets that are dropped by rule "+counter, waitStart, func() bool { return w.dropped(counter) > before })
}

// link takes the cable of instance i out, or puts it in again.
func (w *network) setLink(i int, state string) { must(w.t, "ip", "link", "set", w.link(i), state) }

// both are the pairs in both directions between two groups of instances.
func both(a, b []int) (pairs [][2]int) {
	for _, x := range a {
		for _, y := range b {
			if x != y {
				pairs = append(pairs, [2]int{x, y}, [2]int{y, x})
			}
		}
	}
	return pairs
}

// but is 0 … n-1 without some.
func but(n int, without ...int) (rest []int) {
	for i := range n {
		keep := true
		for _, w := range without {
			keep = keep && i != w
		}
		if keep {
			rest = append(rest, i)
		}
	}
	return rest
}
