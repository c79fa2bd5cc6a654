package test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

var (
	crashSeed  = flag.Uint64("crash-seed", 0, "seed of the kills; 0 draws one")
	crashKills = flag.Int("crash-kills", 48, "number of kills, half of them during boot, half under load")
)

// victim says which processes a kill hits.
type victim int

const (
	killChild victim = iota
	killParent
	killBoth
)

func (v victim) String() string { return [...]string{"child", "parent", "both"}[v] }

// strike kills without warning and waits until nothing of what was hit is left. A child dies with its parent.
func strike(t testing.TB, p *proc, v victim) {
	t.Helper()
	children := childrenOf(p.pid())
	if v != killParent {
		for _, c := range children {
			kill(t, c, syscall.SIGKILL)
		}
	}
	if v == killChild {
		return
	}
	p.signal(syscall.SIGKILL)
	p.ended(waitStop)
	for _, c := range append(children, childrenOf(p.pid())...) {
		if !gone(t, c, waitStop) {
			t.Errorf("child %d lives on after its parent", c)
		}
	}
}

func TestKillChild(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	before := p.online()
	createSpace(t, p.admin(), 600, "t1").insert(list{1, "kept"})
	kill(t, before.PID, syscall.SIGKILL)
	var after status
	waitFor(t, "the next child", waitStart, func() bool {
		var ok bool
		after, ok = p.status()
		return ok && after.PID != before.PID && after.State == "RolesConfigured"
	})
	after = p.online()
	if after.InstanceUUID != before.InstanceUUID || !p.running() {
		t.Errorf("after %+v, before %+v", after, before)
	}
	if got := (table{t, p.admin(), 600}).json(); got != `[[1,"kept"]]` {
		t.Errorf("rows %s", got)
	}
	p.stop()
}

func TestKillParent(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	before := p.online()
	createSpace(t, p.admin(), 600, "t1").insert(list{1, "kept"})
	strike(t, p, killParent)
	p = p.again()
	if after := p.online(); after.InstanceUUID != before.InstanceUUID {
		t.Errorf("after %+v, before %+v", after, before)
	}
	if got := (table{t, p.admin(), 600}).json(); got != `[[1,"kept"]]` {
		t.Errorf("rows %s", got)
	}
	p.stop()
}

// TestNoRestart: the supervisor ends as the child did.
func TestNoRestart(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{args: []string{"--no-restart"}})
	kill(t, p.online().PID, syscall.SIGKILL)
	if code := p.ended(waitStop); code != 137 {
		t.Errorf("exit code %d, want 137", code)
	}
}

// TestKillsAtRandom kills at random instants: half of the kills hit instances that are coming up, half those under load.
// Two instances are tormented at a time.
func TestKillsAtRandom(t *testing.T) {
	t.Parallel()
	seed := *crashSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d (run again with -crash-seed %d)", seed, seed)
	each := (*crashKills + 3) / 4
	t.Run("kills", func(t *testing.T) {
		for n := range 2 {
			t.Run(fmt.Sprint("instance", n), func(t *testing.T) {
				t.Parallel()
				chance := rand.New(rand.NewPCG(seed, uint64(n)))
				killsDuringBoot(t, chance, each)
				killsUnderLoad(t, chance, each, []string{"fsync", "write"}[n])
			})
		}
	})
}

