package screen

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// terminal is a terminal that knows the sequences that a screen writes.
type terminal struct {
	lines []string
	row   int
}

func (t *terminal) Write(p []byte) (int, error) {
	text := string(p)
	for text != "" {
		var n int
		switch {
		case strings.HasPrefix(text, "\x1b[2K"):
			t.line("")
			text = text[4:]
		case strings.HasPrefix(text, "\x1b[J"):
			t.lines = t.lines[:min(t.row, len(t.lines))]
			text = text[3:]
		case strings.HasPrefix(text, "\x1b["):
			if _, err := fmt.Sscanf(text, "\x1b[%dA\r", &n); err != nil {
				return 0, err
			}
			t.row -= n
			text = text[strings.IndexByte(text, '\r')+1:]
		default:
			line, rest, _ := strings.Cut(text, "\n")
			t.line(line)
			t.row++
			text = rest
		}
	}
	return len(p), nil
}

func (t *terminal) line(text string) {
	for len(t.lines) <= t.row {
		t.lines = append(t.lines, "")
	}
	t.lines[t.row] = text
}

func TestScreenDrawsInPlace(t *testing.T) {
	term := &terminal{}
	s := New(term, func() (int, int) { return 12, 5 })
	expect := func(want ...string) {
		t.Helper()
		if !slices.Equal(term.lines, want) {
			t.Errorf("the terminal shows %q, want %q", term.lines, want)
		}
	}
	s.Draw([]string{"one", "two", "three"})
	expect("one", "two", "three")
	s.Draw([]string{"one", "2"})
	expect("one", "2")
	s.Say("stays")
	expect("stays", "one", "2")
	s.Draw([]string{"a line that is too long", "x\x1b[2Jy", "3", "4", "5", "6"})
	expect("stays", "a line tha…", "x [2Jy", "3", "4")
	written := len(term.lines)
	s.Draw([]string{"a line that is too long", "x\x1b[2Jy", "3", "4", "5", "6"})
	if len(term.lines) != written {
		t.Errorf("the same lines were written again: %q", term.lines)
	}
}

func TestTable(t *testing.T) {
	got := Table([]string{"name", "none", "grade"}, [][]string{{"i1", "", "Offline → Online"}, {"instance2", "", ""}, {"i3"}})
	want := []string{"name       grade", "i1         Offline → Online", "instance2", "i3"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSizeOfWhatIsNoTerminal(t *testing.T) {
	if columns, rows := Size(&strings.Builder{}); columns != 80 || rows != 24 {
		t.Errorf("%d columns, %d rows", columns, rows)
	}
}
