package test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// TestTarantoolOpensSnapshot: the real server starts from our snapshot and has the same rows, spaces, indexes, users and
// grants, byte by byte.
func TestTarantoolOpensSnapshot(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	foreign(t, "testdata", "tarantool", "rows.lua", p.listen, adminPassword)
	ours := p.admin()
	// What net.box of 2.6 cannot send: binary strings, and a row that is larger than a block of the file.
	do(t, "binary")(ours.Insert(context.Background(), 600, pack(list{5, 1, 1, 1.5, "s", []byte{0, 255, 1}, true, []byte("scalar")})))
	do(t, "large")(ours.Insert(context.Background(), 601, pack(list{"large", strings.Repeat("0123456789", 100_000)})))
	code, out, errs := run(t, "checkpoint", "--peer", p.adminSocket())
	if code != 0 {
		t.Fatalf("checkpoint: exit code %d\n%s%s", code, out, errs)
	}
	path, _, _ := strings.Cut(out, ":")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("checkpoint printed %q: %v", out, err)
	}
	dir := t.TempDir()
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, filepath.Base(path)), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	address := startTarantool(t, dir, "")
	theirs := dial(t, address, client.Options{User: "admin", Password: []byte(adminPassword)})
	if g := theirs.Greeting(); g.UUID != ours.Greeting().UUID {
		t.Errorf("instance uuid %s, ours is %s", g.UUID, ours.Greeting().UUID)
	}
	counts := map[uint32]int{600: 3006, 601: 1001, 602: 1000, 603: 0}
	for id, want := range counts {
		sameRows(t, id, (table{t, theirs, id}).rows(), (table{t, ours, id}).rows(), want)
	}
	for _, id := range []uint32{spaceSpace, spaceIndex, spaceUser, spacePriv, spaceFunc, spaceCluster, spaceCollation} {
		sameDictionary(t, id, (table{t, theirs, id}).rows(), (table{t, ours, id}).rows())
	}
	sameSecondary(t, theirs, ours)
	checkRights(t, address)
	checkRights(t, p.listen)
}

// sameRows compares rows in order, those of HASH indexes in any.
func sameRows(t *testing.T, id uint32, got, want [][]byte, count int) {
	t.Helper()
	if len(got) != count || len(want) != count {
		t.Errorf("space %d: %d rows there, %d here, want %d", id, len(got), len(want), count)
		return
	}
	if id == 601 {
		seen := map[string]bool{}
		for _, row := range got {
			seen[string(row)] = true
		}
		for _, row := range want {
			if !seen[string(row)] {
				t.Errorf("space %d: row %.100x is missing", id, row)
			}
		}
		return
	}
	for n := range want {
		if !bytes.Equal(got[n], want[n]) {
			t.Errorf("space %d, row %d: %s, want %s", id, n, toJSON(t, got[n]), toJSON(t, want[n]))
			return
		}
	}
}

// sameDictionary requires that every row there is one of ours, and that all of ours are there which a server of 2.6 can
// have. What only we have is built in here and never written.
func sameDictionary(t *testing.T, id uint32, got, want [][]byte) {
	t.Helper()
	ours := map[string]bool{}
	for _, row := range want {
		ours[string(row)] = true
	}
	for _, row := range got {
		if !ours[string(row)] {
			t.Errorf("space %d: %s is not ours", id, toJSON(t, row))
		}
		delete(ours, string(row))
	}
	for row := range ours {
		if !onlyOurs(t, id, []byte(row)) {
			t.Errorf("space %d: %s is missing there", id, toJSON(t, []byte(row)))
		}
	}
}

// onlyOurs tells rows about what only we have: the tables of the catalog, and procedures of ours with their grants.
func onlyOurs(t *testing.T, id uint32, row []byte) bool {
	t.Helper()
	switch id {
	case spaceSpace, spaceIndex:
		space := firstUint(t, row)
		return space == spaceVSpaceSequence || space >= 412 && space <= 435
	case spaceFunc:
		return bytes.Contains(row, []byte(".proc_")) || bytes.Contains(row, []byte("pico."))
	case spacePriv:
		_, b, _ := msgpack.ReadArrayLen(row)
		_, b, _ = msgpack.ReadUint(b)
		_, b, _ = msgpack.ReadUint(b)
		kind, b, _ := msgpack.ReadStr(b)
		object, _, _ := msgpack.ReadUint(b)
		return string(kind) == "function" && object >= 100 ||
			string(kind) == "space" && (object == spaceVSpaceSequence || object >= 412 && object <= 435)
	}
	return false
}

