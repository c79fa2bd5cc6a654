package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func runBench(args ...string) (code int, stdout, stderr string) {
	var out, errs strings.Builder
	code = Main(Options{Args: append([]string{"bench"}, args...), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Instance: fakeInstance})
	return code, out.String(), errs.String()
}

func TestBenchUsage(t *testing.T) {
	open := filepath.Join(t.TempDir(), "open")
	if err := os.WriteFile(open, []byte("secret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o644); err != nil { // a command that ran before may have changed the mask
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"operation \"scan\" is unknown": {"--op", "scan"},
		"distribution \"odd\"":          {"--keys", "odd"},
		"--peer":                        {"--peer", "nowhere"},
		"--depth 0":                     {"--depth", "0"},
		"did you mean --depth?":         {"--dept", "1"},
		"each key once":                 {"--op", "delete", "--keys", "zipf"},
		"be read by others":             {"--password-file", open},
		"unexpected argument":           {"now"},
	} {
		if code, _, stderr := runBench(args...); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit code %d, %s", args, code, stderr)
		}
	}
}

func TestBenchUnreachable(t *testing.T) {
	for _, op := range []string{"ping", "select"} {
		code, stdout, stderr := runBench("--peer", filepath.Join(t.TempDir(), "none"), "--op", op)
		if code != exitUnreachable || stdout != "" || !strings.Contains(stderr, "cannot reach") {
			t.Errorf("%s: exit code %d, %s%s", op, code, stdout, stderr)
		}
	}
}

func TestBenchHelp(t *testing.T) {
	code, stdout, _ := runBench("--help")
	if code != exitDone || !strings.Contains(stdout, "Examples:") || !strings.Contains(stdout, "--server-pid") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}
