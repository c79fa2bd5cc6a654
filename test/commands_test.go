package test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

func TestCommands(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(adminPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect := func(want int, contains string, args ...string) string {
		t.Helper()
		code, out, errs := run(t, args...)
		if code != want || !strings.Contains(out+errs, contains) {
			t.Errorf("lycosa %s: exit code %d, want %d and %q\n%s%s", strings.Join(args, " "), code, want, contains, out, errs)
		}
		return out
	}
	expect(0, "RolesConfigured", "status", "--peer", p.listen)
	expect(0, "Online", "status", "--peer", p.adminSocket())
	var doc status
	if err := json.Unmarshal([]byte(expect(0, "", "status", "--json", "--peer", p.listen)), &doc); err != nil || doc.State != "RolesConfigured" ||
		doc.PID != p.childPID() {
		t.Errorf("status --json: %v, %+v", err, doc)
	}
	expect(0, "Lycosa", "version")
	expect(0, "Usage", "--help")
	expect(0, "--data-dir", "run", "--help")
	expect(4, "reach", "status", "--peer", freeAddress(t), "--timeout", "2s")
	expect(1, "denied", "checkpoint", "--peer", p.listen)
	expect(0, ".snap", "checkpoint", "--peer", p.adminSocket())
	expect(0, ".snap", "checkpoint", "--peer", p.listen, "--user", "admin", "--password-file", password)
	expect(2, "--data-dir", "run", "--data-dri", "x")
	expect(2, "--peer", "status", "--pear", "x")
	expect(2, "status", "statsu")
	expect(2, "unexpected", "status", "x")
	expect(2, "listen", "run", "--listen", "nonsense")
	for _, name := range []string{"demo", "status", "expel", "replace", "promote", "abort-ddl", "bootstrap", "recover", "checkpoint", "inspect", "version", "run"} {
		if out := expect(0, "Examples:", name, "--help"); !strings.Contains(out, "lycosa "+name) {
			t.Errorf("help of %s has no example of it: %s", name, out)
		}
	}
	yaml := filepath.Join(t.TempDir(), "lycosa.yml")
	if err := os.WriteFile(yaml, []byte("# comment\nlistn: 127.0.0.1:3301\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := expect(2, "listn", "run", "--config", yaml)
	if _, _, errs := run(t, "run", "--config", yaml); !strings.Contains(errs, "listen") || !strings.Contains(errs, "2") {
		t.Errorf("an unknown key does not name its line and the nearest one: %s%s", out, errs)
	}
}

// TestRefusedStarts: what cannot work ends at once with exit code 2 and a sentence.
func TestRefusedStarts(t *testing.T) {
	t.Parallel()
	open := filepath.Join(t.TempDir(), "open")
	if err := os.WriteFile(open, []byte("secret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cookie := filepath.Join(t.TempDir(), "cookie")
	if err := os.WriteFile(cookie, []byte("0123456789abcdef0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	port := strings.TrimPrefix(freeAddress(t), "127.0.0.1")
	for _, c := range []struct {
		says string
		args []string
	}{
		{"advertise", []string{"--listen", "0.0.0.0" + port}},
		{"cookie", []string{"--listen", "0.0.0.0" + port, "--advertise", "10.1.2.3" + port}},
		{"script", []string{"--listen", "127.0.0.1" + port, "--script", "app.lua"}},
		{"others", []string{"--listen", "127.0.0.1" + port, "--admin-password-file", open}},
		{"cookie", []string{"--listen", "127.0.0.1" + port, "--cookie-file", filepath.Join(t.TempDir(), "none")}},
		{"shutdown-timeout", []string{"--listen", "127.0.0.1" + port, "--shutdown-timeout", "soon"}},
		{"memory", []string{"--listen", "127.0.0.1" + port, "--memory", "lots"}},
		{"wal-mode", []string{"--listen", "127.0.0.1" + port, "--wal-mode", "maybe"}},
		{"assembly", []string{"--listen", "127.0.0.1" + port, "--assembly", "manual", "--cookie-file", cookie}},
	} {
		dir := filepath.Join(t.TempDir(), "data")
		code, out, errs := run(t, append([]string{"run", "--data-dir", dir}, c.args...)...)
		if code != 2 || !strings.Contains(errs, c.says) {
			t.Errorf("lycosa run %s: exit code %d, want 2 and %s\n%s%s", strings.Join(c.args, " "), code, c.says, out, errs)
		}
	}
}

// TestInspect reads every file that an instance writes.
func TestInspect(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	c := p.admin()
	s := createSpace(t, c, 600, "t1")
	for n := range 100 {
		s.insert(list{n, strings.Repeat("x", 100)})
	}
	do(t, "snapshot")(c.Call(context.Background(), "box.snapshot", nil))
	s.insert(list{1000, "after the snapshot"})
	p.stop()

	seen := map[string]int{}
	err := filepath.WalkDir(p.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.Type().IsRegular() {
			return nil
		}
		return inspectFile(t, path, seen)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"identity", "data/*.snap", "after the snapshot", "lock", ".cookie", "reserve", "audit.log", "CURRENT"} {
		if seen[want] == 0 {
			t.Errorf("inspect showed no %s: %v", want, seen)
		}
	}
	checkDamage(t, p.dir)
	// What the real server writes is shown as well.
	dir := t.TempDir()
	startTarantool(t, dir, "")
	theirs, err := filepath.Glob(dir + "/*.snap")
	if err != nil || len(theirs) != 1 {
		t.Fatalf("snapshots of tarantool: %v, %v", theirs, err)
	}
	if code, out, errs := run(t, "inspect", theirs[0]); code != 0 || !strings.Contains(out, `"_vspace"`) {
		t.Errorf("inspect %s: exit code %d: %s", theirs[0], code, errs)
	}
}

// inspectFile runs inspect on one file; every line must be JSON.
func inspectFile(t *testing.T, path string, seen map[string]int) error {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	code, out, errs := run(t, "inspect", path)
	if secret := string(bytes.TrimSpace(content)); filepath.Base(path) == ".cookie" && strings.Contains(out+errs, secret) {
		t.Error("inspect shows the cookie")
	}
	if code != 0 {
		t.Errorf("inspect %s: exit code %d: %s", path, code, errs)
		return nil
	}
	for n, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("inspect %s: line %d is not JSON: %.200s", path, n+1, line)
			break
		}
	}
	seen[filepath.Base(path)]++
	if strings.HasSuffix(path, ".snap") && strings.Count(out, `"space_id":600`) == 100 {
		seen["data/*.snap"]++
	}
	if strings.Contains(out, "after the snapshot") {
		seen["after the snapshot"]++
	}
	return nil
}

// checkDamage changes one byte in the middle of a snapshot and of the identity.
func checkDamage(t *testing.T, dir string) {
	t.Helper()
	found := snapshots(t, dir)
	for _, path := range []string{found[len(found)-1], filepath.Join(dir, "identity")} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 0x40
		damaged := filepath.Join(t.TempDir(), "damaged")
		if err := os.WriteFile(damaged, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if code, out, errs := run(t, "inspect", damaged); code != 1 || errs == "" {
			t.Errorf("inspect of a damaged %s: exit code %d\n%s%s", filepath.Base(path), code, out, errs)
		}
	}
	if code, _, _ := run(t, "inspect", filepath.Join(dir, "nothing")); code != 1 {
		t.Errorf("inspect of a file that is not there: exit code %d", code)
	}
}

// TestBeforeLogin: what an unknown guest may do, and what he may not.
func TestBeforeLogin(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	s := p.online()
	createSpace(t, p.admin(), 600, "t1").insert(list{1})
	c := dial(t, p.listen, client.Options{})
	if g := c.Greeting(); g.Version != "2.11.0" || g.UUID != s.InstanceUUID {
		t.Errorf("greeting %+v", g)
	}
	ctx := context.Background()
	if err := c.Ping(ctx); err != nil {
		t.Error(err)
	}
	if _, err := c.Call(ctx, ".proc_instance_info", nil); err != nil {
		t.Error(err)
	}
	for _, id := range []uint32{spaceVSpace, 289, 277, spaceInstances, 414, spaceVSpaceSequence} {
		if rows, err := c.Select(ctx, iproto.SelectArgs{Space: id, Iterator: iproto.IterALL, Limit: 1000}); err != nil {
			t.Errorf("guest reads %d: %v", id, err)
		} else if id != 414 && id != spaceVSpaceSequence && len(split(t, rows)) == 0 {
			t.Errorf("guest sees nothing in %d", id)
		}
	}
	for _, id := range []uint32{600, spaceSpace, spaceUser} {
		if _, err := c.Select(ctx, iproto.SelectArgs{Space: id, Iterator: iproto.IterALL, Limit: 1}); codeOf(err) != 42 {
			t.Errorf("guest reads %d: %v", id, err)
		}
	}
	if _, err := c.Insert(ctx, 600, pack(list{2})); codeOf(err) != 42 {
		t.Errorf("guest writes: %v", err)
	}
	if _, err := c.Call(ctx, "box.snapshot", nil); codeOf(err) != 42 {
		t.Errorf("guest snapshots: %v", err)
	}
	visible := toJSON(t, do(t, "views")(c.Select(ctx, iproto.SelectArgs{Space: spaceVSpace, Iterator: iproto.IterALL, Limit: 1000})))
	if strings.Contains(visible, `"t1"`) || strings.Contains(visible, `"_user"`) {
		t.Errorf("guest sees spaces that he may not read: %s", visible)
	}
	for _, wrong := range []client.Options{{User: "admin", Password: []byte("wrong")}, {User: "nobody", Password: []byte("x")}} {
		dialed, err := client.Dial(ctx, p.listen, wrong)
		if err == nil {
			dialed.Close()
		}
		if codeOf(err) <= 0 {
			t.Errorf("login as %s with a wrong password: %v", wrong.User, err)
		}
	}
	dial(t, p.listen, client.Options{User: "admin", Password: []byte(adminPassword)})
	p.stop()
	text, err := os.ReadFile(filepath.Join(p.dir, "audit.log"))
	if err != nil || !bytes.Contains(text, []byte("nobody")) {
		t.Errorf("the audit log has no failed login: %v", err)
	}
	if bytes.Contains(text, []byte(adminPassword)) || strings.Contains(p.output(), adminPassword) {
		t.Error("a password is in a log")
	}
}
