package cli

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// packJSON encodes JSON as MessagePack, as far as documents need it.
func packJSON(t *testing.T, text string) []byte {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	var pack func(b []byte, v any) []byte
	pack = func(b []byte, v any) []byte {
		switch v := v.(type) {
		case string:
			return msgpack.AppendStr(b, v)
		case float64:
			return msgpack.AppendUint(b, uint64(v))
		case bool:
			return msgpack.AppendBool(b, v)
		case []any:
			b = msgpack.AppendArrayHeader(b, len(v))
			for _, x := range v {
				b = pack(b, x)
			}
			return b
		case map[string]any:
			b = msgpack.AppendMapHeader(b, len(v))
			for k, x := range v {
				b = pack(msgpack.AppendStr(b, k), x)
			}
			return b
		}
		return msgpack.AppendNil(b)
	}
	return pack(nil, v)
}

// serveCalls answers CALLs on any number of connections by the name of the function.
func serveCalls(t *testing.T, answer func(r *iproto.Request) []byte) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serveConn(conn, answer)
		}
	}()
	return l.Addr().String()
}

const onlineGrade = `{"current": {"name": "Online", "incarnation": 1}, "target": {"name": "Online", "incarnation": 1}}`

// clusterOf is the document of a cluster of two, as an instance knows it that has heard of `state` of the second one.
func clusterOf(leaderAddress, state string) string {
	return `{"cluster_name": "demo", "instances": [
		{"name": "i1", "address": "` + leaderAddress + `", "replicaset": "default_1", "tier": "default", "state": "RolesConfigured",
			"is_leader": true, "lag_entries": 0, "last_seen": "2026-11-22T12:00:09.500000000Z", "grade": ` + onlineGrade + `},
		{"name": "i2", "address": "127.0.0.1:2", "replicaset": "default_1", "tier": "default", "state": ` + state + `,
			"is_leader": false, "lag_entries": 7, "last_seen": "2026-11-22T12:00:00.000000000Z", "grade": {"current": {"name": "Offline", "incarnation": 1}, "target": {"name": "Online", "incarnation": 2}}},
		{"name": "i3", "address": "127.0.0.1:3", "replicaset": "default_1", "tier": "default", "state": "RolesConfigured", "last_seen": "2026-11-22T12:00:00.000000000Z",
			"is_leader": false, "lag_entries": 9, "grade": {"current": {"name": "Expelled", "incarnation": 1}, "target": {"name": "Expelled", "incarnation": 1}}}],
		"replicasets": [{"name": "default_1", "tier": "default", "leader": "i1", "state": "ready", "weight": 1}],
		"tiers": [{"name": "default", "replication_factor": 2, "can_vote": true, "wal_mode": "fsync", "bucket_count": 3000}],
		"issues": [{"level": "warning", "instance": "i2", "text": "it lags", "hint": "look at it"}],
		"governor": {"leader": "i1", "waiting": [{"subject": "i2", "text": "i2: waiting to catch up"}], "last_error": null}}`
}

