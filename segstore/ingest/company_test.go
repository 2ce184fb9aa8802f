package ingest

import (
	"testing"
	"time"
)

func TestCompany(t *testing.T) {
	start := time.Unix(1000, 0)
	const commit = 4 * time.Millisecond
	for _, c := range []struct {
		name    string
		ended   int // records the last commit answered or found waiting
		here    int
		later   time.Duration // since then
		awaited time.Duration
	}{
		{"nothing has ended yet", 0, 1, 0, 0},
		{"a lone device is never kept waiting", 1, 1, 0, 0},
		{"half are here", 8, 4, 0, commit / companyShare},
		{"all are here", 8, 8, 0, 0},
		{"more than expected", 8, 9, 0, 0},
		{"some time has passed", 8, 4, commit / companyShare / 2, commit / companyShare / 2},
		{"the others are late", 8, 4, commit, 0},
	} {
		var w company
		if c.ended > 0 {
			w.ended(c.ended, commit, start)
		}
		if got := w.wait(c.here, start.Add(c.later)); got != c.awaited {
			t.Errorf("%s: waits %s, want %s", c.name, got, c.awaited)
		}
	}
}

func TestCompanyFollowsTheDevice(t *testing.T) {
	var w company
	start := time.Unix(1000, 0)
	w.ended(2, time.Millisecond, start)
	for range 100 { // the card has become slow
		w.ended(2, time.Second, start)
	}
	if got := w.wait(1, start); got != companyMax {
		t.Errorf("waits %s beside a very slow card, want no more than %s", got, companyMax)
	}
	for range 100 { // and fast again
		w.ended(2, time.Millisecond, start)
	}
	if got := w.wait(1, start); got > time.Millisecond {
		t.Errorf("waits %s beside a card that takes 1 ms", got)
	}
}
