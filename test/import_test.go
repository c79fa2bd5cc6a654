package test

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/lycosadb/lycosa/internal/box/snap"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

// importReport is what the tests read of the output of import --json.
type importReport struct {
	Begun, Whole bool
	Spaces       []struct {
		Name                    string
		SourceID                uint32 `json:"source_id"`
		ID                      uint32
		State                   string
		Rows, Snapshot, Refused uint64
		Logs                    uint64
		Indexes                 int
	}
	Users, Sequences, Logs []string
	Grants, Constraints    int
	Notes                  []struct{ Kind, Name, What, Reason string }
}

// noted tells whether there is a note, of which a part of the reason is given.
func (r *importReport) noted(kind, name, what, reason string) bool {
	for _, n := range r.Notes {
		if n.Kind == kind && n.Name == name && n.What == what && strings.Contains(n.Reason, reason) {
			return true
		}
	}
	return false
}

// runImport runs the command over the admin socket and requires an exit code.
func runImport(t *testing.T, p *proc, code int, args ...string) (r importReport, errs string) {
	t.Helper()
	got, out, errs := run(t, append([]string{"import", "--json", "--peer", p.adminSocket()}, args...)...)
	if got != code {
		t.Fatalf("import %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, out, errs)
	}
	if strings.HasPrefix(out, "{") && !decode(out, &r) {
		t.Fatalf("import %s: %s", strings.Join(args, " "), out)
	}
	return r, errs
}

// usedTarantool fills a directory with the files of a killed Tarantool.
func usedTarantool(t *testing.T) string {
	t.Helper()
	dir := shortDir(t)
	cmd := exec.Command("tarantool", "testdata/import_source.lua", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if state, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || state.Signal() != syscall.SIGKILL {
		t.Fatalf("import_source.lua: %v\n%s", err, out)
	}
	if err := os.Remove(filepath.Join(dir, "sock")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// shortDir is a directory whose sockets have paths that a Tarantool can bind.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lycosa-import-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func copyDir(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(shortDir(t), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// compareImported lets the real tarantool recover from a copy of the directory and compare everything.
func compareImported(t *testing.T, p *proc, dir string, leftOut ...string) {
	t.Helper()
	args := append([]string{"testdata/import_compare.lua", copyDir(t, dir), p.listen, adminPassword}, leftOut...)
	cmd := exec.Command("tarantool", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("11 spaces, ")) || !bytes.Contains(out, []byte(" 0 differences")) {
		t.Errorf("the imported is not what was there: %v\n%s", err, out)
	}
}

// TestImport brings everything of a Tarantool over that was in use and was killed: what tarantool itself recovers from
// the files is what is here afterwards.
func TestImport(t *testing.T) {
	t.Parallel()
	dir := usedTarantool(t)
	p := startInstance(t, options{})
	p.online()
	c := p.admin()
	before := (table{t, c, 280}).json()

	planned, _ := runImport(t, p, 0, "--from", dir, "--dry-run")
	if after := (table{t, c, 280}).json(); after != before {
		t.Error("a dry run has written")
	}
	r, _ := runImport(t, p, 0, "--from", dir)
	if !r.Whole || len(r.Spaces) != 11 || len(r.Logs) < 2 || len(r.Sequences) != 4 || r.Grants != planned.Grants ||
		!slices.Equal(r.Users, []string{"ann", "reader", "bob"}) && !slices.Equal(r.Users, []string{"ann", "bob", "reader"}) {
		t.Errorf("report %+v", r)
	}
	for i, s := range r.Spaces {
		if q := planned.Spaces[i]; s.State != "whole" || s.ID != s.SourceID || q.State != "planned" || q.Indexes != s.Indexes || q.Logs != s.Logs {
			t.Errorf("space %+v, planned %+v", s, q)
		}
		if s.Indexes == 0 {
			continue
		}
		if n := uint64(len((table{t, c, s.ID}).rows())); n != s.Rows {
			t.Errorf("space %s has %d rows, the report says %d", s.Name, n, s.Rows)
		}
	}
	for _, list := range []importReport{planned, r} {
		for _, want := range [][4]string{{"space", "vinyl", "left out", "vinyl"}, {"space", "SEEN", "left out", "view"},
			{"index", "all.tags", "left out", "error 14"}, {"index", "geo.rtree", "left out", "error 13"},
			{"function", "stored", "left out", "LUA"}, {"grant", "ann on space vinyl", "left out", ""},
			{"grant", "guest on space all", "brought over", ""}, {"file", filepath.Base(r.Logs[len(r.Logs)-1]), "not closed", ""}} {
			if !list.noted(want[0], want[1], want[2], want[3]) {
				t.Errorf("the list lacks %v: %+v", want, list.Notes)
			}
		}
	}
	const checks, foreignKeys = 364, 356
	if got := (table{t, c, checks}).json() + (table{t, c, foreignKeys}).json(); r.Constraints != 2 || planned.Constraints != 2 ||
		!strings.Contains(got, `[521,"POSITIVE",`) || !strings.Contains(got, `"fk_unnamed_CHILD_1",522,521,`) {
		t.Errorf("constraints %s, %+v", got, r.Notes)
	}
	compareImported(t, p, dir, "vinyl", "SEEN")
	if err := dial(t, p.listen, client.Options{User: "ann", Password: []byte("changed")}).Ping(context.Background()); err != nil {
		t.Errorf("ann, with the password of Tarantool: %v", err)
	}
	importAgain(t, p, dir)
}

// importAgain: a second import touches nothing unless it is told to, and then gives the same.
func importAgain(t *testing.T, p *proc, dir string) {
	t.Helper()
	c := p.admin()
	before := (table{t, c, 280}).json() + (table{t, c, 513}).json()
	if r, errs := runImport(t, p, 1, "--from", dir); r.Begun || !strings.Contains(errs, "error 12021") || !strings.Contains(errs, "--replace") {
		t.Errorf("import over what is there: %s", errs)
	}
	if r, _ := runImport(t, p, 0, "--from", dir, "--skip-existing"); len(r.Spaces) != 0 || !r.noted("space", "auto", "left out", "exists") {
		t.Errorf("import of what is not there: %+v", r)
	}
	if after := (table{t, c, 280}).json() + (table{t, c, 513}).json(); after != before {
		t.Error("an import that was to leave spaces alone has changed them")
	}
	r, _ := runImport(t, p, 0, "--from", dir, "--replace")
	for _, s := range r.Spaces {
		if s.State != "whole" || s.ID == s.SourceID || r.Constraints != 2 || !r.noted("space", s.Name, "replaced", "") {
			t.Errorf("replaced: %+v", s)
		}
	}
	compareImported(t, p, dir, "vinyl", "SEEN")
}

// TestImportRefused: what cannot be imported is refused with a number, before anything is written.
func TestImportRefused(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	running := t.TempDir()
	startTarantool(t, running, "")
	if _, errs := runImport(t, p, 1, "--from", running); !strings.Contains(errs, "error 126") || !strings.Contains(errs, "Stop the Tarantool") {
		t.Errorf("files of a running Tarantool: %s", errs)
	}
	if _, errs := runImport(t, p, 1, "--from", t.TempDir()); !strings.Contains(errs, "error 93") {
		t.Errorf("an empty directory: %s", errs)
	}
	if _, errs := runImport(t, p, 1, "--from", "/nonexistent"); !strings.Contains(errs, "error 12020") {
		t.Errorf("no directory: %s", errs)
	}
	if _, errs := runImport(t, p, 2); !strings.Contains(errs, "--from") {
		t.Errorf("without --from: %s", errs)
	}
	dir := t.TempDir()
	writeFiles(t, dir, 3, "row")
	if code, _, errs := run(t, "import", "--from", dir, "--peer", "127.0.0.1:1"); code != 4 {
		t.Errorf("nobody listens: exit code %d, %s", code, errs)
	}
	if code, _, errs := run(t, "import", "--from", dir, "--peer", p.listen); code != 1 || !strings.Contains(errs, "error 42") {
		t.Errorf("as guest: exit code %d, %s", code, errs)
	}
	if _, errs := runImport(t, p, 1, "--from", dir, "--space", "nope"); !strings.Contains(errs, "nope") {
		t.Errorf("a space that is not there: %s", errs)
	}
}

// writeFiles makes a snapshot as a Tarantool 3.x writes it, with a space of some rows, and a log after it.
func writeFiles(t *testing.T, dir string, rows int, text string) {
	t.Helper()
	const instance = "aaaaaaaa-0000-4000-8000-000000000001"
	insert := func(space uint32, tuple any) snap.Row {
		return snap.Row{Type: snap.TypeInsert, SpaceID: space, Tuple: pack(tuple)}
	}
	all := []snap.Row{
		insert(272, list{"version", 3, 1, 0}),
		insert(280, list{600, 1, "new", "memtx", 0, dict{"type": "normal", "constraint": dict{"positive": 7}}, list{
			dict{"name": "id", "type": "uint64"}, dict{"name": "n", "type": "int8", "default": 5, "constraint": dict{"positive": 7}},
			dict{"name": "note", "type": "string", "is_nullable": true}}}),
		insert(280, list{601, 1, "temp", "memtx", 0, dict{"type": "data-temporary"}, list{}}),
		insert(288, list{600, 0, "pk", "tree", dict{"unique": true, "hint": true}, list{dict{"field": 0, "type": "uint64", "sort_order": "asc"}}}),
		insert(288, list{600, 1, "back", "tree", dict{"unique": false}, list{dict{"field": 1, "type": "int8", "sort_order": "desc"}}}),
		insert(304, list{40, 1, "neu", "user", dict{"pap-sha256": "x"}, list{}, 1700000000}),
		insert(312, list{1, 40, "weird", "", 4}), insert(312, list{1, 40, "space", 600, 3}),
	}
	for n := range rows {
		all = append(all, insert(600, list{n, n % 100, text}))
	}
	writeFile(t, filepath.Join(dir, "00000000000000000005.snap"), snap.Meta{Kind: snap.KindSnap, Instance: instance, VClock: map[uint32]uint64{1: 5}}, all)
	writeFile(t, filepath.Join(dir, "00000000000000000005.xlog"), snap.Meta{Kind: snap.KindXlog, Instance: instance, VClock: map[uint32]uint64{1: 5}}, []snap.Row{
		{Type: snap.TypeReplace, ReplicaID: 1, LSN: 6, SpaceID: 600, Tuple: pack(list{0, -1, "of the log"}), OldTuple: pack(list{0, 0}), NewTuple: pack(list{0, -1})},
		{Type: snap.TypeRaft, GroupID: 1, Body: []byte{0x82, 0, 2, 1, 1}},
		{Type: snap.TypeInsert, ReplicaID: 1, LSN: 7, SpaceID: 600, Tuple: pack(list{rows, 1, "two"})},
		{Type: snap.TypeInsert, ReplicaID: 1, LSN: 8, SpaceID: 600, Tuple: pack(list{rows + 1, "no number", "three"})},
	})
}

func writeFile(t *testing.T, path string, m snap.Meta, rows []snap.Row) {
	t.Helper()
	m.Version = "3.1.0"
	var b bytes.Buffer
	w, err := snap.NewWriter(&b, m)
	for i := range rows {
		if err == nil {
			err = w.WriteRow(rows[i])
		}
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = os.WriteFile(path, b.Bytes(), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestImportNewer: of a 3.x what is like 2.x; the rest is listed, a refused row too, with exit code 1 at the end.
func TestImportNewer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFiles(t, dir, 3, "row")
	p := startInstance(t, options{})
	p.online()
	r, errs := runImport(t, p, 1, "--from", dir)
	if !strings.Contains(errs, "error 12022") || !r.Begun || r.Whole || len(r.Spaces) != 2 || r.Spaces[0].Refused != 1 || r.Spaces[0].Rows != 4 ||
		r.Spaces[0].State != "whole" || r.Grants != 1 {
		t.Errorf("%s, %+v", errs, r)
	}
	for _, want := range [][4]string{{"file", "schema", "other version", "3.1"}, {"space", "new", "changed", "type int8 is integer now"},
		{"space", "new", "changed", "constraint"}, {"index", "new.back", "left out", "descending"}, {"index", "new.pk", "changed", "hint"},
		{"user", "neu", "changed", "pap-sha256"}, {"grant", "neu on weird (all)", "left out", ""}, {"rows", "new", "refused", "error 23"}} {
		if !r.noted(want[0], want[1], want[2], want[3]) {
			t.Errorf("the list lacks %v: %+v", want, r.Notes)
		}
	}
	if got := (table{t, p.admin(), 600}).json(); got != `[[0,-1,"of the log"],[1,1,"row"],[2,2,"row"],[3,1,"two"]]` {
		t.Errorf("rows %s", got)
	}
	code, out, _ := run(t, "import", "--from", dir, "--peer", p.adminSocket(), "--replace", "--space", "new")
	if code != 1 || !strings.Contains(out, "new.back") || strings.Contains(out, "temp") || !strings.Contains(out, "refused") {
		t.Errorf("the report for people: exit code %d\n%s", code, out)
	}
}

// TestImportNoRoom: when the memory of the cluster is full, the import ends, says so, and hides nothing of what it has begun.
// The directories of snapshot and logs may differ, and the way in may be a password.
func TestImportNoRoom(t *testing.T) {
	t.Parallel()
	dir, logs := t.TempDir(), t.TempDir()
	writeFiles(t, dir, 40_000, strings.Repeat("x", 1000))
	const log = "/00000000000000000005.xlog"
	if err := os.Rename(dir+log, logs+log); err != nil {
		t.Fatal(err)
	}
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(adminPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startInstance(t, options{args: []string{"--memory", "32MiB", "--wal-mode", "write"}})
	p.online()
	args := []string{"import", "--snap-dir", dir, "--wal-dir", logs, "--peer", p.listen, "--user", "admin", "--password-file", password}
	code, out, errs := run(t, args...)
	if code != 1 || !strings.Contains(errs, "error 2)") || !strings.Contains(errs, "--memory") || !strings.Contains(out, "unfinished") {
		t.Errorf("import into too little memory: exit code %d\n%s%s", code, out, errs)
	}
	if code, out, errs = run(t, append(args, "--space", "temp")...); code != 0 || !strings.Contains(out, "removed") || !strings.Contains(out, "whole") {
		t.Errorf("import of another space afterwards: exit code %d\n%s%s", code, out, errs)
	}
}

// TestImportInterrupted: a killed import leaves nothing that looks whole, and the next one begins anew.
func TestImportInterrupted(t *testing.T) {
	t.Parallel()
	const rows = 300_000
	dir := t.TempDir()
	writeFiles(t, dir, rows, "row")
	p := startInstance(t, options{args: []string{"--wal-mode", "write"}})
	p.online()
	c := p.admin()
	names := func() string { return (table{t, c, 280}).json() }
	half := startCommand(t, options{}, []string{"import", "--from", dir, "--peer", p.adminSocket()})
	waitFor(t, "rows of an unfinished space", waitStart, func() bool {
		data, err := c.Select(context.Background(), iproto.SelectArgs{Space: 600, Iterator: 2, Offset: 1000, Limit: 1})
		return err == nil && len(data) > 1
	})
	half.signal(syscall.SIGINT)
	if code := half.ended(waitStop); code != 1 || !strings.Contains(half.output(), "interrupted") || !strings.Contains(half.output(), "unfinished") {
		t.Errorf("interrupted: exit code %d\n%s", code, half.output())
	}
	if got := names(); !strings.Contains(got, `"new (import unfinished)"`) || strings.Contains(got, `"new"`) {
		t.Error("an unfinished space does not tell so by its name")
	}
	r, _ := runImport(t, p, 1, "--from", dir) // one row is refused
	if got := names(); !r.noted("space", "new (import unfinished)", "removed", "") || r.Spaces[0].Rows != rows+1 || r.Spaces[0].ID != 600 ||
		strings.Contains(got, "unfinished") || !strings.Contains(got, `"new"`) {
		t.Errorf("the next import: %+v", r)
	}
}

// TestInspectVinyl shows every file that Tarantool's engine vinyl writes, and finds damage in each.
func TestInspectVinyl(t *testing.T) {
	t.Parallel()
	kinds := map[string]string{".vylog": `"create_run"`, ".run": `"ROWINDEX"`, ".index": `"PAGEINFO"`, ".snap": `"_vspace"`, ".xlog": `"REPLACE"`}
	shown := map[string]bool{}
	err := filepath.WalkDir(usedTarantool(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		kind := filepath.Ext(path)
		code, out, errs := run(t, "inspect", path)
		if code != 0 {
			t.Errorf("%s: exit code %d, %s", path, code, errs)
		}
		for line := range strings.Lines(out) {
			if !json.Valid([]byte(line)) {
				t.Errorf("%s: not JSON: %s", path, line)
			}
		}
		shown[kind] = shown[kind] || strings.Contains(out, kinds[kind])
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		data[len(data)-6] ^= 0x10
		bad := filepath.Join(t.TempDir(), "damaged"+kind)
		if err := os.WriteFile(bad, data, 0o600); err != nil {
			return err
		}
		if code, _, errs := run(t, "inspect", bad); code != 1 || !strings.Contains(errs, "offset") {
			t.Errorf("%s, damaged: exit code %d, %s", path, code, errs)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for kind := range kinds {
		if !shown[kind] {
			t.Errorf("no file %s with %s was shown", kind, kinds[kind])
		}
	}
}
