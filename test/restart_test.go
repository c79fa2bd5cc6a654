package test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

func TestRestart(t *testing.T) {
	t.Parallel()
	// A long timeout: a stop that only its timeout ends would not end in time.
	p := startInstance(t, options{args: []string{"--shutdown-timeout", "10m"}})
	uuid := p.online().InstanceUUID
	s := createSpace(t, p.admin(), 600, "t1")
	for n := range 50 {
		s.insert(list{n, "row"})
	}
	want := s.json()
	p.stop()
	for range 2 {
		p = p.again()
		if now := p.online().InstanceUUID; now != uuid {
			t.Fatalf("instance uuid %s, before %s", now, uuid)
		}
		s = table{t, p.admin(), 600}
		if got := s.json(); got != want {
			t.Errorf("rows after the restart: %s, want %s", got, want)
		}
		if n := len((table{t, s.c, spaceInstances}).rows()); n != 1 {
			t.Errorf("%d rows in _pico_instance", n)
		}
		p.stop()
		if strings.Contains(p.output(), "torn") {
			t.Errorf("a clean stop left a torn log:\n%s", p.output())
		}
	}
	// The password is that of the first start; a later one is not used.
	p = startInstance(t, options{dir: p.dir, noPassword: true, env: []string{"LYCOSA_ADMIN_PASSWORD=another-one"}})
	p.online()
	dial(t, p.listen, client.Options{User: "admin", Password: []byte(adminPassword)})
	if c, err := client.Dial(context.Background(), p.listen, client.Options{User: "admin", Password: []byte("another-one")}); err == nil {
		c.Close()
		t.Error("a later password was taken")
	}
	p.stop()
}

// TestTemporaryAndLocalSpaces: rows of temporary spaces go with the process, those of local spaces stay, whatever
// happened; they count in the vector clock and in the name of the snapshot, which the real server takes. A transaction
// writes spaces of one sort.
func TestTemporaryAndLocalSpaces(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	c := p.admin()
	ctx := context.Background()
	for id, flags := range map[int]dict{600: {"temporary": true}, 601: {"group_id": 1}, 602: {}} {
		do(t, "create space")(c.Insert(ctx, spaceSpace, pack(list{id, 1, "s" + strconv.Itoa(id), "memtx", 0, flags, list{}})))
		createIndex(t, c, uint32(id), 0, "pk", "tree", true, list{list{0, "unsigned"}})
		table{t, c, uint32(id)}.insert(list{1})
	}
	v := conversation{t, c, 1}
	put := func(space uint32) int {
		_, code := v.do(iproto.TypeReplace, func(dst []byte, sync uint64) []byte {
			return iproto.AppendInsert(dst, iproto.TypeReplace, sync, space, pack(list{2}))
		})
		return code
	}
	if v.begin(30) != 0 || put(601) != 0 || put(602) != int(errcode.MixedTransaction) || put(600) != 0 || v.commit() != 0 {
		t.Error("a transaction on local and temporary spaces was refused, or one on replicated ones too was not")
	}
	want := map[uint32]string{600: "[]", 601: "[[1],[2]]", 602: "[[1]]"}
	for n := range 4 {
		switch n {
		case 0:
			p.stop()
		case 1:
			do(t, "truncate")(c.Replace(ctx, 330, pack(list{601, 1})))
			table{t, c, 601}.insert(list{7})
			want[601] = "[[7]]"
			do(t, "snapshot")(c.Call(ctx, "box.snapshot", nil))
			p.stop()
		case 2:
			table{t, c, 601}.insert(list{8})
			want[601] = "[[7],[8]]"
			strike(t, p, killBoth)
		case 3:
			do(t, "truncate")(c.Replace(ctx, 330, pack(list{601, 2})))
			want[601] = "[]"
			strike(t, p, killBoth)
		}
		p = p.again()
		p.online()
		c = p.admin()
		for id, rows := range want {
			if got := (table{t, c, id}).json(); got != rows {
				t.Errorf("restart %d: space %d has %s, want %s", n, id, got, rows)
			}
		}
		table{t, c, 600}.insert(list{1})
	}
	table{t, c, 601}.insert(list{9})
	_, log, _ := run(t, "inspect", newestLog(t, p))
	if !strings.Contains(log, `"local":[{"index":`) || !strings.Contains(log, `"space":601,"tuple":[9]`) {
		t.Errorf("inspect does not show the row of the local space: %s", tail(log, 2000))
	}
	goesOn(t, p, c)
	p.stop()
}

