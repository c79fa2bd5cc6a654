package report

import (
	"math"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{3, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}, {[]float64{1, 1, 100}, 1}} {
		if got := Median(c.in); got != c.want {
			t.Errorf("median of %v is %g, want %g", c.in, got, c.want)
		}
	}
	if !math.IsNaN(Median(nil)) || !math.IsNaN(Ratio(1, 0)) {
		t.Error("nothing has a median, or 1/0 a value")
	}
}

func TestNumbers(t *testing.T) {
	for got, want := range map[string]string{
		Grouped(0): "0", Grouped(999.6): "1,000", Grouped(1234567): "1,234,567", Grouped(-1234): "-1,234", Grouped(math.NaN()): "–",
		Fixed(1.236, 2): "1.24", Fixed(math.Inf(1), 1): "–", Times(2): "2.00×", Times(math.NaN()): "–",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestTable(t *testing.T) {
	table := NewTable(1, "op", "a", "b")
	table.Row("ping", "1", "2")
	want := "| op | a | b |\n|---|---:|---:|\n| ping | 1 | 2 |\n"
	if got := table.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
