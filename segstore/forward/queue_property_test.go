package forward

import (
	"fmt"
	"testing"
	"time"
)

// Whatever leader, network and flash do: every record at most once, in order,
// and every confirmed one exactly once.
func TestOnceAndInOrderWhateverHappens(t *testing.T) {
	var all Counts
	for seed := range uint64(150) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed)
			confirm := seed%2 == 0
			var wheel []func() // each seed has its own odds
			for i, event := range w.events(confirm) {
				for range []int{1, 2, 4}[w.rng.IntN(3)] * eventOdds[i] {
					wheel = append(wheel, event)
				}
			}
			for range 500 {
				wheel[w.rng.IntN(len(wheel))]()
			}
			w.heal()
			w.check()
			all = add(all, add(w.counts, w.q.Counts()))
		})
	}
	// The trouble has to have happened.
	if all.Parked == 0 || all.HandedOver == 0 || all.Resent == 0 || all.Renewed == 0 || all.Confirmed == 0 || all.Refused == 0 {
		t.Errorf("something never happened: %+v", all)
	}
	t.Logf("%+v", all)
}

var eventOdds = [...]int{8, 12, 8, 4, 2, 2, 4, 2, 2, 1, 1}

func (w *world) events(confirm bool) []func() {
	return []func(){
		func() { w.submit(confirm) },
		w.deliver,
		w.answer,
		w.park,
		w.read,
		w.save,
		func() {
			w.now = w.now.Add(time.Duration(w.rng.IntN(120)) * time.Millisecond)
			w.apply(w.q.Tick(w.now))
		},
		func() { w.apply(w.q.Changed(w.now, true)) },
		func() { w.apply(w.q.Changed(w.now, false)) },
		w.forget,
		func() {
			if w.rng.IntN(4) == 0 {
				w.restart()
			}
		},
	}
}