// newestLog is the last segment of the data group's log.
func newestLog(t *testing.T, p *proc) string {
	t.Helper()
	found, err := filepath.Glob(p.dir + "/data/*.rlog")
	if err != nil || len(found) == 0 {
		t.Fatalf("no log: %v", err)
	}
	return found[len(found)-1]
}

// goesOn starts the real server from a snapshot: it has the local rows, and the same vector clock.
func goesOn(t *testing.T, p *proc, c *client.Client) {
	t.Helper()
	dir := t.TempDir()
	code, out, errs := run(t, "checkpoint", "--peer", p.adminSocket())
	path, _, _ := strings.Cut(out, ":")
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, filepath.Base(path)), data, 0o600)
	}
	if code != 0 || err != nil {
		t.Fatalf("checkpoint: exit code %d, %v\n%s%s", code, err, out, errs)
	}
	theirs := dial(t, startTarantool(t, dir, ""), client.Options{User: "admin", Password: []byte(adminPassword)})
	if got := (table{t, theirs, 601}).json(); got != "[[9]]" {
		t.Errorf("the real server has %s", got)
	}
	info := toJSON(t, do(t, "box.info")(c.Call(context.Background(), "box.info", nil)))
	// Five rows were put into the local space, and it was emptied twice.
	if clock := toJSON(t, do(t, "vclock")(theirs.Eval(context.Background(), "return box.info.vclock[0]", pack(list{})))); clock != "[7]" {
		t.Errorf("vector clock of the real server %s; ours: %s", clock, info)
	}
	if !strings.Contains(info, `"0":7`) {
		t.Errorf("box.info: %s", info)
	}
}

func TestStopWithBusyClients(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	s := createSpace(t, p.admin(), 600, "t1")
	stopLoad := make(chan struct{})
	acked := make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stopLoad:
				acked <- n
				return
			default:
			}
			if _, err := s.c.Insert(context.Background(), 600, pack(list{n})); err != nil {
				acked <- n
				return
			}
		}
	}()
	waitFor(t, "some rows", waitStart, func() bool { return len(s.rows()) > 20 })
	p.stop()
	close(stopLoad)
	n := <-acked
	p = p.again()
	p.online()
	if got := len((table{t, p.admin(), 600}).rows()); got < n {
		t.Errorf("%d rows, %d were acknowledged", got, n)
	}
}

func TestNamesMustAgree(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{args: []string{"--cluster-name", "first", "--instance-name", "i1"}})
	s := p.online()
	if s.ClusterName != "first" || s.Name != "i1" {
		t.Errorf("status %+v", s)
	}
	p.stop()
	for _, c := range []struct{ flag, value, known string }{
		{"--cluster-name", "second", "first"}, {"--instance-name", "i2", "i1"}, {"--tier", "storage", "default"},
		{"--replicaset", "other", "default_1"},
	} {
		q := p.again(c.flag, c.value)
		if code := q.ended(waitStop); code != 2 || !strings.Contains(q.output(), c.value) || !strings.Contains(q.output(), c.known) {
			t.Errorf("%s %s: exit code %d, want 2 and both values:\n%s", c.flag, c.value, code, q.output())
		}
	}
	// The same names are fine, and so is another address.
	q := startInstance(t, options{dir: p.dir, args: []string{"--cluster-name", "first", "--instance-name", "i1"}})
	if q.online().InstanceUUID != s.InstanceUUID {
		t.Error("another instance")
	}
	row := toJSON(t, do(t, "addresses")(q.admin().Select(context.Background(), iproto.SelectArgs{Space: 414, Iterator: iproto.IterALL, Limit: 10})))
	if !strings.Contains(row, q.listen) {
		t.Errorf("_pico_peer_address has not the new address %s: %s", q.listen, row)
	}
}

