package console

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/sys/real"
)

func TestHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lycosa", "history")
	told := ""
	open := func() *history {
		told = ""
		return openHistory(real.FS{}, path, func(format string, args ...any) { told += fmt.Sprintf(format, args...) })
	}
	h := open()
	for _, line := range []string{"select t", "select t", "insert t [\n1]", " ping", `call login "my Password"`, "insert _user []", "", "select t"} {
		if _, err := h.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"select t", "insert t [\n1]", " ping", `call login "my Password"`, "insert _user []", "select t"}; !slices.Equal(h.lines, want) {
		t.Errorf("in this session: %q", h.lines)
	}
	if h = open(); !slices.Equal(h.lines, []string{"select t", "insert t [\n1]", "select t"}) || told != "" {
		t.Errorf("in the next session: %q, told %s", h.lines, told)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode of the file: %v, %v", info, err)
	}
	for at, want := range map[int]bool{-1: false, 0: true, h.Len() - 1: true, h.Len(): false} {
		if _, err := h.GetLine(at); (err == nil) != want {
			t.Errorf("line %d: %v", at, err)
		}
	}

	// The file grows to a limit, and a file that others may read is written anew.
	for n := range 2*historyMax + 10 {
		if _, err := h.Write(fmt.Sprint("select t eq ", n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if h = open(); h.Len() != historyMax || h.lines[historyMax-1] != fmt.Sprint("select t eq ", 2*historyMax+9) {
		t.Errorf("%d lines, the last is %s", h.Len(), h.lines[h.Len()-1])
	}
	data, err := os.ReadFile(path)
	if err != nil || strings.Count(string(data), "\n") != historyMax+1 {
		t.Errorf("%d lines in the file, %v", strings.Count(string(data), "\n"), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the file: %v, %v", info, err)
	}

	// What is no history of ours is left alone.
	foreign := "lycosa console history 2\n\"x\"\n"
	if err := os.WriteFile(path, []byte(foreign), 0o600); err != nil {
		t.Fatal(err)
	}
	h = open()
	if _, err := h.Write("select t"); err != nil || h.Len() != 1 || !strings.Contains(told, "not kept") {
		t.Errorf("%d lines, told %q, %v", h.Len(), told, err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != foreign {
		t.Errorf("the file became %q, %v", data, err)
	}
	if err := errorsOf(os.Remove(path), os.Symlink("/dev/null", path)); err != nil {
		t.Fatal(err)
	}
	if open(); !strings.Contains(told, "not a regular file") {
		t.Errorf("a link: told %q", told)
	}
}

func errorsOf(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}
