package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// median is the middle value, or the mean of the two middle ones; NaN of nothing.
func median(values []float64) float64 {
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

// ratio divides, and gives NaN where that means nothing.
func ratio(a, b float64) float64 {
	if b == 0 {
		return math.NaN()
	}
	return a / b
}

// table is a Markdown table whose first columns are text and the others numbers.
type table struct {
	texts int
	head  []string
	rows  [][]string
}

func newTable(texts int, head ...string) *table { return &table{texts: texts, head: head} }

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// String aligns numbers to the right.
func (t *table) String() string {
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

// grouped writes a number with its thousands apart.
func grouped(v float64) string {
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

// fixed writes a number with so many digits after the point.
func fixed(v float64, digits int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	return fmt.Sprintf("%.*f", digits, v)
}

// times writes a ratio.
func times(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	return fmt.Sprintf("%.2f×", v)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
