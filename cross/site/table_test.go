package site

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// quantiles says how times are spread: one number would hide what matters.
func quantiles(all []time.Duration) string {
	if len(all) == 0 {
		return "none"
	}
	return fmt.Sprintf("%d: median %s, p95 %s, longest %s", len(all), rounded(quantile(all, 50)), rounded(quantile(all, 95)), rounded(slices.Max(all)))
}

// quantile is the smallest of all times that percent of them don't exceed.
func quantile(all []time.Duration, percent int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(all))
	return s[(len(s)*percent+99)/100-1]
}

func rounded(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

func TestQuantile(t *testing.T) {
	var all []time.Duration
	for i := 20; i > 0; i-- {
		all = append(all, time.Duration(i))
	}
	for percent, want := range map[int]time.Duration{50: 10, 95: 19, 100: 20, 1: 1} {
		if got := quantile(all, percent); got != want {
			t.Errorf("quantile %d: %d, want %d", percent, got, want)
		}
	}
	if quantile(nil, 50) != 0 {
		t.Error("a quantile of nothing")
	}
}
