package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/audit"
	"github.com/lycosadb/lycosa/internal/clusterconfig"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// step is a record of the history without its numbers.
type step struct {
	from, to lifecycle.State
	stage    lifecycle.Stage
}

// firstLife is the history of an empty directory, restarted that of a used one.
var (
	firstLife = []step{
		{lifecycle.Start, lifecycle.Unconfigured, lifecycle.Discover},
		{lifecycle.Unconfigured, lifecycle.BootstrappingBox, lifecycle.Boot},
		{lifecycle.BootstrappingBox, lifecycle.ConnectingFullmesh, lifecycle.Postjoin},
		{lifecycle.ConnectingFullmesh, lifecycle.BoxConfigured, lifecycle.Postjoin},
		{lifecycle.BoxConfigured, lifecycle.ConfiguringRoles, lifecycle.Postjoin},
		{lifecycle.ConfiguringRoles, lifecycle.RolesConfigured, lifecycle.Postjoin},
	}
	restarted = []step{
		{lifecycle.Start, lifecycle.ConfigFound, lifecycle.Discover},
		{lifecycle.ConfigFound, lifecycle.ConfigLoaded, lifecycle.Discover},
		{lifecycle.ConfigLoaded, lifecycle.RecoveringSnapshot, lifecycle.Discover},
		{lifecycle.RecoveringSnapshot, lifecycle.ConnectingFullmesh, lifecycle.Postjoin},
		{lifecycle.ConnectingFullmesh, lifecycle.BoxConfigured, lifecycle.Postjoin},
		{lifecycle.BoxConfigured, lifecycle.ConfiguringRoles, lifecycle.Postjoin},
		{lifecycle.ConfiguringRoles, lifecycle.RolesConfigured, lifecycle.Postjoin},
	}
)

func TestLife(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	s := p.online()
	if s.Stage != "Postjoin" || s.State != "RolesConfigured" || s.ClusterName != "demo" || s.Cause != nil || s.WaitingFor != nil {
		t.Errorf("status %+v", s)
	}
	if g := s.Grade; g.Current.Name == nil || *g.Current.Name != "Online" || g.Target.Name == nil || *g.Target.Name != "Online" {
		t.Errorf("grade %+v", g)
	}
	if len(s.Groups) != 2 {
		t.Fatalf("groups %+v", s.Groups)
	}
	for _, g := range s.Groups {
		if g.Role != "leader" || g.Term == 0 || g.Committed == 0 || len(g.Voters) != 1 || g.Voters[0] != g.RaftID {
			t.Errorf("group %+v", g)
		}
	}
	if s.PID == p.pid() {
		t.Error("the supervisor serves")
	}
	checkHistory(t, p, firstLife)
	checkHTTP(t, p)
	checkUDP(t, p)
	checkFiles(t, p)
	checkTitles(t, p.pid(), s.PID)
	p.stop()
	checkAudit(t, p.dir)

	next := p.again()
	again := next.online()
	if again.InstanceUUID != s.InstanceUUID || again.Name != s.Name || again.PID == s.PID {
		t.Errorf("after the restart %+v, before %+v", again, s)
	}
	checkHistory(t, next, restarted)
	kill(t, again.PID, 9)
	waitFor(t, "the next child", waitStart, func() bool {
		now, ok := next.status()
		return ok && now.PID != again.PID && now.State == "RolesConfigured"
	})
	checkHistory(t, next, append(append([]step{}, restarted...), restarted...))
	next.stop()
	checkAudit(t, p.dir)
}

// history reads /api/v1/lifecycle.
func history(t testing.TB, p *proc) []lifecycle.Record {
	t.Helper()
	code, body := p.get("/api/v1/lifecycle")
	var doc struct {
		History []lifecycle.Record `json:"history"`
		Machine struct {
			States []lifecycle.State    `json:"states"`
			Edges  [][2]lifecycle.State `json:"edges"`
		} `json:"machine"`
	}
	if err := json.Unmarshal(body, &doc); err != nil || code != http.StatusOK {
		t.Fatalf("lifecycle: %d, %v: %s", code, err, body)
	}
	if len(doc.Machine.States) < 12 || len(doc.Machine.Edges) != len(lifecycle.Edges()) {
		t.Errorf("machine: %d states, %d edges", len(doc.Machine.States), len(doc.Machine.Edges))
	}
	return doc.History
}

