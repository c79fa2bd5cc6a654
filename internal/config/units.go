package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes.
type Size uint64

var sizeUnits = []struct {
	suffix string
	shift  uint
}{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}, {"B", 0}}

// String writes a size in the largest unit that divides it, as ParseSize reads it.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && uint64(s)%(1<<u.shift) == 0 {
			return strconv.FormatUint(uint64(s)>>u.shift, 10) + u.suffix
		}
	}
	return "0B"
}

// ParseSize reads "64MiB", "1GiB", "512KiB", "100B" or a plain number of bytes. Units are powers of 1024; "64MB" is
// refused, because it means different things to different people.
func ParseSize(text string) (Size, error) {
	digits := strings.TrimRight(text, "BKMGTi")
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size: write a whole number and a unit, as in 64MiB or 1GiB", text)
	}
	unit := text[len(digits):]
	if unit == "" {
		return Size(n), nil
	}
	for _, u := range sizeUnits {
		if unit != u.suffix {
			continue
		}
		if n > math.MaxUint64>>u.shift {
			return 0, fmt.Errorf("%q is too large", text)
		}
		return Size(n << u.shift), nil
	}
	return 0, fmt.Errorf("%q has unit %q: the units are B, KiB, MiB, GiB, TiB", text, unit)
}

// ParseDuration reads "300ms", "5s", "2h", "1h30m"; "0" needs no unit, negative values are refused.
func ParseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration: write a number and a unit, as in 300ms, 5s or 2h", text)
	}
	if d < 0 {
		return 0, fmt.Errorf("%q is negative", text)
	}
	return d, nil
}

// formatDuration writes a duration as a person would: "2h", not "2h0m0s".
func formatDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
