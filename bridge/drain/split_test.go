package drain

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestCrashAtEveryWrite kills a drainer before or after each of its state writes,
// while flows are split and go together again. Its successor finishes.
func TestCrashAtEveryWrite(t *testing.T) {
	for _, after := range []bool{false, true} {
		for _, lazyLost := range []bool{false, true} {
			t.Run(fmt.Sprintf("after it %v, lazy ones lost %v", after, lazyLost), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					points := 0
					for at := 1; crashAtWrite(t, at, after, lazyLost); at++ {
						points++
					}
					if points < 8 {
						t.Errorf("only %d writes: the flows were not seen at work", points)
					}
				})
			})
		}
	}
}

// crashAtWrite reports whether the drainer has that many writes.
func crashAtWrite(t *testing.T, at int, after, lazyLost bool) bool {
	w := newWorld(t, 0, mutants{})
	w.rng, w.plan, w.order = rand.New(rand.NewPCG(1, 1)), plan{}, OrderLiveFirst
	w.store.crash = crashPoint{at: at, after: after}
	for range 8 {
		w.log.append(t, 5, 1)
	}
	w.log.confirm()
	w.launch(-1)
	for round := range 12 {
		synctest.Wait()
		w.onWire(func(l *wire) { l.reach(); l.answer() })
		w.log.append(t, 3, time.Now().UnixMilli())
		w.log.confirm()
		if round%4 == 3 { // an outage
			w.central.mu.Lock()
			for _, l := range w.central.lanes {
				l.cut()
			}
			w.central.mu.Unlock()
			time.Sleep(BackoffMax)
		}
		w.deliver()
		time.Sleep(SaveInterval)
		if n := w.current(); n != nil && w.store.crashed() {
			w.end(n, true)
			if lazyLost {
				w.store.mu.Lock()
				w.store.lazy = nil
				w.store.mu.Unlock()
			}
			w.launch(-1)
		}
	}
	w.store.mu.Lock()
	hit := w.store.crash.hit
	w.store.crash.over = true // the end is not of interest
	w.store.mu.Unlock()
	err := w.eventually()
	for _, n := range slices.Clone(w.nodes) {
		w.end(n, true)
	}
	if err == nil {
		err = w.check()
	}
	if err != nil {
		t.Fatalf("write %d: %v", at, err)
	}
	return hit
}
