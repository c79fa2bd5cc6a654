package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/lycosadb/lycosa/internal/cli/bench"
	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/test/bench/report"
)

// The waits for a server: long, since recovery of many rows takes its time.
const (
	startMax = 5 * time.Minute
	stopMax  = time.Minute
	callMax  = 10 * time.Minute
	pollEach = time.Millisecond
)

// adminPassword is the password of user admin in both servers, which listen on loopback addresses only.
const adminPassword = "bench-admin-secret"

// kind is one of the two programs.
type kind struct {
	name    string
	command func(c *comparison, dir, address, mode string) (*exec.Cmd, error)
}

var ours = kind{"lycosa", lycosaCommand}
var theirs = kind{"tarantool", tarantoolCommand}

// both are in the order in which they run.
var both = []kind{ours, theirs}

func parseSize(text string) (uint64, error) {
	n, err := config.ParseSize(text)
	return uint64(n), err
}

// lycosaCommand runs our server. Checkpoints come only when they are asked for, as with the other one.
func lycosaCommand(c *comparison, dir, address, mode string) (*exec.Cmd, error) {
	cmd := exec.Command(c.lycosa, "run", "--data-dir", filepath.Join(dir, "data"), "--listen", address, "--wal-mode", mode, "--memory", c.settings.memory,
		"--checkpoint-interval", "0s", "--checkpoint-wal-size", "0", "--log-level", "warn", "--no-restart")
	cmd.Env = append(cmd.Env, "LYCOSA_ADMIN_PASSWORD="+adminPassword)
	return cmd, nil
}

// tarantoolScript keeps the defaults of everything that is not about places, durability and memory.
const tarantoolScript = `
box.cfg{
    listen = %q, memtx_dir = %q, wal_dir = %q, vinyl_dir = %q, wal_mode = %q, memtx_memory = %d,
    checkpoint_interval = 0, checkpoint_count = 1, log_level = 2,
}
box.once('bench', function() box.schema.user.passwd('admin', %q) end)
`

func tarantoolCommand(c *comparison, dir, address, mode string) (*exec.Cmd, error) {
	script := fmt.Sprintf(tarantoolScript, address, dir, dir, dir, mode, c.memoryBytes, adminPassword)
	path := filepath.Join(dir, "bench.lua")
	if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
		return nil, err
	}
	return exec.Command(c.tarantool, path), nil
}

// server is a running server.
type server struct {
	kind
	cmd     *exec.Cmd
	address string
	dir     string
	logPath string
	started time.Time
	done    chan struct{}
	err     error // how it ended; after done
}

// start starts a server on a directory, which is made if it is not there. It does not wait for it.
func (c *comparison) start(k kind, dir, mode string, env ...string) (*server, error) {
	if err := c.ctx.Err(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	address, err := c.ports.Free()
	if err != nil {
		return nil, err
	}
	cmd, err := k.command(c, dir, address, mode)
	if err != nil {
		return nil, err
	}
	pin(cmd, c.serverCPUs)
	s := &server{kind: k, cmd: cmd, address: address, dir: dir, logPath: filepath.Join(dir, "server.log"), done: make(chan struct{})}
	out, err := os.Create(s.logPath)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Env = append(append(report.CleanEnviron(), cmd.Env...), env...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, dir
	// A group of its own, so that Ctrl-C in a terminal reaches this program alone, which then stops what it started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	s.started = time.Now()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", k.name, err)
	}
	c.running = append(c.running, s)
	go func() {
		s.err = cmd.Wait()
		close(s.done)
	}()
	return s, nil
}

// pin makes the command run on some processors only. taskset becomes the program, so the process id stays.
func pin(cmd *exec.Cmd, cpus string) {
	if cpus == "" {
		return
	}
	cmd.Args = append([]string{"taskset", "-c", cpus, cmd.Path}, cmd.Args[1:]...)
	if path, err := exec.LookPath("taskset"); err == nil {
		cmd.Path = path
	}
}

// ready waits until ask succeeds on a connection of admin, and returns how long that was after the start.
func (c *comparison) ready(s *server, ask func(context.Context, *client.Client) error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(c.ctx, startMax)
	defer cancel()
	every := time.NewTicker(pollEach)
	defer every.Stop()
	var last error
	for {
		if last = s.ask(ctx, ask); last == nil {
			return time.Since(s.started), nil
		}
		select {
		case <-every.C:
		case <-s.done:
			return 0, fmt.Errorf("%s has ended: %v\n%s", s.name, s.err, s.log())
		case <-ctx.Done():
			return 0, fmt.Errorf("%s does not answer: %w; last: %v\n%s", s.name, ctx.Err(), last, s.log())
		}
	}
}

// ask connects as admin and asks once.
func (s *server) ask(ctx context.Context, ask func(context.Context, *client.Client) error) error {
	cl, err := client.Dial(ctx, s.address, client.Options{User: "admin", Password: []byte(adminPassword)})
	if err != nil {
		return err
	}
	defer cl.Close()
	return ask(ctx, cl)
}

// spaces succeeds when the server lists its spaces, which it does when it has data to serve.
func spaces(ctx context.Context, cl *client.Client) error {
	_, err := cl.Select(ctx, iproto.SelectArgs{Space: viewSpace, Limit: 1})
	return err
}

// startReady starts a server and waits for its first answer.
func (c *comparison) startReady(k kind, dir, mode string) (*server, error) {
	s, err := c.start(k, dir, mode)
	if err == nil {
		_, err = c.ready(s, spaces)
	}
	return s, err
}

// stop ends a server in good order, or kills it.
func (c *comparison) stop(s *server) error {
	select {
	case <-s.done:
		return fmt.Errorf("%s has ended by itself: %v\n%s", s.name, s.err, s.log())
	default:
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(stopMax)
	defer timer.Stop()
	select {
	case <-s.done:
		return nil
	case <-timer.C:
		_ = s.cmd.Process.Kill()
		<-s.done
		return fmt.Errorf("%s did not stop in %s and was killed", s.name, stopMax)
	}
}

// log is the end of what the server has printed.
func (s *server) log() string {
	b, err := os.ReadFile(s.logPath)
	if err != nil {
		return err.Error()
	}
	return string(b[max(len(b)-4000, 0):])
}

// call calls a function of the server and returns its first value as raw MessagePack.
func (c *comparison) call(s *server, function string) (data []byte, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(c.ctx, callMax)
	defer cancel()
	err = s.ask(ctx, func(ctx context.Context, cl *client.Client) (err error) {
		started := time.Now()
		data, err = cl.Call(ctx, function, nil)
		took = time.Since(started)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %s: %w", s.name, function, err)
	}
	return data, took, nil
}

// snapshot makes a checkpoint and returns how long that took.
func (c *comparison) snapshot(s *server) (time.Duration, error) {
	_, took, err := c.call(s, "box.snapshot")
	return took, err
}

// lastRow succeeds when the last row of the space is there.
func (c *comparison) lastRow(ctx context.Context, cl *client.Client) error {
	data, err := cl.Select(ctx, iproto.SelectArgs{Space: spacePlain, Limit: 1, Key: keyOf(bench.FirstKey + c.rows - 1)})
	if err == nil && len(data) < c.rowBytes {
		err = errors.New("the last row is not there yet")
	}
	return err
}