func TestStatusOfACluster(t *testing.T) {
	var other string
	leader := serveCalls(t, func(r *iproto.Request) []byte {
		if string(r.Function) != procClusterInfo {
			return iproto.AppendError(nil, r.Sync, 80, errcode.New(errcode.NoSuchProc, string(r.Function)))
		}
		return iproto.AppendData(nil, r.Sync, 80, packJSON(t, clusterOf("127.0.0.1:1", `"ConnectingFullmesh"`)))
	})
	asked := serveCalls(t, func(r *iproto.Request) []byte {
		text := `{"name": "i2", "state": "ConnectingFullmesh", "stage": "Postjoin"}`
		if string(r.Function) == procClusterInfo {
			text = clusterOf(other, "null")
		}
		return iproto.AppendData(nil, r.Sync, 80, packJSON(t, text))
	})
	expect := func(want ...string) {
		t.Helper()
		code, out, errs := command([]string{"LYCOSA_PEER=" + asked}, "status")
		for _, w := range want {
			if code != 0 || !strings.Contains(out, w) {
				t.Errorf("code %d, %s, prints without %q\n%s", code, errs, w, out)
			}
		}
	}
	other = leader
	expect("instance  address      tier     replicaset  grade                    state               leads          lag  last seen\n",
		"i1        127.0.0.1:1  default  default_1   Online                   RolesConfigured     catalog, data  0\n",
		"i2        127.0.0.1:2  default  default_1   Offline (target Online)  ConnectingFullmesh                 7    9s ago\n",
		"i3        127.0.0.1:3  default  default_1   Expelled\n",
		"replicaset  tier     leader  state  weight\ndefault_1   default  i1      ready  1\n",
		"default  2                   yes       fsync     3000\n",
		"issue, warning: i2: it lags; look at it\nwaiting: i2: waiting to catch up\n")
	other = "127.0.0.1:1"
	expect("the leader of the catalog, 127.0.0.1:1, does not answer", "i2        127.0.0.1:2")
	code, out, _ := command([]string{"LYCOSA_PEER=" + asked}, "status", "--json")
	var doc struct {
		Name    string
		Cluster struct {
			Governor struct{ Leader string }
		}
	}
	if err := json.Unmarshal([]byte(out), &doc); code != 0 || err != nil || doc.Name != "i2" || doc.Cluster.Governor.Leader != "i1" {
		t.Errorf("code %d, error %v: %s", code, err, out)
	}
}

// TestStatusWithoutCluster: an instance without a place tells about itself, and why there is no more.
func TestStatusWithoutCluster(t *testing.T) {
	asked := serveCalls(t, func(r *iproto.Request) []byte {
		if string(r.Function) == procClusterInfo {
			return iproto.AppendError(nil, r.Sync, 80, errcode.New(errcode.Uninitialized))
		}
		return iproto.AppendData(nil, r.Sync, 80, packJSON(t, `{"state": "Unconfigured", "stage": "Discover", "waiting_for": "waiting for peers: b:1"}`))
	})
	code, out, _ := command([]string{"LYCOSA_PEER=" + asked}, "status")
	if code != 0 || !strings.Contains(out, "waiting for peers: b:1") || !strings.Contains(out, "nothing is known of the cluster") {
		t.Errorf("code %d: %s", code, out)
	}
	if code, out, _ := command([]string{"LYCOSA_PEER=" + asked}, "status", "--json"); code != 0 || !strings.Contains(out, `"cluster": null`) {
		t.Errorf("code %d: %s", code, out)
	}
}

// TestWatchStatus: elsewhere than on a terminal a line for each change, until a signal.
func TestWatchStatus(t *testing.T) {
	var asks atomic.Int32
	asked := serveCalls(t, func(r *iproto.Request) []byte {
		text := `{"name": "i1", "state": "RolesConfigured", "stage": "Postjoin"}`
		if string(r.Function) == procClusterInfo {
			state := `"ConnectingFullmesh"`
			if asks.Add(1) > 3 {
				state = `"RolesConfigured"`
			}
			text = clusterOf("127.0.0.1:1", state)
		}
		return iproto.AppendData(nil, r.Sync, 80, packJSON(t, text))
	})
	out := &output{wait: "i2: state RolesConfigured", seen: make(chan struct{})}
	done := make(chan int, 1)
	go func() {
		done <- Main(Options{Args: []string{"status", "--watch", "--interval", "5ms", "--peer", asked}, Stdout: out, Stderr: out})
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	select {
	case <-out.seen:
	case <-ctx.Done():
		t.Fatalf("no change is told: %s", out)
	}
	interrupt(t)
	select {
	case code := <-done:
		if code != 0 {
			t.Errorf("exit code %d", code)
		}
	case <-ctx.Done():
		t.Fatal("does not end")
	}
	for _, line := range []string{"i1: state RolesConfigured, grade Online, replicaset default_1, leads catalog, data\n",
		"i2: state ConnectingFullmesh, grade Offline (target Online), replicaset default_1\n", "replicaset default_1: leader i1, state ready\n"} {
		if strings.Count(out.String(), line) != 1 {
			t.Errorf("%q is not there once:\n%s", line, out)
		}
	}
}