// checkHistory compares the history with what must have happened; every beginning and every stage before Postjoin
// belongs to a process of its own.
func checkHistory(t testing.TB, p *proc, want []step) {
	t.Helper()
	records := history(t, p)
	if err := lifecycle.CheckHistory(records); err != nil {
		t.Error(err)
	}
	var got []step
	pids := map[int]bool{}
	for n, r := range records {
		got = append(got, step{r.From, r.To, r.Stage})
		pids[r.PID] = true
		if r.At.IsZero() || r.DurationMs < 0 {
			t.Errorf("record %d: %+v", n, r)
		}
	}
	processes := 0
	for n, s := range want {
		if s.from == lifecycle.Start || n > 0 && want[n-1].stage == lifecycle.Discover && s.stage == lifecycle.Boot {
			processes++
		}
	}
	if len(pids) != processes {
		t.Errorf("%d processes in the history, want %d: %+v", len(pids), processes, records)
	}
	if len(got) != len(want) {
		t.Fatalf("history %v, want %v", got, want)
	}
	for n := range want {
		if got[n] != want[n] {
			t.Errorf("record %d: %v, want %v", n, got[n], want[n])
		}
	}
}

func checkHTTP(t *testing.T, p *proc) {
	t.Helper()
	var doc map[string]json.RawMessage
	if _, body := p.get("/api/v1/instance"); json.Unmarshal(body, &doc) != nil {
		t.Fatalf("instance: %s", body)
	}
	for _, key := range strings.Fields("name instance_uuid cluster_name cluster_uuid stage state state_prev state_since cause grade " +
		"replicaset leader groups memory version waiting_for pid schema_changes") {
		if _, ok := doc[key]; !ok {
			t.Errorf("instance: %s is absent", key)
		}
		delete(doc, key)
	}
	if len(doc) > 0 {
		t.Errorf("instance: unknown keys %v", doc)
	}
	for _, path := range []string{"/health/live", "/health/startup", "/health/ready", "/api/v1/cluster", "/api/v1/governor"} {
		if code, body := p.get(path); code != http.StatusOK || len(body) == 0 {
			t.Errorf("%s: %d: %s", path, code, body)
		}
	}
	if code, _ := p.get("/api/v1/nothing"); code != http.StatusNotFound {
		t.Errorf("unknown path: %d", code)
	}
	var cluster struct {
		Instances []struct {
			Name, State, Address string
			Leader               bool `json:"is_leader"`
		}
		Replicasets []struct{ Name string }
		Tiers       []struct{ Name string }
		Issues      []any
	}
	_, body := p.get("/api/v1/cluster")
	if err := json.Unmarshal(body, &cluster); err != nil || len(cluster.Instances) != 1 || len(cluster.Replicasets) != 1 ||
		len(cluster.Tiers) != 1 || cluster.Issues == nil {
		t.Fatalf("cluster: %v: %s", err, body)
	}
	if i := cluster.Instances[0]; i.State != "RolesConfigured" || !i.Leader || i.Address != p.listen {
		t.Errorf("instance of the cluster: %+v", i)
	}
	_, metrics := p.get("/metrics")
	for _, want := range []string{`lycosa_instance_state{state="RolesConfigured"} 1`, `lycosa_instance_state{state="Unconfigured"} 0`} {
		if !strings.Contains(string(metrics), want) {
			t.Errorf("metrics without %s:\n%s", want, metrics)
		}
	}
}

// checkUDP requires that the port of the membership messages is held.
func checkUDP(t *testing.T, p *proc) {
	t.Helper()
	if l, err := net.ListenPacket("udp", p.listen); err == nil {
		l.Close()
		t.Errorf("UDP %s is free", p.listen)
	}
}

// checkTitles looks at the processes as ps shows them.
func checkTitles(t *testing.T, parent, child int) {
	t.Helper()
	for pid, want := range map[int]string{parent: "lycosa:super", child: "lycosa:postjoin"} {
		title, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
		if err != nil || strings.TrimSpace(string(title)) != want {
			t.Errorf("title of process %d: %q, %v, want %s", pid, title, err, want)
		}
	}
}

