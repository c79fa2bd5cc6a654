package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

func TestFlags(t *testing.T) {
	s, err := parse([]string{"-shapes", "1x2, 3x4", "-ops", "ping,range", "-sections", "boot", "-memory", "1MiB"}, io.Discard)
	if err != nil || len(s.shapes) != 2 || s.shapes[1] != (shape{3, 4}) || len(s.ops) != 2 || s.sections[0] != "boot" || s.memoryBytes != 1<<20 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range [][]string{
		{"-shapes", "1"}, {"-shapes", "0x1"}, {"-ops", "scan"}, {"-sections", "all"}, {"-modes", "sync"}, {"-repeats", "0"}, {"-rows", "1"},
		{"-memory", "much"}, {"more"}, {"-duration", "0s"}, {"-read-rate", "0"}, {"-ops", ""},
	} {
		if _, err := parse(bad, io.Discard); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

func TestGauge(t *testing.T) {
	b := msgpack.AppendMapHeader([]byte{0x91}, 2)
	b = msgpack.AppendStr(msgpack.AppendStr(b, "arena_used_ratio"), "5%")
	b = msgpack.AppendUint(msgpack.AppendStr(b, "arena_used"), 77)
	if v, err := gaugeOf(b, "arena_used"); err != nil || v != 77 {
		t.Errorf("%g, %v", v, err)
	}
	for _, bad := range [][]byte{nil, {0x90}, {0x91, 0x80}, {0x91, 0x81, 0xa1}} {
		if _, err := gaugeOf(bad, "arena_used"); err == nil {
			t.Errorf("%x has a gauge", bad)
		}
	}
}

// TestComparison runs every section, as short as it can be, against both real servers.
func TestComparison(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	dir := t.TempDir()
	program := filepath.Join(dir, "lycosa")
	build := exec.Command("go", "build", "-o", program, "../../cmd/lycosa")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr strings.Builder
	err := run([]string{
		"-lycosa", program, "-dir", work, "-rows", "1000", "-repeats", "1", "-duration", "20ms", "-warmup", "1ms", "-pause", "0s",
		"-shapes", "1x1,2x8", "-out", filepath.Join(dir, "out.md"), "-raw", filepath.Join(dir, "raw"), "-memory", "256MiB", "-read-rate", "1000", "-limit", "2m",
	}, &stdout, &stderr)
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	for _, want := range append([]string{"### Requests", "### Recovery", "### Checkpoint", "### Memory per row", "### Start of an empty directory",
		"| fsync | replace | 2 × 8 |", "| – | secondary | 1 × 1 |", "| tarantool | 1000 | 3 |"}, allOps...) {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the report does not have %q", want)
		}
	}
	if t.Failed() {
		t.Log(stdout.String())
	}
	saved, err := os.ReadFile(filepath.Join(dir, "out.md"))
	if err != nil || string(saved) != stdout.String() {
		t.Errorf("the saved report differs: %v", err)
	}
	if left, err := os.ReadDir(work); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