// killsDuringBoot starts instances on empty directories and kills them before, while and shortly after they boot; some
// are hit several times.
func killsDuringBoot(t *testing.T, chance *rand.Rand, kills int) {
	for kills > 0 {
		o := options{dir: filepath.Join(t.TempDir(), "data"), listen: freeAddress(t), http: freeAddress(t)}
		if err := os.MkdirAll(filepath.Join(o.dir, "data-of-others"), 0o755); err != nil {
			t.Fatal(err)
		}
		uuid := ""
		for hits := min(kills, 1+chance.IntN(4)); hits > 0; hits-- {
			kills--
			wait, v := time.Duration(chance.Int64N(int64(300*time.Millisecond))), victim(chance.IntN(3))
			p := startInstance(t, o)
			after(t, p, wait)
			strike(t, p, v)
			if v == killChild {
				// The supervisor goes on with another child, until it is hit itself.
				after(t, p, time.Duration(chance.Int64N(int64(200*time.Millisecond))))
				strike(t, p, killBoth)
			}
			uuid = sameUUID(t, o.dir, uuid)
		}
		p := startInstance(t, o)
		s := p.online()
		if uuid != "" && s.InstanceUUID != uuid {
			t.Errorf("instance uuid %s, before %s", s.InstanceUUID, uuid)
		}
		checkOneInstance(t, p)
		if _, err := os.Stat(filepath.Join(o.dir, "data-of-others")); err != nil {
			t.Error(err)
		}
		p.stop()
	}
}

// after lets a process run for a while, or to its end.
func after(t testing.TB, p *proc, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.done:
		t.Errorf("it ended by itself with exit code %d", p.code)
	}
}

// sameUUID reads the uuid that a directory has decided on, if it has, and compares it with an earlier one.
func sameUUID(t *testing.T, dir, before string) string {
	t.Helper()
	for _, name := range []string{"identity", "entrypoint"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		code, out, errs := run(t, "inspect", path)
		if code != 0 {
			t.Errorf("inspect %s: %s", path, errs)
			continue
		}
		_, rest, found := strings.Cut(out, `"instance_uuid":"`)
		if !found || len(rest) < 36 {
			t.Errorf("%s names no instance: %s", name, out)
			continue
		}
		if before != "" && rest[:36] != before {
			t.Errorf("%s names instance %s, before it was %s", name, rest[:36], before)
		}
		return rest[:36]
	}
	if before != "" {
		t.Errorf("instance %s is forgotten", before)
	}
	return before
}

func checkOneInstance(t *testing.T, p *proc) {
	t.Helper()
	c := p.admin()
	defer c.Close()
	if rows := (table{t, c, spaceInstances}).rows(); len(rows) != 1 {
		t.Errorf("%d rows in _pico_instance", len(rows))
	}
}

// killsUnderLoad kills one instance again and again while clients insert. What is written is not lost with the processes,
// synced or not.
func killsUnderLoad(t *testing.T, chance *rand.Rand, kills int, walMode string) {
	args := []string{"--checkpoint-wal-size", "4MiB", "--wal-mode", walMode}
	p := startInstance(t, options{args: args})
	uuid := p.online().InstanceUUID
	createSpace(t, p.admin(), 600, "t1")
	l := &load{payload: strings.Repeat("p", 200)}
	for ; kills > 0; kills-- {
		v := victim(chance.IntN(3))
		child := p.childPID()
		stop := l.run(p, chance.IntN(3) == 0)
		after(t, p, time.Duration(20+chance.Int64N(int64(300)))*time.Millisecond)
		strike(t, p, v)
		stop()
		if v == killChild {
			waitFor(t, "the next child", waitStart, func() bool { s, ok := p.status(); return ok && s.PID != child })
		} else {
			p = p.again(args...)
		}
		if s := p.online(); s.InstanceUUID != uuid {
			t.Fatalf("instance uuid %s, before %s", s.InstanceUUID, uuid)
		}
		checkOneInstance(t, p)
		l.check(t, p)
	}
	if l.acked() == 0 {
		t.Error("nothing was acknowledged between the kills")
	}
	t.Logf("%d rows were acknowledged", l.acked())
	p.stop()
}

// load is a number of clients that insert rows [key, payload] with keys that are never used twice, and remember which
// were acknowledged.
type load struct {
	payload string
	next    uint64
	// sent and done hold the outcome of each key: sent are all below next; done are those with an acknowledgement.
	mu   sync.Mutex
	done map[uint64]bool
}

const (
	loadClients  = 4
	loadInFlight = 32
)

func (l *load) acked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.done)
}

