package config

import (
	"testing"
	"time"
)

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "4096": 4096, "64KiB": 64 << 10, "1.5GiB": 3 << 29, "500MB": 5e8, "2 TiB": 2 << 40, "7B": 7,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "KiB", "-1", "1e400", "NaN", "9999999999TiB", "1 apple", "1kib", "Inf", "9223372036854775808"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q was taken as %d", text, got)
		}
	}
	for _, n := range []int64{0, 1, 1024, 1025, 3 << 29, 1 << 50, 4 << 20} {
		if got, err := ParseSize(FormatSize(n)); err != nil || got != n {
			t.Errorf("%d: %q is read as %d, %v", n, FormatSize(n), got, err)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "50ms": 50 * time.Millisecond, "7d": 7 * day, "2w": 14 * day, "1d12h": 36 * time.Hour,
		"1w1d": 8 * day, "9999d": 9999 * day,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: got %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "-1s", "1", "7 days", "1d1w", "65535w", "1.5d", "1d-1h"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q was taken as %s", text, got)
		}
	}
	for text, d := range map[string]time.Duration{"7d": 7 * day, "1m": time.Minute, "1h": time.Hour, "1h30m": 90 * time.Minute, "0s": 0, "50ms": 50e6} {
		if got := FormatDuration(d); got != text {
			t.Errorf("%s: got %q, want %q", d, got, text)
		}
	}
}
