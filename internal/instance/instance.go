package instance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"

	"github.com/lycosadb/lycosa/internal/audit"
	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/datadir/store"
	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/event/eventlog"
	"github.com/lycosadb/lycosa/internal/httpd"
	"github.com/lycosadb/lycosa/internal/iproto/server"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/rpc"
	"github.com/lycosadb/lycosa/internal/supervisor/child"
	"github.com/lycosadb/lycosa/internal/supervisor/ipc"
	"github.com/lycosadb/lycosa/internal/sys"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// Instance is one child process.
type Instance struct {
	cfg     *config.Config
	child   *child.Child
	log     *slog.Logger
	version string
	fs      sys.FS
	clock   sys.Clock
	dir     store.Dir
	// segmentBytes is the size of log segments in tests, 0 for the usual ones.
	segmentBytes int64
	// bootName names the boot of the machine in tests, empty for the real one.
	bootName string

	life     *life
	audit    *audit.Log
	sink     event.Sink
	metrics  *httpd.Metrics
	server   *server.Server
	http     *httpd.Server
	sockets  sockets
	observed observed
	pulse    pulse
	// confirmed: grade Online was reached in this process.
	confirmed atomic.Bool
	events    *events

	// pool has the connections to other instances, peerProcs what they may call here.
	pool      *rpc.Pool
	peerProcs map[string]peerProcedure
	operators map[string]func(message []byte) (operation, error)
	// seeker is the discovery of this process, if there is one; seeking says that there is or will be one. entry is the
	// entrypoint that this process runs, nil if none.
	seeker  atomic.Pointer[seeker]
	seeking bool
	entry   *datadir.Entrypoint

	identity atomic.Pointer[datadir.Identity]
	// incarnation is another one in each process.
	incarnation uint64
	// identityWrite is held while the identity is changed.
	identityWrite sync.Mutex
	// joinsAt is the leader that an instance which only joins asks for its place, nil if it knows none or does not join.
	joinsAt atomic.Pointer[string]
	// core is the running database; nil until Boot or recovery has made it.
	core atomic.Pointer[core]

	// failed gets the first failure that must end the process.
	failed   chan failure
	failOnce sync.Once
}

// failure is why the process must end.
type failure struct {
	class ipc.Class
	err   error
}

// Main runs a child process to its end and returns its exit code.
func Main(cfg *config.Config, ch *child.Child, log *slog.Logger, version string) int {
	i := &Instance{
		cfg: cfg, child: ch, log: log, version: version, fs: real.FS{}, clock: real.Clock{},
		failed: make(chan failure, 1), events: newEvents(), incarnation: rand.Uint64(),
	}
	i.dir = store.Dir{FS: i.fs, Path: cfg.DataDir}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-ch.Stop()
		cancel()
	}()
	err := i.run(ctx)
	return i.end(ctx, err)
}

// errRebootstrap ends a Discover process: the next child goes on from the entrypoint.
var errRebootstrap = errors.New("rebootstrap")

// run takes the instance through its stages and serves until the context ends or something fails.
func (i *Instance) run(ctx context.Context) error {
	verdict, err := i.prepare()
	if err != nil {
		return err
	}
	if cause := i.child.Refusal(); cause != nil {
		return i.initError(ctx, cause)
	}
	if err := i.bind(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		field := "listen"
		var be *bindError
		if errors.As(err, &be) {
			field = be.parameter
		}
		return i.initError(ctx, causeOf(err, field))
	}
	i.life.wait("")
	return i.begin(ctx, verdict)
}

// prepare makes what every stage needs before a socket is bound.
func (i *Instance) prepare() (datadir.Verdict, error) {
	verdict, err := i.dir.Look(i.checkConfig)
	if err != nil {
		return verdict, fmt.Errorf("look at %s: %w", i.cfg.DataDir, err)
	}
	i.identity.Store(verdict.Identity)
	i.seeking, i.entry = verdict.Begin == datadir.BeginDiscover, verdict.Entrypoint
	i.peerProcs, i.operators = i.peerProcedures(), i.operatorProcedures()
	i.pool = rpc.New(rpc.Options{User: serviceUser, Password: func() []byte { return i.child.Cookie().Reveal() }, Logger: i.log,
		OnLost: i.connectionLost})
	i.life = newLife(i.clock, lifecycle.Options{
		Stage: verdict.Begin.Stage(), PID: os.Getpid(), History: i.child.History(),
	}, i.log)
	i.audit, err = audit.Open(audit.Options{FS: i.fs, Clock: i.clock, Path: i.cfg.AuditPath(), Dir: i.cfg.DataDir})
	if err != nil {
		return verdict, fmt.Errorf("open the audit log: %w", err)
	}
	registry := httpd.NewRegistry(i.version)
	i.metrics = httpd.NewMetrics(registry, i)
	i.sink = event.Fanout{eventlog.New(i.log), audit.NewSink(i.audit, i.log), i.metrics, &i.observed, i.events}
	i.life.sink = i.sink
	i.life.tell = i.tellParent
	i.http = httpd.New(httpd.Options{Source: i, Logger: i.log, Metrics: registry})
	i.server = server.New(server.Options{
		Backend: &waiting{i}, InstanceUUID: i.instanceUUID, Logger: i.log, OnAuth: i.auditAuth,
		OpenKeys: openKeys, Limits: server.Limits{Connections: i.connectionsMax()},
	})
	go i.broadcastChanges()
	i.child.OnHangup(i.reopen)
	i.child.KeepAlive(i.healthy)
	i.sink.Emit(event.ProcessStarted{At: i.clock.Wall(), Version: i.version, Stage: verdict.Begin.Stage().String(), PID: os.Getpid(), DataDir: i.cfg.DataDir})
	return verdict, nil
}