func TestTwoStartsOnOneDirectory(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	began := time.Now()
	q := startInstance(t, options{dir: p.dir})
	code := q.ended(waitStop)
	if code != 2 || !strings.Contains(q.output(), strconv.Itoa(p.pid())) {
		t.Errorf("exit code %d, want 2 and process %d:\n%s", code, p.pid(), q.output())
	}
	if took := time.Since(began); took < 3*time.Second {
		t.Errorf("it waited only %s for the lock", took)
	}
	if s, ok := p.status(); !ok || s.State != "RolesConfigured" {
		t.Errorf("the first instance: %+v", s)
	}
	// A start that waits goes on when the other one ends.
	q = startInstance(t, options{dir: p.dir})
	waitFor(t, "the second start to wait", waitStart, func() bool { return strings.Contains(q.output(), "held by") })
	p.stop()
	q.online()
}

func TestTakenPorts(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "udp"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			address := freeAddress(t)
			release := take(t, network, address)
			p := startInstance(t, options{listen: address})
			s := p.state("InitError")
			if s.Cause == nil || !strings.Contains(s.Cause.Message, address) {
				t.Errorf("cause %+v", s.Cause)
			}
			if code, _ := p.get("/health/ready"); code != 503 {
				t.Errorf("ready: %d", code)
			}
			if code, _ := p.get("/health/live"); code != 200 {
				t.Errorf("live: %d", code)
			}
			code, out, errs := run(t, "status", "--peer", p.adminSocket())
			if code != 0 || !strings.Contains(out, "InitError") || !strings.Contains(out, address) {
				t.Errorf("status: %d\n%s%s", code, out, errs)
			}
			p.signal(15)
			if code := p.ended(waitStop); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			release()
			p.again().online()
		})
	}
}

// TestPortFreedInTime: a port that becomes free within seconds is waited for.
func TestPortFreedInTime(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "udp"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			address := freeAddress(t)
			release := take(t, network, address)
			p := startInstance(t, options{listen: address})
			var s status
			waitFor(t, "the wait to be named", waitStart, func() bool {
				var ok bool
				s, ok = p.status()
				return ok && (s.State == "InitError" || s.WaitingFor != nil && strings.Contains(*s.WaitingFor, address))
			})
			release()
			if s.State == "InitError" {
				t.Fatalf("not waited for: %+v", s.Cause)
			}
			p.online()
		})
	}
}