// sameSecondary compares reads over the secondary indexes, which are built anew there.
func sameSecondary(t *testing.T, theirs, ours *client.Client) {
	t.Helper()
	for _, a := range []iproto.SelectArgs{
		{Space: 600, Index: 1, Iterator: iproto.IterGE, Limit: 5000}, {Space: 600, Index: 2, Iterator: iproto.IterALL, Limit: 5000},
		{Space: 600, Index: 1, Iterator: iproto.IterREQ, Limit: 5000, Key: pack(list{"row 7"})},
		{Space: 600, Index: 2, Iterator: iproto.IterLT, Limit: 5000, Key: pack(list{100})},
		{Space: 602, Iterator: iproto.IterGT, Limit: 5000, Key: pack(list{"part 5"})},
	} {
		got := split(t, do(t, "select there")(theirs.Select(context.Background(), a)))
		want := split(t, do(t, "select here")(ours.Select(context.Background(), a)))
		if len(got) == 0 {
			t.Errorf("nothing found by %+v", a)
		}
		sameRows(t, a.Space, got, want, len(got))
	}
}

// checkRights logs in as the user that the snapshot carries.
func checkRights(t *testing.T, address string) {
	t.Helper()
	c := dial(t, address, client.Options{User: "alice", Password: []byte("secret")})
	if _, err := c.Select(context.Background(), iproto.SelectArgs{Space: 600, Limit: 1, Key: pack(list{1})}); err != nil {
		t.Errorf("%s: what is granted: %v", address, err)
	}
	if _, err := c.Insert(context.Background(), 600, pack(list{77})); codeOf(err) != 42 {
		t.Errorf("%s: what is not granted: %v", address, err)
	}
}

// TestSnapshotsKept: two snapshots are kept, the log behind the older one goes, and each of them is enough to start from.
func TestSnapshotsKept(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	s := createSpace(t, p.admin(), 600, "t1")
	var made []string
	for n := range 4 {
		s.insert(list{n})
		code, out, errs := run(t, "checkpoint", "--peer", p.adminSocket())
		path, _, _ := strings.Cut(out, ":")
		if code != 0 {
			t.Fatalf("checkpoint: %d %s", code, errs)
		}
		made = append(made, filepath.Base(path))
	}
	if _, out, _ := run(t, "checkpoint", "--peer", p.adminSocket()); !strings.Contains(out, made[3]) {
		t.Errorf("a checkpoint without changes made %s", out)
	}
	found := snapshots(t, p.dir)
	if len(found) != 2 || filepath.Base(found[0]) != made[2] || filepath.Base(found[1]) != made[3] {
		t.Errorf("snapshots %v, made were %v", found, made)
	}
	s.insert(list{100})
	want := s.json()
	p.stop()
	newest := found[1]
	for _, spoil := range []func() error{
		func() error { return nil },
		func() error { return os.Remove(newest + ".sha256") },
		func() error { return os.Truncate(newest, 100) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		p = p.again()
		p.online()
		if got := (table{t, p.admin(), 600}).json(); got != want {
			t.Errorf("rows %s, want %s", got, want)
		}
		p.stop()
	}
}

// TestCheckpointBySize: the log's size makes snapshots while clients write.
func TestCheckpointBySize(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{args: []string{"--checkpoint-wal-size", "1MiB"}})
	p.online()
	s := createSpace(t, p.admin(), 600, "t1")
	first := snapshots(t, p.dir)[0]
	payload := strings.Repeat("x", 10_000)
	n := 0
	waitFor(t, "a snapshot", waitStart, func() bool {
		for range 20 {
			s.insert(list{n, payload})
			n++
		}
		found := snapshots(t, p.dir)
		return len(found) > 0 && found[len(found)-1] != first
	})
	kill(t, p.childPID(), 9)
	waitFor(t, "the next child", waitStart, func() bool { st, ok := p.status(); return ok && st.State == "RolesConfigured" })
	p.online()
	if got := len((table{t, p.admin(), 600}).rows()); got != n {
		t.Errorf("%d rows, want %d", got, n)
	}
	p.stop()
}
