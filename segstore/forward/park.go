package forward

import (
	"errors"
	"time"

	"cistern/segstore"
)

// park sends what has waited too long to the parked log, all that is in memory
// at once and in order. While the backlog's leader does not answer nothing
// waits; while it does, new batches may get through in time.
func (q *Queue) park(now time.Time) {
	first := q.oldest()
	if first == nil || len(q.parking) > 0 || now.Before(q.parkAgain) {
		return
	}
	atOnce := q.pos < q.end && q.probing
	if !atOnce && now.Before(first.since.Add(q.policy.parkAfter(first))) {
		return
	}
	if q.direct() {
		q.parking = append(q.parking, q.window...)
		q.window = nil
		q.probing, q.broken = true, true
		if q.out > 0 {
			q.retryAt = now
		}
	}
	for _, it := range q.fresh {
		if q.number(it) {
			q.parking = append(q.parking, it)
		}
	}
	q.fresh = nil
	for _, it := range q.parking {
		if !it.done {
			q.submitted = append(q.submitted, it)
		}
	}
	if len(q.submitted) == 0 {
		q.afterParking()
	}
	q.e.Park = q.submitted
}

// Parked is what became of one item of Effects.Park.
type Parked struct {
	Base int64 // its offset in the parked log
	Err  error
}

// Parked says what became of Effects.Park, item by item. After one that failed
// come only such that failed too, but for batches that are too large.
func (q *Queue) Parked(now time.Time, results []Parked) *Effects {
	q.begin()
	q.parkErr = nil
	for i, it := range q.submitted {
		q.parked(now, it, results[i])
	}
	q.submitted = nil
	q.afterParking()
	return q.step(now)
}

// parked notes where an item lies, or that flash refused it.
func (q *Queue) parked(now time.Time, it *Item, r Parked) {
	if r.Err != nil {
		if errors.Is(r.Err, segstore.ErrTooLarge) && !it.done {
			it.done, it.Offset, it.Err = true, -1, r.Err
		}
		q.parkErr, q.parkAgain = r.Err, now.Add(parkRetry)
		return
	}
	if q.pos == q.end {
		q.pos, q.since = r.Base, now
	}
	it.parked, it.base, it.next = true, r.Base, r.Base+int64(it.Records)
	q.end = it.next
	q.counts.Parked++
}

// afterParking answers or keeps what was parked, and takes back what was not.
func (q *Queue) afterParking() {
	var back []*Item
	for _, it := range q.parking {
		switch {
		case it.done:
			if it.parked && it.base == q.pos {
				q.advance(it.next, it.Offset)
			}
			q.answer(it, it.Offset, it.Err)
		case !it.parked:
			back = append(back, it)
		case it.Confirm:
			q.counts.Confirmed += int64(it.Records)
			q.answer(it, -1, nil)
		default:
			q.held = append(q.held, it)
			q.e.Hold = append(q.e.Hold, it)
			it.Data = nil
		}
	}
	q.parking = nil
	q.fresh = append(back, q.fresh...)
}

// refuse answers what can't be parked and has waited long enough. Whether the
// leader has it nobody knows, so what follows keeps its numbers.
func (q *Queue) refuse(now time.Time) {
	if q.parkErr == nil || len(q.parking) > 0 {
		return
	}
	due := func(it *Item) bool { return !it.flash && !now.Before(it.since.Add(q.policy.RefuseAfter)) }
	for len(q.window) > 0 && due(q.window[0]) {
		q.window = q.refuseFirst(q.window)
	}
	if len(q.window) > 0 && !q.window[0].flash {
		return
	}
	for len(q.fresh) > 0 && due(q.fresh[0]) {
		q.fresh = q.refuseFirst(q.fresh)
	}
}

func (q *Queue) refuseFirst(list []*Item) []*Item {
	it := list[0]
	if !it.done {
		it.Offset, it.Err = -1, q.parkErr
	}
	q.answer(it, it.Offset, it.Err)
	return pop(list)
}
