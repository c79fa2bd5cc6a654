package instance

import (
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
)

// TestTwins: of two processes with one raft id at two addresses the one that was heard a moment ago is believed; a restart at the same
// address, or elsewhere after a while, is none.
func TestTwins(t *testing.T) {
	var s sayings
	h := func(incarnation uint64, address string) wire.Header {
		return wire.Header{RaftID: 7, Incarnation: incarnation, Address: address, Quota: incarnation}
	}
	for n, c := range []struct {
		h    wire.Header
		at   time.Duration
		want bool
	}{
		{h(1, "a"), time.Second, true}, {h(1, "a"), 2 * time.Second, true},
		{h(2, "b"), 2*time.Second + twinQuiet - 1, false}, // a copy
		{h(1, "a"), 2*time.Second + twinQuiet, true},      // the first one goes on
		{h(3, "a"), 2*time.Second + twinQuiet, true},      // started again
		{h(3, "b"), 2*time.Second + twinQuiet, true},      // another address of one process
		{h(4, "c"), 2*time.Second + 2*twinQuiet, true},    // moved
		{h(3, "b"), 2*time.Second + 2*twinQuiet, false},
	} {
		if got := s.note(c.h, c.at); got != c.want {
			t.Errorf("%d: %+v is believed: %t", n, c.h, got)
		}
	}
	if m, ok := s.of(7); !ok || m.quota != 4 {
		t.Errorf("%+v", m)
	}
	var greeting taken
	twice := errTwin("i", "a")
	for n, c := range []struct {
		err  error
		at   time.Duration
		want bool
	}{
		{twice, time.Second, false}, {errcode.New(errcode.Loading, "x"), 5 * time.Second, false}, {twice, 6 * time.Second, false},
		{twice, 6*time.Second + twinPatience - 1, false}, {twice, 6*time.Second + twinPatience, true},
	} {
		if got := greeting.forGood(c.err, c.at); got != c.want {
			t.Errorf("%d: refused for good: %t", n, got)
		}
	}
}

// TestOwnTwin: whoever speaks with an instance's own name, from another process, is told so in every stage.
func TestOwnTwin(t *testing.T) {
	i, _ := unreachable(t)
	i.incarnation = 5
	i.identity.Store(&datadir.Identity{ClusterUUID: "c", Epoch: 2, InstanceUUID: "u", InstanceName: "i1"})
	good := wire.Header{ClusterUUID: "c", Epoch: 2, From: "u", Incarnation: 6}
	if _, err := i.admit(good); !errcode.Is(err, errcode.InstanceTwice) {
		t.Errorf("a copy: %v", err)
	}
	for _, edit := range []func(*wire.Header){
		func(h *wire.Header) { h.From = "v" }, func(h *wire.Header) { h.Incarnation = 5 }, func(h *wire.Header) { h.Epoch = 1 },
		func(h *wire.Header) { h.ClusterUUID = "d" },
	} {
		h := good
		edit(&h)
		if _, err := i.admit(h); errcode.Is(err, errcode.InstanceTwice) {
			t.Errorf("%+v: %v", h, err)
		}
	}
}

// TestCeiling: what a leader may use leaves its voter within its quota.
func TestCeiling(t *testing.T) {
	for _, c := range []struct{ used, quota, theirs, want uint64 }{
		{50, 100, 50, 100}, {50, 100, 40, 100}, {50, 100, 70, 80}, {50, 100, 200, 1}, {0, 100, 0, 100},
	} {
		if got := ceilingOf(c.used, said{quota: c.quota, used: c.theirs}); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
	if got := smallest(90, 50, []said{{quota: 100, used: 50}, {quota: 80, used: 60}, {quota: 85, used: 50}}); got != 70 {
		t.Errorf("the smallest of three voters leaves %d", got)
	}
}
