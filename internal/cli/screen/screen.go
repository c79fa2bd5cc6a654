// Package screen shows lines that change in place on a terminal, and lays out tables. Effects: what it writes to the
// terminal. What the lines say is decided by its callers.
package screen

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// The size of a terminal that does not tell its own.
const (
	columnsDefault = 80
	rowsDefault    = 24
)

// Size returns the columns and rows of a terminal, 80 and 24 if it does not tell them.
func Size(stream any) (columns, rows int) {
	f, ok := stream.(*os.File)
	if !ok {
		return columnsDefault, rowsDefault
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 || size.Row == 0 {
		return columnsDefault, rowsDefault
	}
	return int(size.Col), int(size.Row)
}

// Screen is the lower part of a terminal, of as many lines as were drawn last. It is used by one goroutine at a time.
type Screen struct {
	out  io.Writer
	size func() (columns, rows int)
	// drawn are the lines as they stand, cut to the terminal's width.
	drawn []string
}

// New makes a screen that has drawn nothing yet; size is asked at every change.
func New(out io.Writer, size func() (columns, rows int)) *Screen {
	return &Screen{out: out, size: size}
}

// Draw puts the lines in the place of those drawn before. What does not fit the terminal is cut off. Nothing is written
// if nothing has changed.
func (s *Screen) Draw(lines []string) {
	columns, rows := s.size()
	lines = slices.Clone(lines[:min(len(lines), max(rows-1, 1))])
	for i, line := range lines {
		lines[i] = Cut(line, columns-1)
	}
	if slices.Equal(lines, s.drawn) {
		return
	}
	s.write(up(len(s.drawn)), lines)
}

// Say writes a line that stays, above what is drawn.
func (s *Screen) Say(line string) {
	s.write(up(len(s.drawn))+"\x1b[J"+Printable(line)+"\n", s.drawn)
}

func (s *Screen) write(before string, lines []string) {
	var b strings.Builder
	b.WriteString(before)
	for _, line := range lines {
		b.WriteString("\x1b[2K" + line + "\n")
	}
	b.WriteString("\x1b[J")
	s.drawn = lines
	// A terminal that is gone tells itself by a hangup.
	_, _ = io.WriteString(s.out, b.String())
}

// up moves to the beginning of the line that many lines above.
func up(lines int) string {
	if lines == 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%dA\r", lines)
}

// Cut shortens a text to at most columns characters, the last of which then is '…', and makes it printable.
func Cut(text string, columns int) string {
	text = Printable(text)
	if columns < 1 || utf8.RuneCountInString(text) <= columns {
		return text
	}
	return string([]rune(text)[:columns-1]) + "…"
}

// Printable replaces everything that could move the cursor by a space: texts come from other machines.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || !unicode.IsPrint(r) && !unicode.IsSpace(r) {
			return ' '
		}
		return r
	}, text)
}

// Table lays out rows below a header in columns as wide as their widest cell, two spaces apart. Columns in which only the
// header has a text are left out; without rows there is no table.
func Table(header []string, rows [][]string) []string {
	if len(rows) == 0 {
		return nil
	}
	widths := make([]int, len(header))
	for i := range header {
		for _, row := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell(row, i)))
		}
		if widths[i] > 0 {
			widths[i] = max(widths[i], utf8.RuneCountInString(header[i]))
		}
	}
	lines := make([]string, 0, len(rows)+1)
	for _, row := range append([][]string{header}, rows...) {
		var b strings.Builder
		for i, width := range widths {
			if width == 0 {
				continue
			}
			text := Printable(cell(row, i))
			b.WriteString(text + strings.Repeat(" ", width-utf8.RuneCountInString(text)+2))
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
	}
	return lines
}

func cell(row []string, i int) string {
	if i >= len(row) {
		return ""
	}
	return row[i]
}