// take holds an address until the returned function is called.
func take(t *testing.T, network, address string) (release func()) {
	t.Helper()
	if network == "udp" {
		l, err := net.ListenPacket("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		return func() { l.Close() }
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return func() { l.Close() }
}

// used makes a data directory that holds a space with one row.
func used(t *testing.T) (dir, uuid string) {
	t.Helper()
	p := startInstance(t, options{noHTTP: true})
	var s status
	waitFor(t, "the instance", waitStart, func() bool {
		code, out, _ := run(t, "status", "--json", "--peer", p.adminSocket(), "--timeout", "1s")
		return code == 0 && strings.Contains(out, `"RolesConfigured"`) && strings.Contains(out, `"Online"`) && decode(out, &s)
	})
	createSpace(t, p.admin(), 600, "t1").insert(list{1, "kept"})
	p.stop()
	return p.dir, s.InstanceUUID
}

// TestInitError breaks one thing of a data directory at a time. The process stays reachable, says why, changes nothing,
// and goes on once the thing is mended.
func TestInitError(t *testing.T) {
	t.Parallel()
	dir, uuid := used(t)
	for _, c := range []struct {
		name, says string
		spoil      func(t *testing.T, dir string) (mend func())
	}{
		{"no config", "config", moveAway("config")},
		{"broken config", "config", rewrite(currentConfig(t, dir)+"/topology.yml", "instances: [")},
		{"config of another checksum", "config", rewrite(currentConfig(t, dir)+"/topology.yml", "instances: {}\n")},
		{"no current config", "config", rewrite("config/CURRENT", "77\n")},
		{"data without identity", "identity", moveAway("identity")},
		{"damaged identity", "identity", rewrite("identity", "lycosa identity 1\n{}\n")},
		{"empty identity", "identity", rewrite("identity", "")},
		{"damaged entrypoint", "entrypoint", rewrite("entrypoint", "nonsense")},
	} {
		t.Run(c.name, func(t *testing.T) {
			mend := c.spoil(t, dir)
			before := tree(t, dir)
			p := startInstance(t, options{dir: dir})
			s := p.state("InitError")
			if s.Cause == nil || !strings.Contains(s.Cause.Message, c.says) {
				t.Errorf("cause %+v, want one about %s", s.Cause, c.says)
			}
			_, err := dial(t, p.adminSocket(), client.Options{}).Select(context.Background(), iproto.SelectArgs{Space: 600, Limit: 1})
			if codeOf(err) <= 0 || !strings.Contains(err.Error(), c.says) {
				t.Errorf("select: %v, want the cause", err)
			}
			p.signal(15)
			if code := p.ended(waitStop); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if after := tree(t, dir); after != before {
				t.Errorf("files changed from\n%s\nto\n%s", before, after)
			}
			mend()
		})
	}
	p := startInstance(t, options{dir: dir})
	if s := p.online(); s.InstanceUUID != uuid {
		t.Errorf("instance uuid %s, before %s", s.InstanceUUID, uuid)
	}
	if got := (table{t, p.admin(), 600}).json(); got != `[[1,"kept"]]` {
		t.Errorf("rows %s", got)
	}
}

func moveAway(name string) func(*testing.T, string) func() {
	return func(t *testing.T, dir string) func() {
		from, to := filepath.Join(dir, name), filepath.Join(t.TempDir(), "away")
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
		back := filepath.Join(filepath.Dir(dir), "away-"+filepath.Base(name))
		if err := os.Rename(to, back); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := os.Rename(back, from); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func rewrite(name, text string) func(*testing.T, string) func() {
	return func(t *testing.T, dir string) func() {
		path := filepath.Join(dir, name)
		old, err := os.ReadFile(path)
		existed := err == nil
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err = os.Remove(path); err == nil && existed {
				err = os.WriteFile(path, old, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// tree lists the files of a directory with their sizes, without those that every start may write.
func tree(t testing.TB, dir string) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch d.Name() {
		case "audit.log", "admin.sock", "lock", ".cookie":
			return nil
		}
		info, err := d.Info()
		if err == nil && !d.IsDir() {
			lines = append(lines, path+" "+strconv.FormatInt(info.Size(), 10))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

func TestTarantoolDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	foreign := filepath.Join(dir, "00000000000000000000.snap")
	if err := os.WriteFile(foreign, []byte("SNAP\n0.13\nVersion: 2.6.0\n\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := startInstance(t, options{dir: dir})
	if s := p.state("InitError"); s.Cause == nil || !strings.Contains(s.Cause.Message, "lycosa import") {
		t.Errorf("cause %+v", s.Cause)
	}
	p.signal(15)
	if code := p.ended(waitStop); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if err := os.Remove(foreign); err != nil {
		t.Fatal(err)
	}
	p.again().online()
}

// TestLostData: a member whose data is gone does not begin anew, it waits and says what to do.
func TestLostData(t *testing.T) {
	t.Parallel()
	dir, _ := used(t)
	mend := moveAway("data")(t, dir)
	p := startInstance(t, options{dir: dir})
	if s := p.state("ConfigLoaded"); s.Cause == nil || !strings.Contains(s.Cause.Message, "lycosa replace") {
		t.Errorf("cause %+v", s.Cause)
	}
	p.signal(15)
	p.ended(waitStop)
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		if err := os.RemoveAll(filepath.Join(dir, "data")); err != nil {
			t.Fatal(err)
		}
	}
	mend()
	p = startInstance(t, options{dir: dir})
	p.online()
	if got := (table{t, p.admin(), 600}).json(); got != `[[1,"kept"]]` {
		t.Errorf("rows %s", got)
	}
}

// TestUnknownFilesSurvive puts files of nobody's into the directory, before the first start and between starts.
func TestUnknownFilesSurvive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var ours []string
	put := func(names ...string) {
		t.Helper()
		for _, name := range names {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(name), 0o640); err != nil {
				t.Fatal(err)
			}
			ours = append(ours, name)
		}
	}
	check := func(when string) {
		t.Helper()
		for _, name := range ours {
			if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != name {
				t.Errorf("%s: %s: %v", when, name, err)
			}
		}
	}
	put("notes.txt", "mine/deep/file", ".hidden", "identity.bak", "database.sqlite")
	p := startInstance(t, options{dir: dir})
	p.online()
	check("after boot")
	p.stop()
	put("data/README", "catalog/README", "config/README")
	p = p.again()
	p.online()
	do(t, "snapshot")(p.admin().Call(context.Background(), "box.snapshot", nil))
	check("after a restart")
	p.stop()
	check("after a stop")
}
