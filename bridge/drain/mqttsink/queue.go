package mqttsink

import (
	"context"
	"errors"
	"sync"
	"time"

	"cistern/bridge/drain"
)

// queue is what lanes want to send over a connection, what is under way, and how
// much of it. Results are told under the lock, which keeps them in order.
type queue struct {
	sink *Sink
	more chan struct{} // gets a value when a parcel or room came

	mu      sync.Mutex
	waiting []*parcel
	begun   []*parcel // in the order of their results
	used    int       // messages that are not acknowledged
	bytes   int       // of these
	ended   error     // the connection has: nothing is taken any more
}

func (q *queue) init(s *Sink) {
	q.sink = s
	q.more = make(chan struct{}, 1)
}

func (q *queue) notify() {
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// errWithdrawn is the result of what its lane took back, and of what came behind
// a batch that failed.
var errWithdrawn = errors.New("taken back before it was sent")

// send queues a parcel. One that does not follow what its lane has sent comes
// behind a failure that its sender has not heard of yet: published, it would
// overtake what failed.
func (q *queue) send(p *parcel) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p.since = time.Now()
	switch l := p.lane; {
	case q.ended != nil:
		p.done(-1, q.ended)
	case l.next >= 0 && l.next != p.sequence:
		q.fail(p, errWithdrawn)
	default:
		l.next = p.follows()
		q.waiting = append(q.waiting, p)
		q.notify()
	}
}

// fail gives a parcel its result, to be told in its turn. q.mu is held.
func (q *queue) fail(p *parcel, err error) {
	if p.begun {
		p.err, p.handed = err, true
	} else {
		p.begun, p.handed, p.err = true, true, err
		q.begun = append(q.begun, p)
	}
	q.tell()
}

// withdraw fails what a lane has waiting. q.mu is held.
func (q *queue) withdraw(l *lane) {
	kept := q.waiting[:0]
	var taken []*parcel
	for _, p := range q.waiting {
		if p.lane == l {
			taken = append(taken, p)
		} else {
			kept = append(kept, p)
		}
	}
	clear(q.waiting[len(kept):])
	q.waiting = kept
	for _, p := range taken {
		q.fail(p, errWithdrawn)
	}
}

// cancel takes back what a lane has waiting.
func (q *queue) cancel(l *lane) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.withdraw(l)
}

// tell tells the results that are known, oldest first. q.mu is held.
func (q *queue) tell() {
	for len(q.begun) > 0 {
		p := q.begun[0]
		if !p.handed || p.unacked > 0 {
			return
		}
		q.begun[0] = nil
		q.begun = q.begun[1:]
		p.settle(p.err)
	}
}

// take waits for the next parcel. While messages are suspects, parcels that have
// broken fewer connections go first, for a while.
func (q *queue) take(ctx context.Context) *parcel {
	for ctx.Err() == nil {
		if p := q.next(); p != nil {
			return p
		}
		select {
		case <-q.more:
		case <-ctx.Done():
		}
	}
	return nil
}

// suspectWait is how long a parcel that has broken connections lets others go
// before it.
const suspectWait = 5 * time.Second

func (q *queue) next() *parcel {
	q.mu.Lock()
	defer q.mu.Unlock()
	best, fewest := -1, 0
	seen := map[*lane]bool{}
	for i, p := range q.waiting {
		if seen[p.lane] {
			continue // the order of a lane is kept
		}
		seen[p.lane] = true
		strikes := q.sink.suspicion.strikesOf(p.lane.key)
		if strikes > 0 && time.Since(p.since) > q.sink.timing.suspect {
			strikes = 0
		}
		if best < 0 || strikes < fewest {
			best, fewest = i, strikes
		}
		if strikes == 0 {
			break
		}
	}
	if best < 0 {
		return nil
	}
	p := q.waiting[best]
	q.waiting = append(q.waiting[:best], q.waiting[best+1:]...)
	p.begun = true
	q.begun = append(q.begun, p)
	return p
}

// enter waits until a message of a parcel may be published: alone, or within the
// window.
func (q *queue) enter(ctx context.Context, p *parcel, offset int64, size int) error {
	for {
		alone := q.sink.suspicion.careful()
		q.mu.Lock()
		if q.used == 0 || !alone && q.used < q.sink.cfg.Window && q.bytes+size <= WindowBytesMax {
			q.used++
			q.bytes += size
			p.unacked++
			p.last = offset
			q.mu.Unlock()
			return nil
		}
		q.mu.Unlock()
		select {
		case <-q.more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// handed says that all of a parcel was published, or why not.
func (q *queue) handed(p *parcel, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err == nil {
		p.handed = true
		q.tell()
		return
	}
	p.lane.next = p.sequence
	q.fail(p, err)
	q.withdraw(p.lane)
}

// acknowledged takes in that the broker has a message.
func (q *queue) acknowledged(f flight) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used--
	q.bytes -= f.size
	f.parcel.unacked--
	f.parcel.acked = f.offset + 1
	q.tell()
	q.notify()
}

// end fails what is left, with what it says about those that were under way.
func (q *queue) end(cause error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var open []opened
	for _, p := range q.begun {
		if p.unacked > 0 {
			open = append(open, opened{p.lane.key, p.last})
		}
	}
	poison, found := q.sink.suspicion.interrupted(open, q.used == 1, cause)
	q.ended = cause
	for _, p := range append(q.begun, q.waiting...) {
		switch {
		case found && p.unacked > 0 && p.lane.key == poison.key:
			p.settle(&drain.Error{Verdict: drain.Refused, Reason: "CONNECTION_CLOSED", Err: poison.err(cause)})
		case p.err != nil:
			p.settle(p.err)
		default:
			p.settle(cause)
		}
	}
	q.begun, q.waiting = nil, nil
}
