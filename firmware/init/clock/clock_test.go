package clock

import (
	"strings"
	"testing"
	"time"
)

func TestFloorNeverGoesBack(t *testing.T) {
	built, kept := time.Unix(1_700_000_000, 0), time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		now, kept, want time.Time
		behind          bool
	}{
		{time.Unix(5, 0), kept, kept, true},
		{time.Unix(5, 0), time.Time{}, built, true},
		{time.Unix(5, 0), time.Unix(7, 0), built, true},
		{kept.Add(time.Hour), kept, kept, false},
		{built.Add(time.Hour), time.Time{}, built, false},
	} {
		got, behind := Floor(c.now, built, c.kept)
		if !got.Equal(c.want) || behind != c.behind {
			t.Errorf("%v, kept %v: got %v, %t", c.now, c.kept, got, behind)
		}
	}
}

func TestDecide(t *testing.T) {
	s, ms, year := time.Second, time.Millisecond, 365*24*time.Hour
	for _, c := range []struct {
		name    string
		offsets []time.Duration
		set     bool
		want    Action
		offset  time.Duration
		why     string
	}{
		{"nobody answers", nil, false, Leave, 0, "no time server"},
		{"far off at boot", []time.Duration{year, year + ms}, false, Step, year + ms, ""},
		{"ahead at boot", []time.Duration{-year}, false, Step, -year, ""},
		{"near at boot", []time.Duration{300 * ms}, false, Slew, 300 * ms, ""},
		{"seconds off later", []time.Duration{3 * s}, true, Slew, 3 * s, ""},
		{"a year off later", []time.Duration{year}, true, Leave, 0, "restart the gateway"},
		{"a day back later", []time.Duration{-24 * time.Hour}, true, Leave, 0, "restart the gateway"},
		{"two that contradict", []time.Duration{0, year}, false, Leave, 0, "do not agree"},
		{"one liar of three", []time.Duration{-year, 2 * s, 2*s + ms}, false, Step, 2 * s, ""},
		{"one liar of four", []time.Duration{year, 2 * s, 2*s + ms, 2*s - ms}, false, Step, 2*s + ms, ""},
		{"three that contradict", []time.Duration{-year, 0, year}, false, Leave, 0, "do not agree"},
	} {
		a, offset, why := Decide(c.offsets, c.set)
		if a != c.want || offset != c.offset || (why == "") != (a != Leave) || !strings.Contains(why, c.why) {
			t.Errorf("%s: got %d, %s, %q", c.name, a, offset, why)
		}
	}
}

func TestNextAsksSoonAndThenSeldom(t *testing.T) {
	if Next(0) != pollSynced || Next(1) != pollMin || Next(1<<30) != pollMax {
		t.Errorf("got %s, %s, %s", Next(0), Next(1), Next(1<<30))
	}
	for n := 1; n < 100; n++ {
		if Next(n+1) < Next(n) {
			t.Errorf("after %d failures %s, then %s", n, Next(n), Next(n+1))
		}
	}
}
