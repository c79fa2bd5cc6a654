package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lycosadb/lycosa/internal/cli/screen"
)

const (
	// lookEvery is how often an instance is asked that is on its way, lookOnlineEvery one that serves.
	lookEvery       = 50 * time.Millisecond
	lookOnlineEvery = 250 * time.Millisecond
	// interruptGap is the least time between two presses of Ctrl-C.
	interruptGap = 50 * time.Millisecond
	// exitInterrupt is the exit code after a second Ctrl-C.
	exitInterrupt = 128 + int(syscall.SIGINT)
)

// Run is a demonstration in the foreground, or one that is being sent to the background.
type Run struct {
	Launcher
	Plan           Plan
	Stdout, Stderr io.Writer
	// Screen shows the picture; nil: a line is printed for each change.
	Screen *screen.Screen
	// Signals brings what ends it: the first cleanly, a second SIGINT at once.
	Signals <-chan os.Signal

	// the rest belongs to the goroutine of Main

	rows []Row
	// cmds are the processes that were started here; ends how those ended that have.
	cmds   []*exec.Cmd
	ends   []*End
	events chan event
	broken map[int]bool
	ready  bool
	// stopping since a signal; gone when no process is left then.
	stopping, gone bool
	interruptedAt  time.Time
	interrupts     int
}

// event is what the loop hears: a sample of an instance, the end of its process, or that all are gone.
type event struct {
	index   int
	sample  *Sample
	process string
	end     *End
	gone    bool
}

// Main starts all instances and shows them until they have ended; a detached demonstration until all serve. It returns
// the exit code.
func (r *Run) Main() int {
	// Processes that are not detached die with the thread that started them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n := len(r.Plan.Instances)
	r.rows, r.cmds, r.ends = make([]Row, n), make([]*exec.Cmd, n), make([]*End, n)
	r.events, r.broken = make(chan event), map[int]bool{}
	for i, in := range r.Plan.Instances {
		r.rows[i].Instance = in
		cmd, err := r.start(in)
		if err != nil {
			fmt.Fprintln(r.Stderr, "lycosa:", err)
			r.ends[i] = &End{Code: 1}
			r.stop(ctx)
			continue
		}
		r.cmds[i] = cmd
		go func() {
			end := wait(cmd)
			r.tell(ctx, event{index: i, end: &end})
		}()
	}
	for i, in := range r.Plan.Instances {
		go r.watch(ctx, i, in)
	}
	for {
		r.show()
		select {
		case e := <-r.events:
			r.handle(ctx, e)
		case sig := <-r.Signals:
			r.signalled(ctx, sig)
		}
		if code, over := r.over(); over {
			return code
		}
	}
}

func (r *Run) tell(ctx context.Context, e event) {
	select {
	case r.events <- e:
	case <-ctx.Done():
	}
}

// watch asks one instance where it stands, again and again.
func (r *Run) watch(ctx context.Context, i int, in Instance) {
	for ctx.Err() == nil {
		e := event{index: i}
		s := look(ctx, in)
		e.sample = &s
		if !s.Answers {
			pid, running, _ := r.Running(in)
			if e.process = "does not run; demo start " + in.Name + " starts it"; running {
				e.process = fmt.Sprintf("no answer (process %d)", pid)
			}
		}
		r.tell(ctx, e)
		every := lookEvery
		if s.Online() {
			every = lookOnlineEvery
		}
		pause(ctx, every)
	}
}

// handle takes in what was heard.
func (r *Run) handle(ctx context.Context, e event) {
	switch {
	case e.gone:
		r.gone = true
	case e.end != nil:
		r.ends[e.index] = e.end
		if !r.stopping || e.end.Code != 0 {
			r.say(r.Stderr, fmt.Sprintf("lycosa: %s %s; its log is %s", r.what(e.index), e.end, r.Plan.Instances[e.index].Log))
		}
		if r.Detached && !r.stopping {
			r.stop(ctx)
		}
	default:
		r.update(e)
	}
}