// key draws the next key.
func (l *load) key() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	return l.next
}

func (l *load) ack(key uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		l.done = map[uint64]bool{}
	}
	l.done[key] = true
}

// run starts the clients, which end with their connections; stop waits for them.
func (l *load) run(p *proc, snapshots bool) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	var connected sync.WaitGroup
	connected.Add(loadClients)
	for n := range loadClients {
		all.Go(func() {
			c, err := client.Dial(ctx, p.adminSocket(), client.Options{InFlight: loadInFlight})
			connected.Done()
			if err != nil {
				return
			}
			defer c.Close()
			if n == 0 && snapshots {
				all.Go(func() { _, _ = c.Call(ctx, "box.snapshot", nil) })
			}
			l.insert(ctx, c)
		})
	}
	connected.Wait()
	return func() {
		cancel()
		all.Wait()
	}
}

// insert keeps requests in flight until the connection fails.
func (l *load) insert(ctx context.Context, c *client.Client) {
	var waiting sync.WaitGroup
	defer waiting.Wait()
	for c.Err() == nil && ctx.Err() == nil {
		key := l.key()
		row := append(msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 2), key), pack(l.payload)...)
		f, err := c.Send(ctx, iproto.TypeInsert, func(dst []byte, sync uint64) []byte {
			return iproto.AppendInsert(dst, iproto.TypeInsert, sync, 600, row)
		})
		if err != nil {
			return
		}
		waiting.Go(func() {
			if _, err := f.Wait(context.Background()); err == nil {
				l.ack(key)
			}
		})
	}
}

// check reads everything: every acknowledged row is there, and every row that is there was sent.
func (l *load) check(t *testing.T, p *proc) {
	t.Helper()
	c := p.admin()
	defer c.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	payload := pack(l.payload)
	last, found := uint64(0), 0
	for {
		rows := split(t, do(t, "select")(c.Select(context.Background(),
			iproto.SelectArgs{Space: 600, Iterator: iproto.IterGT, Limit: 20_000, Key: pack(list{last})})))
		if len(rows) == 0 {
			break
		}
		for _, row := range rows {
			key := firstUint(t, row)
			if key > l.next || key <= last || !strings.HasSuffix(string(row), string(payload)) {
				t.Fatalf("row %d was never sent: %.100x", key, row)
			}
			last = key
			if l.done[key] {
				found++
			}
		}
	}
	if found != len(l.done) {
		t.Fatalf("%d of %d acknowledged rows are lost", len(l.done)-found, len(l.done))
	}
}

// TestStopDuringBoot: SIGTERM at any instant ends the start, and the next one goes on.
func TestStopDuringBoot(t *testing.T) {
	t.Parallel()
	seed := *crashSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 100))
	o := options{dir: filepath.Join(t.TempDir(), "data"), listen: freeAddress(t), http: freeAddress(t)}
	for range 12 {
		p := startInstance(t, o)
		after(t, p, time.Duration(chance.Int64N(int64(250*time.Millisecond))))
		p.signal(syscall.SIGTERM)
		if code := p.ended(waitStop); code != 0 && code != 128+int(syscall.SIGTERM) {
			t.Errorf("exit code %d", code)
		}
		if chance.IntN(3) == 0 {
			if err := os.RemoveAll(o.dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	p := startInstance(t, o)
	p.online()
	checkOneInstance(t, p)
	p.stop()
}

// TestLongDirectory: the path of a unix socket has a limit, a data directory has none.
func TestLongDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for len(dir) < 150 {
		dir = filepath.Join(dir, "a-rather-long-name-"+strconv.Itoa(len(dir)))
	}
	p := startInstance(t, options{dir: dir})
	p.online()
	code, out, errs := run(t, "status", "--json", "--peer", p.adminSocket())
	if code != 0 || !json.Valid([]byte(out)) {
		t.Errorf("status over %s: %d\n%s%s", p.adminSocket(), code, out, errs)
	}
	p.stop()
}
