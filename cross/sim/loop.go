package sim

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// loop is a single-threaded world: a clock, what is due, and chance. The same
// seed gives the same run, whatever the machine.
type loop struct {
	now    time.Duration
	due    events
	count  int
	random *rand.Rand
}

type event struct {
	at time.Duration
	n  int // the order in which it was made, for those due at the same time
	do func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].n < e[j].n
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = event{}
	*e = (*e)[:last]
	return x
}

// after does something later.
func (l *loop) after(d time.Duration, do func()) {
	l.count++
	heap.Push(&l.due, event{l.now + max(d, 0), l.count, do})
}

// until runs what is due until then. Now and then it looks whether stop says
// that it is enough, and returns what it said last.
func (l *loop) until(end time.Duration, stop func() bool) bool {
	look := l.now
	for len(l.due) > 0 && l.due[0].at <= end {
		if l.now >= look {
			if stop() {
				return true
			}
			look = l.now + 10*time.Millisecond
		}
		e := heap.Pop(&l.due).(event)
		l.now = e.at
		e.do()
	}
	l.now = max(l.now, end)
	return stop()
}

// chance is true with probability p.
func (l *loop) chance(p float64) bool { return p > 0 && l.random.Float64() < p }

// around draws from an exponential distribution, ten times the mean at most.
func (l *loop) around(mean time.Duration) time.Duration {
	return min(time.Duration(l.random.ExpFloat64()*float64(mean)), 10*mean)
}

// between draws evenly.
func (l *loop) between(low, high time.Duration) time.Duration {
	return low + time.Duration(l.random.Int64N(int64(high-low)+1))
}
