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
	for seed := range uint64(400) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed)
			confirm := seed%2 == 0
			for range 600 {
				switch w.rng.IntN(12) {
				case 0, 1:
					w.submit(confirm)
				case 2, 3, 4:
					w.deliver()
				case 5, 6:
					w.answer()
				case 7:
					w.park()
				case 8:
					w.read()
					w.save()
				case 9:
					w.now = w.now.Add(time.Duration(w.rng.IntN(120)) * time.Millisecond)
					w.apply(w.q.Tick(w.now))
				case 10:
					w.apply(w.q.Changed(w.now, w.rng.IntN(2) == 0))
				case 11:
					switch w.rng.IntN(12) {
					case 0:
						w.restart()
					case 1, 2, 3:
						w.forget()
					}
				}
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
