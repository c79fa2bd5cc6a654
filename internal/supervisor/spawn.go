package supervisor

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/lycosadb/lycosa/internal/supervisor/ipc"
	"github.com/lycosadb/lycosa/internal/supervisor/title"
)

// messagesMax bounds the messages that were read and not yet handled.
const messagesMax = 256

// drainMax is how long the rest of a dead child's messages is waited for.
const drainMax = time.Second

// starter starts children on one OS thread that lives as long as it does: the parent-death signal follows the thread
// that started a child, not the process.
type starter struct{ requests chan func() }

func newStarter() *starter {
	s := &starter{requests: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for request := range s.requests {
			request()
		}
		// Not unlocked: the thread ends here, when no child is left.
	}()
	return s
}

func (s *starter) start(cmd *exec.Cmd) error {
	done := make(chan error)
	s.requests <- func() { done <- cmd.Start() }
	return <-done
}

func (s *starter) close() { close(s.requests) }

// process is a running child.
type process struct {
	cmd *exec.Cmd
	pid int
	// messages is closed when the child's end of the pipe is.
	messages chan ipc.Message
	// ended gets one value when the child has ended.
	ended chan struct{}
	pipe  *os.File
}

// spawn starts a child with the lock, its end of the pipe, and its handoff as descriptors 3, 4 and 5.
func (s *supervisor) spawn(h ipc.Handoff) (*process, error) {
	document, err := ipc.EncodeHandoff(h)
	if err != nil {
		return nil, err
	}
	fromChild, toParent, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("supervisor: pipe: %w", err)
	}
	handoff, toChild, err := os.Pipe()
	if err != nil {
		closeAll(fromChild, toParent)
		return nil, fmt.Errorf("supervisor: pipe: %w", err)
	}
	cmd := exec.Command(s.Executable, s.Args...)
	cmd.Args[0] = title.Placeholder()
	cmd.Env = withoutNotify(s.Env)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{s.Lock.file, toParent, handoff}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err = s.starter.start(cmd)
	closeAll(toParent, handoff)
	if err != nil {
		closeAll(fromChild, toChild)
		return nil, fmt.Errorf("supervisor: start %s: %w", s.Executable, err)
	}
	p := &process{cmd: cmd, pid: cmd.Process.Pid, messages: make(chan ipc.Message, messagesMax), ended: make(chan struct{}), pipe: fromChild}
	go func() {
		// A child that dies before it has read everything makes this fail, and its end is told by other means.
		_, _ = toChild.Write(document)
		_ = toChild.Close()
	}()
	go p.read(s.Logger)
	go func() {
		_ = cmd.Wait()
		_ = fromChild.SetReadDeadline(time.Now().Add(drainMax))
		close(p.ended)
	}()
	return p, nil
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// read decodes the child's lines until its end of the pipe is closed. A line that is none is logged and skipped.
func (p *process) read(logger *slog.Logger) {
	defer close(p.messages)
	defer p.pipe.Close()
	r := bufio.NewReaderSize(p.pipe, ipc.LineBytesMax+1)
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			logger.Warn("a message of the instance is too long and was skipped")
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = r.ReadSlice('\n')
			}
			line = nil
		}
		if err != nil {
			return
		}
		if line == nil {
			continue
		}
		m, err := ipc.Decode(line)
		if err != nil {
			logger.Warn("a message of the instance was skipped", "error", err)
			continue
		}
		p.messages <- m
	}
}
