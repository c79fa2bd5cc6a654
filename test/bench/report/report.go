// Package report is what benchmark programs share: medians and tables, and what to say of the machine. Effects: it reads
// /proc, runs programs for their version, and looks for free ports.
package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Median is the middle value, or the mean of the two middle ones; NaN of nothing.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Clone(values)
	slices.Sort(v)
	middle := len(v) / 2
	if len(v)%2 == 1 {
		return v[middle]
	}
	return (v[middle-1] + v[middle]) / 2
}

// Ratio divides, and gives NaN where that means nothing.
func Ratio(a, b float64) float64 {
	if b == 0 {
		return math.NaN()
	}
	return a / b
}

// Table is a Markdown table whose first columns are text and the others numbers.
type Table struct {
	texts int
	head  []string
	rows  [][]string
}

// NewTable is an empty table; the first so many columns are text.
func NewTable(texts int, head ...string) *Table { return &Table{texts: texts, head: head} }

// Row appends a row.
func (t *Table) Row(cells ...string) { t.rows = append(t.rows, cells) }

// String aligns numbers to the right.
func (t *Table) String() string {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(t.head)
	marks := make([]string, len(t.head))
	for i := range marks {
		marks[i] = "---:"
		if i < t.texts {
			marks[i] = "---"
		}
	}
	fmt.Fprintf(&b, "|%s|\n", strings.Join(marks, "|"))
	for _, r := range t.rows {
		line(r)
	}
	return b.String()
}

// Grouped writes a number with its thousands apart.
func Grouped(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	s := fmt.Sprintf("%.0f", math.Abs(v))
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if v < 0 && s != "0" {
		s = "-" + s
	}
	return s
}

// Fixed writes a number with so many digits after the point.
func Fixed(v float64, digits int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	return fmt.Sprintf("%.*f", digits, v)
}

// Times writes a ratio.
func Times(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	return fmt.Sprintf("%.2f×", v)
}

// Milliseconds is a time as a number of them.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