// checkFiles looks at what lies in the directory of an instance that serves.
func checkFiles(t *testing.T, p *proc) {
	t.Helper()
	config := currentConfig(t, p.dir)
	for name, mode := range map[string]os.FileMode{
		"identity": 0o600, "lock": 0o600, ".cookie": 0o600, "audit.log": 0o600, "admin.sock": os.ModeSocket | 0o600,
		"config/CURRENT": 0, config + "/VERSION": 0, config + "/topology.yml": 0,
	} {
		info, err := os.Lstat(filepath.Join(p.dir, name))
		if err != nil {
			t.Error(err)
		} else if mode != 0 && info.Mode() != mode {
			t.Errorf("%s: mode %v, want %v", name, info.Mode(), mode)
		}
	}
	for _, name := range []string{"entrypoint", "discovery"} {
		if _, err := os.Lstat(filepath.Join(p.dir, name)); !os.IsNotExist(err) {
			t.Errorf("%s is left over: %v", name, err)
		}
	}
	if found := snapshots(t, p.dir); len(found) != 1 {
		t.Errorf("snapshots %v", found)
	}
}

// currentConfig is the folder of the copy of the configuration that is in use, in a data directory.
func currentConfig(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "config", "CURRENT"))
	if err != nil {
		t.Fatal(err)
	}
	number, err := clusterconfig.DecodeCurrent(text)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint("config/", number)
}

// snapshots lists the .snap files of a data directory, oldest first.
func snapshots(t testing.TB, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "data", "*.snap"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// checkAudit verifies the chain of the audit log.
func checkAudit(t testing.TB, dir string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	report, err := audit.Verify(bytes.NewReader(text))
	if err != nil {
		t.Errorf("audit log: %v\n%s", err, text)
	}
	if report.Records < 5 || report.FirstSeq != 1 {
		t.Errorf("audit log: %+v", report)
	}
	if !bytes.Contains(text, []byte("RolesConfigured")) {
		t.Error("the audit log has no states")
	}
}

// TestHangup: SIGHUP opens log and audit log anew after they were moved away, and the chain goes on in the new file.
func TestHangup(t *testing.T) {
	t.Parallel()
	logFile := filepath.Join(t.TempDir(), "lycosa.log")
	p := startInstance(t, options{args: []string{"--log-file", logFile}})
	p.online()
	auditFile := filepath.Join(p.dir, "audit.log")
	for _, name := range []string{logFile, auditFile} {
		if err := os.Rename(name, name+".1"); err != nil {
			t.Fatal(err)
		}
	}
	p.signal(1)
	waitFor(t, "the new files", waitStart, func() bool {
		a, errA := os.Stat(auditFile)
		_, errB := os.Stat(logFile)
		return errA == nil && errB == nil && a.Size() > 0
	})
	dial(t, p.listen, client.Options{User: "admin", Password: []byte(adminPassword)})
	p.stop()
	var reports []audit.Report
	for _, name := range []string{auditFile + ".1", auditFile} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := audit.Verify(bytes.NewReader(text))
		if err != nil || r.Records == 0 {
			t.Errorf("%s: %v", name, err)
		}
		reports = append(reports, r)
	}
	if reports[1].FirstSeq != reports[0].LastSeq+1 || reports[1].PrevHash != reports[0].LastHash {
		t.Errorf("the second file does not go on where the first one ended: %+v", reports)
	}
	if text, err := os.ReadFile(logFile); err != nil || !bytes.Contains(text, []byte("stopping")) {
		t.Errorf("the new log: %v: %s", err, text)
	}
}

// TestNotify reads what systemd would.
func TestNotify(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "n")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := startInstance(t, options{env: []string{"NOTIFY_SOCKET=" + socket}})
	var said []string
	hear := func(want string) {
		t.Helper()
		for {
			text := notification(t, c)
			said = append(said, text)
			if strings.Contains(text, want) {
				return
			}
		}
	}
	hear("READY=1")
	if s := p.online(); s.State != "RolesConfigured" {
		t.Errorf("ready in state %s", s.State)
	}
	if all := strings.Join(said, "\n"); !strings.Contains(all, "STATUS=") || !strings.Contains(all, "Unconfigured") {
		t.Errorf("said %q", said)
	}
	p.signal(15)
	hear("STOPPING=1")
	if code := p.ended(waitStop); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
