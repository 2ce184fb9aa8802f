package rig

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p patience
		is := func(want time.Duration) {
			t.Helper()
			if got := p.longest(); got != want {
				t.Errorf("waited %v, want %v", got, want)
			}
		}
		is(0)
		p.begin()
		time.Sleep(3 * time.Second)
		is(3 * time.Second) // the wait that goes on counts
		p.rewarded()
		time.Sleep(time.Second)
		p.rewarded()
		is(3 * time.Second)
		time.Sleep(time.Second)
		p.forget()
		time.Sleep(time.Second)
		p.rewarded()
		is(2 * time.Second) // it had begun before
	})
}
