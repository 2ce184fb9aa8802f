package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// sizeUnits are the words after a number of bytes, longest first so that a
// suffix search finds the right one.
var sizeUnits = []struct {
	word  string
	bytes int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// ParseSize reads a number of bytes: "64KiB", "1.5GiB", "500MB", "4096".
func ParseSize(s string) (int64, error) {
	number, unit := strings.TrimSpace(s), int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(number, u.word); ok {
			number, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		if n < 0 || n > math.MaxInt64/unit {
			return 0, fmt.Errorf("%q is not a size that fits", s)
		}
		return n * unit, nil
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || !(f >= 0 && f*float64(unit) < math.MaxInt64) {
		return 0, fmt.Errorf("%q is not a size; sizes look like 4096, \"64KiB\", \"1.5GiB\", \"500MB\"", s)
	}
	return int64(f * float64(unit)), nil
}

// FormatSize writes a size the way ParseSize reads it, exactly.
func FormatSize(n int64) string {
	for i := 3; i >= 0; i-- {
		if u := sizeUnits[i]; n != 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.word
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

const (
	day     = 24 * time.Hour
	daysMax = 9999 // and as many weeks; more would not fit
)

// ParseDuration reads a duration as Go writes it, with days and weeks in
// front: "50ms", "90s", "7d", "2w", "1d12h". "0" is none.
func ParseDuration(s string) (time.Duration, error) {
	rest, total := strings.TrimSpace(s), time.Duration(0)
	bad := fmt.Errorf("%q is not a duration; durations look like \"50ms\", \"90s\", \"12h\", \"7d\", \"2w\"", s)
	for _, u := range []struct {
		word string
		unit time.Duration
	}{{"w", 7 * day}, {"d", day}} {
		number, after, found := strings.Cut(rest, u.word)
		if !found {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n > daysMax {
			return 0, bad
		}
		total, rest = total+time.Duration(n)*u.unit, after
	}
	if rest == "" && total > 0 || rest == "0" {
		return total, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || total > math.MaxInt64-d {
		return 0, bad
	}
	return total + d, nil
}

// FormatDuration writes a duration the way ParseDuration reads it.
func FormatDuration(d time.Duration) string {
	if d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	s := d.String()
	s = strings.TrimSuffix(s, "m0s")
	if len(s) < len(d.String()) {
		s += "m"
	}
	if h, ok := strings.CutSuffix(s, "h0m"); ok {
		return h + "h"
	}
	return s
}