// begin does what the directory asks for.
func (i *Instance) begin(ctx context.Context, v datadir.Verdict) error {
	i.log.Info("looked at the data directory", "dir", i.cfg.DataDir, "begin", v.Begin.String())
	switch v.Begin {
	case datadir.BeginInitError:
		return i.initError(ctx, v.Cause)
	case datadir.BeginDiscover:
		return i.discover(ctx)
	case datadir.BeginBoot:
		return i.boot(ctx, v.Entrypoint)
	case datadir.BeginJoin, datadir.BeginReplace:
		return i.join(ctx, v.Entrypoint)
	case datadir.BeginRestart, datadir.BeginWait:
		return i.restart(ctx, v)
	}
	panic("no way to begin: " + v.Begin.String())
}

// errFailedState ends a process that was stopped while it was in InitError or BootError.
var errFailedState = errors.New("stopped in an error state")

// initError and bootError keep the process reachable, with its cause, until it is stopped.
func (i *Instance) initError(ctx context.Context, cause *lifecycle.Cause) error {
	return i.stay(ctx, lifecycle.InitError, cause)
}

func (i *Instance) bootError(ctx context.Context, err error, field string) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return i.stay(ctx, lifecycle.BootError, causeOf(err, field))
}

func (i *Instance) stay(ctx context.Context, state lifecycle.State, cause *lifecycle.Cause) error {
	i.life.step(state, cause)
	select {
	case <-ctx.Done():
		return errFailedState
	case f := <-i.failed:
		return f
	}
}

// Error makes a failure an error.
func (f failure) Error() string { return f.err.Error() }

// Unwrap returns the reason.
func (f failure) Unwrap() error { return f.err }

// fail ends the process: poisoned logs, for example. Only the first call counts.
func (i *Instance) fail(class ipc.Class, err error) {
	i.failOnce.Do(func() { i.failed <- failure{class, err} })
}

// end closes what is open and returns the exit code.
func (i *Instance) end(ctx context.Context, err error) int {
	var f failure
	switch {
	case errors.Is(err, errRebootstrap):
		i.log.Info("the entrypoint is written: asking for a rebootstrap")
		i.closeAll(true)
		if err := i.child.Rebootstrap(); err != nil {
			i.log.Error("the supervisor can not be told", "error", err)
			return int(ipc.ClassCrash)
		}
		return int(ipc.ClassStop)
	case errors.Is(err, errStopped):
	case errors.Is(err, errFailedState):
		i.closeAll(true)
		_ = i.child.Fatal(ipc.ClassBootTimeout, err.Error())
		return int(ipc.ClassBootTimeout)
	case errors.As(err, &f):
		i.log.Error("the process ends", "class", f.class.String(), "error", f.err)
		i.sink.Emit(event.ProcessStopping{At: i.clock.Wall(), Reason: f.err.Error()})
		_ = i.child.Fatal(f.class, f.err.Error())
		return int(f.class)
	case err != nil && ctx.Err() == nil:
		i.log.Error("the process ends", "error", err)
		_ = i.child.Fatal(ipc.ClassCrash, err.Error())
		return int(ipc.ClassCrash)
	}
	i.closeAll(true)
	return int(ipc.ClassStop)
}

// tellParent passes everything published on to the supervisor.
func (i *Instance) tellParent(p lifecycle.Published, r *lifecycle.Record) {
	var err error
	if r != nil {
		err = i.child.Status(*r)
	} else {
		err = i.child.Waiting(p.Stage, p.State, p.Summary(i.clock.Wall()))
	}
	if err != nil {
		i.log.Warn("the supervisor can not be told", "error", err)
	}
}

func (i *Instance) instanceUUID() string {
	if id := i.identity.Load(); id != nil {
		return id.InstanceUUID
	}
	return ""
}

func (i *Instance) auditAuth(a server.AuthEvent) {
	e := event.Authenticated{At: i.clock.Wall(), User: a.User, Where: a.Peer, OK: a.Err == nil}
	if a.Err != nil {
		e.Reason = a.Err.Error()
	}
	i.sink.Emit(e)
}

// reopen follows a rotation of the audit log.
func (i *Instance) reopen() {
	if err := i.audit.Reopen(); err != nil {
		i.log.Error("the audit log can not be reopened", "error", err)
	}
}
