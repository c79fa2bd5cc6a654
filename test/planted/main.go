// Command planted plants bugs and looks whether the tests notice: each bug of bugs.txt is a change of one source file, made
// in a copy that only the compiler sees. A bug that no test finds shows a hole in the tests, and fails the run.
package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

//go:embed bugs.txt
var list string

// bug is a section of bugs.txt.
type bug struct {
	name string
	// file is below the repository, or, with the module's path before it, in a module that the repository uses.
	file string
	// test is what has to fail: a package and more arguments of go test.
	test     []string
	old, new string
}

// parse reads the list: "== name", "file: …", "test: …", then the lines of one place in the file, marked like those of a
// diff.
func parse(text string) ([]bug, error) {
	var bugs []bug
	for n, line := range strings.Split(text, "\n") {
		if name, ok := strings.CutPrefix(line, "== "); ok {
			bugs = append(bugs, bug{name: name})
			continue
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if len(bugs) == 0 {
			return nil, fmt.Errorf("bugs.txt:%d: no bug begun", n+1)
		}
		b := &bugs[len(bugs)-1]
		rest := line[1:] + "\n"
		switch {
		case strings.HasPrefix(line, "file: "):
			b.file = line[6:]
		case strings.HasPrefix(line, "test: "):
			b.test = strings.Fields(line[6:])
		case line[0] == '-':
			b.old += rest
		case line[0] == '+':
			b.new += rest
		case line[0] == ' ':
			b.old, b.new = b.old+rest, b.new+rest
		default:
			return nil, fmt.Errorf("bugs.txt:%d: %q", n+1, line)
		}
	}
	return bugs, nil
}

var (
	seedOf = regexp.MustCompile(`-sim\.seed (\d+)`)
	// failed tells a failure of tests, a crash included, from one to build them.
	failed = regexp.MustCompile(`(?m)--- FAIL: |^fatal error: |^panic: `)
)

func main() {
	some := flag.Int("rotate", 0, "plant so many of the bugs, others each day; 0: all")
	only := flag.String("run", "", "plant the bugs whose names match")
	flag.Parse()
	if err := run(*some, *only); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(some int, only string) error {
	bugs, err := parse(list)
	if err != nil {
		return err
	}
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	if some > 0 {
		day := int(time.Now().Unix() / 86400)
		fmt.Printf("day %d: %d of %d bugs\n", day, some, len(bugs))
		var picked []bug
		for i := range some {
			picked = append(picked, bugs[(day*some+i)%len(bugs)])
		}
		bugs = picked
	}
	missed := 0
	for _, b := range bugs {
		if !match.MatchString(b.name) {
			continue
		}
		begun := time.Now()
		how, err := plant(b)
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		if how == "" {
			missed++
			how = "NOT FOUND"
		}
		fmt.Printf("%-32s %s (%.1f s)\n", b.name, how, time.Since(begun).Seconds())
	}
	if missed > 0 {
		return fmt.Errorf("%d planted bugs were not found by the tests", missed)
	}
	return nil
}

// plant runs the tests of one bug; how they found it, or empty.
func plant(b bug) (how string, err error) {
	dir, err := os.MkdirTemp("", "planted-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	var flags []string
	if strings.HasPrefix(b.file, "internal/") {
		flags, err = overlay(dir, b)
	} else {
		flags, err = module(dir, b)
	}
	if err != nil {
		return "", err
	}
	args := append([]string{"test", "-count=1", "-timeout=10m"}, flags...)
	out, err := exec.Command("go", append(args, b.test...)...).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "", nil
	case !errors.As(err, &exit) || !failed.Match(out):
		return "", fmt.Errorf("go test: %w\n%s", err, out)
	}
	if m := seedOf.FindSubmatch(out); m != nil {
		return "found by seed " + string(m[1]), nil
	}
	if _, name, ok := strings.Cut(string(out), "--- FAIL: "); ok {
		return "found by " + strings.Fields(name)[0], nil
	}
	return "found by a crash", nil
}

// patch writes the file with the bug to a new place.
func patch(b bug, from, to string) error {
	src, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if n := strings.Count(string(src), b.old); n != 1 || b.old == "" {
		return fmt.Errorf("the place is %d times in %s", n, b.file)
	}
	return os.WriteFile(to, []byte(strings.Replace(string(src), b.old, b.new, 1)), 0o600)
}

// overlay puts the file in the place of ours.
func overlay(dir string, b bug) ([]string, error) {
	from, err := filepath.Abs(b.file)
	if err != nil {
		return nil, err
	}
	to := filepath.Join(dir, "patched.go")
	if err := patch(b, from, to); err != nil {
		return nil, err
	}
	doc, err := json.Marshal(map[string]map[string]string{"Replace": {from: to}})
	if err != nil {
		return nil, err
	}
	name := filepath.Join(dir, "overlay.json")
	return []string{"-overlay", name}, os.WriteFile(name, doc, 0o600)
}

// module replaces a module by a copy with the file in it: the module cache cannot be overlaid.
func module(dir string, b bug) ([]string, error) {
	path, rel, ok := strings.Cut(b.file, " ")
	if !ok {
		return nil, fmt.Errorf("file %q: want a path below internal/, or a module and a path in it", b.file)
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", path).Output()
	if err != nil {
		return nil, err
	}
	src, copied := strings.TrimSpace(string(out)), filepath.Join(dir, "module")
	if err := os.CopyFS(copied, os.DirFS(src)); err != nil {
		return nil, err
	}
	at := filepath.Join(copied, rel)
	if err := os.Chmod(at, 0o600); err != nil {
		return nil, err
	}
	if err := patch(b, filepath.Join(src, rel), at); err != nil {
		return nil, err
	}
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		return nil, err
	}
	sum, err := os.ReadFile("go.sum")
	if err != nil {
		return nil, err
	}
	mod = fmt.Appendf(mod, "\nreplace %s => %s\n", path, copied)
	err = errors.Join(os.WriteFile(filepath.Join(dir, "go.mod"), mod, 0o600), os.WriteFile(filepath.Join(dir, "go.sum"), sum, 0o600))
	return []string{"-modfile", filepath.Join(dir, "go.mod")}, err
}