// update puts a sample into its row, and tells what is new where no picture shows it.
func (r *Run) update(e event) {
	before := r.rows[e.index]
	row := Row{Instance: before.Instance, Sample: *e.sample, Process: e.process}
	r.rows[e.index] = row
	if r.Screen == nil && row.changed(before) && (row.Answers || before.Answers) {
		fmt.Fprintln(r.Stdout, row.Line())
	}
	if broken := row.broken(); broken != r.broken[e.index] {
		if r.broken[e.index] = broken; broken {
			r.say(r.Stderr, fmt.Sprintf("lycosa: %s cannot serve (%s): %s", r.what(e.index), row.State, row.Cause))
		}
	}
	all := true
	for _, row := range r.rows {
		all = all && row.Online()
	}
	if all && !r.ready && r.Screen == nil {
		fmt.Fprintln(r.Stdout, "\n"+r.readyText())
	}
	r.ready = all
}

// what names an instance in a sentence.
func (r *Run) what(i int) string {
	if len(r.rows) == 1 {
		return "the instance"
	}
	return r.rows[i].Instance.Name
}

func (r *Run) readyText() string {
	if len(r.rows) == 1 {
		return "ready: the instance serves clients"
	}
	return fmt.Sprintf("ready: all %d instances are Online and serve clients", len(r.rows))
}

// say prints a line beside the picture.
func (r *Run) say(out io.Writer, line string) {
	if r.Screen != nil {
		r.Screen.Say(line)
		return
	}
	fmt.Fprintln(out, line)
}

// show draws the picture.
func (r *Run) show() {
	if r.Screen == nil {
		return
	}
	foot := "waiting until all are Online; Ctrl-C ends all"
	switch {
	case r.stopping:
		foot = "stopping; Ctrl-C kills"
	case r.ready:
		foot = r.readyText() + "; Ctrl-C ends all"
	}
	r.Screen.Draw(append(append([]string{""}, Table(r.rows)...), "", foot))
}

// signalled handles one signal. A terminal, a shell and a tool such as timeout may each pass one press of Ctrl-C on: what
// comes at the same instant is one.
func (r *Run) signalled(ctx context.Context, sig os.Signal) {
	if now := time.Now(); sig == syscall.SIGINT && now.Sub(r.interruptedAt) >= interruptGap {
		r.interruptedAt = now
		r.interrupts++
	}
	if r.interrupts > 1 {
		r.signalAll(ctx, syscall.SIGKILL)
		return
	}
	if !r.stopping {
		r.stop(ctx)
	}
}

// stop begins a clean end of all instances, those included that were started by others.
func (r *Run) stop(ctx context.Context) {
	r.stopping = true
	r.signalAll(ctx, syscall.SIGTERM)
	go func() {
		for _, in := range r.Plan.Instances {
			if r.ended(ctx, in) != nil {
				return
			}
		}
		r.tell(ctx, event{gone: true})
	}()
}

// signalAll reaches the processes that were started here by their handles, and others by the locks they hold: what was
// started here may be on its way out while somebody else has started its successor.
func (r *Run) signalAll(ctx context.Context, s syscall.Signal) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for i, in := range r.Plan.Instances {
		own := 0
		if r.cmds[i] != nil && r.ends[i] == nil {
			own = r.cmds[i].Process.Pid
			_ = unix.Kill(own, s)
		}
		pid, err := r.find(ctx, in)
		if err == nil && pid != 0 && pid != own {
			err = unix.Kill(pid, s)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			r.say(r.Stderr, fmt.Sprintf("lycosa: %s: %v", in.Name, err))
		}
	}
}

// over decides whether it has ended, and with which exit code.
func (r *Run) over() (code int, over bool) {
	if r.Detached && r.ready && !r.stopping {
		return 0, true
	}
	left := false
	killed := false
	for i, end := range r.ends {
		switch {
		case end == nil:
			left = left || r.cmds[i] != nil
		case end.Signal == 0:
			code = max(code, end.Code)
		case end.Signal != int(syscall.SIGTERM):
			killed = true
		}
	}
	switch {
	case r.stopping && r.interrupts > 1:
		return exitInterrupt, r.gone && !left
	case r.stopping:
		return code, r.gone && !left
	case left || killed:
		// What was killed can be started again.
		return 0, false
	}
	for _, in := range r.Plan.Instances {
		if _, running, _ := r.Running(in); running {
			return 0, false
		}
	}
	return code, true
}
