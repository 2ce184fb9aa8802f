package forward

import (
	"errors"
	"slices"
	"time"

	"cistern/segstore/replica"
)

// Answered says how an attempt ended.
func (q *Queue) Answered(now time.Time, a *Attempt, offset int64, err error) *Effects {
	q.begin()
	it := a.Item
	it.attempts--
	if it.flash {
		q.flashOut--
	}
	current := a.generation == q.generation
	if current {
		q.out--
	} else {
		q.stale--
	}
	switch {
	case err == nil:
		if current {
			q.backoff, q.probing, q.cause, q.parkErr = 0, false, nil, nil
		}
		q.taken(it, offset)
	case current:
		q.failed(now, a, err)
	}
	if q.again && q.out == 0 {
		q.again = false
		q.later(now)
	}
	return q.step(now)
}

// taken notes that the leader has it. It has what came before from the same
// producer as well, since it takes no batch out of order.
func (q *Queue) taken(it *Item, offset int64) {
	for _, list := range [][]*Item{q.parking, q.window, q.fresh} {
		i := slices.Index(list, it)
		if i < 0 || it.done {
			continue
		}
		for _, before := range list[:i] {
			if !before.done && before.producer.ID == it.producer.ID {
				before.done, before.Offset = true, -1
			}
		}
		it.done, it.Offset = true, offset
		q.identity.take(it)
		q.renew = false
		return
	}
	q.identity.take(it) // even if its sender was told otherwise
	if it.parked {
		q.takenAside(it, offset)
	}
}

// takenAside is an answer to an attempt that was made before the batch was
// parked, or read back again. Its copy need not be handed over, if it is the
// next one; of another the leader will say that it has it.
func (q *Queue) takenAside(it *Item, offset int64) {
	switch {
	case len(q.window) > 0 && q.window[0].flash && q.window[0].base == it.base:
		if w := q.window[0]; !w.done {
			w.done, w.Offset = true, offset
			q.identity.take(it)
		}
	case len(q.window) == 0 && it.base == q.pos:
		q.identity.take(it)
		q.counts.HandedOver++
		q.advance(it.next, offset)
	}
}

// failed decides what an error of this generation's attempt means.
func (q *Queue) failed(now time.Time, a *Attempt, err error) {
	it := a.Item
	switch {
	case it.done && !it.parked:
		return
	case forGood(err) && !it.flash && slices.Contains(q.window, it): // what is parked has to be taken
		it.done, it.refused, it.Offset, it.Err = true, true, -1, err
		q.halt(now, err)
	case a.first && it.producer.Sequence != 0 && isGap(err):
		// All before it was at the leader when it was sent, so the leader has
		// lost or forgotten what this producer sent.
		q.renew = true
		q.halt(now, err)
	default:
		it.doubt = it.doubt || !definite(err)
		q.again = q.again || a.first || !isGap(err)
		q.probing = true
		q.halt(now, err)
	}
}

// forGood says that the leader will never take this batch, and has not.
func forGood(err error) bool {
	return errors.Is(err, replica.ErrTooLarge) || errors.Is(err, replica.ErrCorrupt) ||
		errors.Is(err, replica.ErrFull) || errors.Is(err, replica.ErrUnknownPartition)
}

// definite says that the leader has not taken the batch. Other errors leave
// that open: a leader that resigned may have given it to its followers.
func definite(err error) bool { return isGap(err) || errors.Is(err, replica.ErrNoLeader) }

// isGap says that the leader misses what came before.
func isGap(err error) bool {
	return errors.Is(err, replica.ErrOutOfOrderSequence) || errors.Is(err, replica.ErrUnknownProducer)
}

// halt stops sending until all that is out was answered.
func (q *Queue) halt(now time.Time, cause error) {
	if !q.broken {
		q.broken, q.retryAt = true, now
	}
	if q.cause == nil || !isGap(cause) {
		q.cause = cause
	}
}

// later puts the next attempt off, further each time.
func (q *Queue) later(now time.Time) {
	q.backoff = min(max(2*q.backoff, q.policy.BackoffMin), q.policy.BackoffMax)
	q.retryAt = now.Add(q.backoff)
}

// blocked says that sending waits for something else than time: numbers are
// written in place, so no attempt may be reading the batch.
func (q *Queue) blocked() bool {
	return q.saving || (q.renew || q.gap) && (q.stale > 0 || len(q.parking) > 0)
}

// mend begins a new generation of attempts when the last has ended and it is
// time: from the oldest on, with the same numbers unless they are void.
func (q *Queue) mend(now time.Time) {
	if !q.broken || q.out > 0 || q.blocked() {
		return
	}
	if len(q.window) > 0 && q.window[0].flash && (q.renew || now.Before(q.retryAt)) {
		q.window = nil // it will be read again; others need the memory meanwhile
	}
	if now.Before(q.retryAt) {
		return
	}
	switch {
	case q.renew && q.pos < q.end:
		q.renewParked()
		return
	case q.renew:
		q.renumber(q.numbered())
	case q.gap && q.direct():
		q.closeGap()
	}
	q.renew, q.gap, q.broken = false, false, false
	q.generation++
}

// numbered returns the batches in memory that have a number, in order.
func (q *Queue) numbered() (all []*Item) {
	for _, list := range [][]*Item{q.window, q.fresh} {
		for _, it := range list {
			if it.numbered && !it.done {
				all = append(all, it)
			}
		}
	}
	return all
}

// closeGap numbers what follows a batch that the leader refused for good. None
// of it is there; but where a request may still be under way its number must
// not go to another, and a new producer has to take over.
func (q *Queue) closeGap() {
	all, start := q.numbered(), q.identity.taken
	moot := func(it *Item) bool { return it.doubt || it.producer.ID != start.ID }
	switch {
	case len(all) > 0 && all[0].producer == start:
	case slices.ContainsFunc(all, moot):
		q.renumber(all)
	default:
		q.identity.next = start
		q.assign(all)
	}
}

// renumber puts a new producer in place of one that the leader does not know.
func (q *Queue) renumber(all []*Item) {
	q.counts.Renewed++
	q.identity.renew()
	q.assign(all)
}

func (q *Queue) assign(all []*Item) {
	for _, it := range all {
		it.doubt = false
		if err := q.identity.assign(it); err != nil {
			it.done, it.Offset, it.Err = true, -1, err
		}
	}
}

// renewParked gives all that is parked a new producer. That must be durable
// before the first of it leaves: after a restart it has to leave under the
// same one.
func (q *Queue) renewParked() {
	q.identity.renew()
	q.counts.Renewed++
	q.remap = Remap{From: q.pos, To: q.end, Producer: q.identity.next.ID}
	q.identity.next.Sequence = int32(q.end - q.pos)
	q.assign(q.numbered()) // the window is empty
	q.saving = true
	r := q.remap
	q.e.Save = &r
}

// Saved says that the last Save is durable, or why not.
func (q *Queue) Saved(now time.Time, err error) *Effects {
	q.begin()
	q.saving = false
	if err != nil {
		q.cause = err
		q.later(now)
	} else {
		q.renew = false
	}
	return q.step(now)
}
