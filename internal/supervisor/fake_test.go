package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/datadir/store"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/supervisor/child"
	"github.com/lycosadb/lycosa/internal/supervisor/ipc"
	"github.com/lycosadb/lycosa/internal/supervisor/title"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// The test binary plays three parts: the tests, the child that a supervisor starts, and a parent that a test kills.
func TestMain(m *testing.M) {
	switch {
	case strings.HasPrefix(os.Args[0], title.Prefix):
		os.Exit(fakeChild(os.Args[1], os.Args[2:]))
	case len(os.Args) == 3 && os.Args[1] == "fake-parent":
		os.Exit(fakeParent(os.Args[2]))
	}
	goleak.VerifyTestMain(m)
}

// fakeChild is an instance whose life is a few lines.
func fakeChild(part string, args []string) int {
	ch, err := child.Connect(real.FS{})
	if err != nil {
		fmt.Fprintln(os.Stderr, "fake child:", err)
		return 99
	}
	say := func(text string) { _ = ch.Waiting(lifecycle.Discover, lifecycle.Start, text) }
	step := func(to lifecycle.State) {
		_ = ch.Status(lifecycle.Record{To: to, At: time.Unix(1, 0), Stage: lifecycle.Postjoin, PID: os.Getpid()})
	}
	switch part {
	case "crash-twice":
		switch ch.Starts() {
		case 1:
			return 9
		case 2:
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		}
		say(fmt.Sprintf("start %d after crash %v", ch.Starts(), ch.AfterCrash()))
		return serve(ch, step)
	case "hang-once":
		if ch.Starts() == 1 {
			select {} // says nothing, and does not stop either
		}
		return serve(ch, step)
	case "deaf":
		ch.KeepAlive(nil)
		_ = ch.Ready()
		select {}
	case "serve":
		return serve(ch, step)
	case "exit":
		return fakeExit(ch, args)
	case "init-error":
		ch.KeepAlive(nil)
		step(lifecycle.InitError)
		_ = ch.Ready()
		<-ch.Stop()
		return 0
	case "rebootstrap":
		return fakeRebootstrap(ch, say, step, args[0])
	case "tell":
		say(tell(ch))
		return serve(ch, step)
	case "hangup":
		ch.OnHangup(func() { say("hangup") })
		return serve(ch, step)
	}
	return 98
}

func serve(ch *child.Child, step func(lifecycle.State)) int {
	ch.KeepAlive(nil)
	step(lifecycle.RolesConfigured)
	_ = ch.Ready()
	<-ch.Stop()
	_ = ch.Close()
	return 0
}

// fakeExit ends with the given code; a word after it makes it tell the class first.
func fakeExit(ch *child.Child, args []string) int {
	var code int
	_, _ = fmt.Sscan(args[0], &code)
	if len(args) > 1 {
		_ = ch.Fatal(ipc.Class(code), args[1])
	}
	return code
}

func fakeRebootstrap(ch *child.Child, say func(string), step func(lifecycle.State), dir string) int {
	d := store.Dir{FS: real.FS{}, Path: dir}
	if ch.Starts() == 1 {
		step(lifecycle.Unconfigured)
		err := d.WriteEntrypoint(datadir.Entrypoint{Kind: datadir.EntryJoin, InstanceUUID: testUUID, Leader: "127.0.0.1:1"})
		if err != nil {
			return 97
		}
		_ = ch.Rebootstrap()
		return 0
	}
	var names []string
	_ = filepath.WalkDir(dir, func(path string, _ os.DirEntry, _ error) error {
		names = append(names, strings.TrimPrefix(path, dir))
		return nil
	})
	say(fmt.Sprintf("history %d: %s", len(ch.History()), strings.Join(names, " ")))
	return serve(ch, step)
}

// tell describes what the parent handed over.
func tell(ch *child.Child) string {
	comm, _ := os.ReadFile("/proc/self/comm")
	cmdline, _ := os.ReadFile("/proc/self/cmdline")
	title, _, _ := strings.Cut(string(cmdline), "\x00")
	refusal := ""
	if r := ch.Refusal(); r != nil {
		refusal = r.Message
	}
	return fmt.Sprintf("comm %s, title %s, cookie %s, password %s, env %q, pgid own %v, lock %v, refusal %q",
		strings.TrimSpace(string(comm)), strings.TrimSpace(title), ch.Cookie().Reveal(), ch.AdminPassword().Reveal(),
		os.Getenv("LYCOSA_ADMIN_PASSWORD")+os.Getenv("NOTIFY_SOCKET"), unix.Getpgrp() == os.Getpid(), ch.LockFD() == 3, refusal)
}

const testUUID = "6e6ccd4c-1bb4-4ba4-b9a4-4bdc7c4c8b11"
