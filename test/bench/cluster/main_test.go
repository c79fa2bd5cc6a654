package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestFlags(t *testing.T) {
	s, err := parse([]string{"-full", "-rounds", "7", "-sections", "idle,switch", "-debian-etcd", ""}, io.Discard)
	if err != nil || s.rounds != 7 || s.repeats != 5 || len(s.sections) != 2 || s.debianEtcd != "" || !filepath.IsAbs(s.lycosa) {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range [][]string{{"-sections", "all"}, {"-repeats", "0"}, {"-rounds", "1001"}, {"-duration", "0s"}, {"more"}, {"-idle", "2h"}} {
		if _, err := parse(bad, io.Discard); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

// TestCluster runs the sections that need our program alone, as short as they can be.
func TestCluster(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	dir := t.TempDir()
	program := filepath.Join(dir, "lycosa")
	build := exec.Command("go", "build", "-o", program, "../../../cmd/lycosa")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr strings.Builder
	err := run([]string{"-lycosa", program, "-dir", work, "-sections", "failover,switch", "-rounds", "1", "-limit", "10m"}, &stdout, &stderr)
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	for _, want := range []string{"### Failover", "| kill to the next acknowledged write |", "### Planned switch", "| promote | 1 |", "| SIGTERM | 1 |"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the report does not have %q:\n%s", want, stdout.String())
		}
	}
	if left, err := os.ReadDir(work); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
