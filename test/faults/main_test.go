// Package faults runs clusters of the real binary under load while the network is cut, slow or lossy, processes are stopped and
// killed, disks fill up, fail or are slow, the power fails, and instances join and leave, and then judges what the clients saw. Effects: processes, files, and network
// namespaces, mounts and loop devices that end with the test's process. It decides nothing about the product; what is
// right is said by the specification.
package faults

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	rounds = flag.Int("faults-rounds", 1, "how often the list of faults is gone through")
	cuts   = flag.Int("faults-power-cuts", 2, "number of power cuts")
	joins  = flag.Int("faults-joins", 4, "how many crashes in a join, of 24")
	seed   = flag.Uint64("faults-seed", 0, "seed of the choices; 0 draws one")
)

// binary is the program under test, built once.
var binary string

// Variables of the environment that the test's process in its own namespaces gets.
const (
	envInside = "LYT_INSIDE"
	envBinary = "LYT_BINARY"
)

// tools are the programs that the tests need, each with its Debian package.
var tools = []struct{ program, pkg string }{
	{"ip", "iproute2"}, {"nft", "nftables"}, {"nsenter", "util-linux"}, {"mount", "mount"}, {"mkfs.ext4", "e2fsprogs"},
	{"strace", "strace"},
}

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(envInside) == "" {
		os.Exit(outside())
	}
	binary = os.Getenv(envBinary)
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	if err := furnish(); err != nil {
		fmt.Fprintln(os.Stderr, "set up the namespaces:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// outside builds the program, and runs the tests once more in namespaces of their own: whatever happens to them, processes,
// mounts and networks end with them.
func outside() int {
	if err := haveTools(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := os.MkdirTemp("", "lycosa-faults-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	built := filepath.Join(dir, "lycosa")
	build := exec.Command("go", "build", "-o", built, "../../cmd/lycosa")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// The kernel ends the other process with the thread that has started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	again := exec.Command(self, os.Args[1:]...)
	again.Env = append(os.Environ(), envInside+"=1", envBinary+"="+built, "TMPDIR="+dir)
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	again.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
	}
	err = again.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode()
	case err != nil:
		fmt.Fprintln(os.Stderr, "tests in their own namespaces:", err)
		return 1
	}
	return 0
}

// haveTools reports what is missing, with the command that helps.
func haveTools() error {
	if os.Getuid() != 0 {
		return errors.New("these tests make network namespaces and mounts: run them as root, e.g. `sudo make blackbox`")
	}
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		return err
	}
	var missing, install []string
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err != nil {
			missing, install = append(missing, t.program), append(install, t.pkg)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not installed: %s. Run `apt-get install %s`, or `make deps`", strings.Join(missing, ", "), strings.Join(install, " "))
	}
	return nil
}

// furnish makes the new namespaces usable: mounts stay in here, /proc shows the processes of this namespace, the network
// has a loopback, and there is a place for the names of further network namespaces.
func furnish() error {
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run/netns", "tmpfs", 0, "size=1m"); err != nil {
		return fmt.Errorf("mount /run/netns: %w", err)
	}
	_, err := command("ip", "link", "set", "lo", "up")
	return err
}

// command runs a tool of the system to its end.
func command(name string, args ...string) (string, error) {
	return commandWith("", name, args...)
}

func commandWith(stdin, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// must runs a tool that has to succeed.
func must(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := command(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The waits of the tests: bounds, nothing is concluded from how long something took.
const (
	waitStart = 2 * time.Minute
	// waitHealed is from the end of a fault until all is well. The specification allows 30 s, on a machine that has time for it.
	waitHealed = 90 * time.Second
	waitStop   = 60 * time.Second
	pollEvery  = 5 * time.Millisecond
)

// waitFor polls until cond is true. It fails the test with what was waited for.
func waitFor(t testing.TB, what string, limit time.Duration, cond func() bool) {
	t.Helper()
	if !poll(limit, cond) {
		t.Fatalf("waited %s for %s", limit, what)
	}
}

func poll(limit time.Duration, cond func() bool) bool {
	for deadline := time.Now().Add(limit); ; time.Sleep(pollEvery) {
		if cond() {
			return true
		}
		if time.Now().After(deadline) {
			return cond()
		}
	}
}

func timeout(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}
