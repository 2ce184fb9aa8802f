package agent

import (
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	now, kernel := time.Date(1970, 1, 1, 0, 5, 0, 0, time.UTC), false
	c := &clock{now: func() time.Time { return now }, kernel: func() bool { return kernel }, uptime: func() time.Duration { return time.Minute }}
	for _, step := range []struct {
		what   string
		now    time.Time
		kernel bool
		want   string
	}{
		{"boot", time.Unix(300, 0), false, clockUnset},
		{"a time service that lies", time.Unix(300, 0), true, clockUnset},
		{"set by hand", time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), false, clockUnsynced},
		{"NTP", time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), true, clockSynced},
		{"hours offline", time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC), false, clockSynced},
		{"set back", time.Unix(300, 0), true, clockUnset},
	} {
		now, kernel = step.now, step.kernel
		if got := c.check(); got != step.want || c.synced() != (got == clockSynced) {
			t.Errorf("%s: %s (synced: %v), want %s", step.what, got, c.synced(), step.want)
		}
	}
}
