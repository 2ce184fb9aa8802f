package forward

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// ErrLost says that flash could not give a parked batch back.
var ErrLost = errors.New("a parked batch can't be read back")

// readOn asks for more of the parked log when what was read is at the leader.
func (q *Queue) readOn() {
	if q.pos == q.end || len(q.window) > 0 || q.reading {
		return
	}
	q.reading = true
	q.e.Read = q.pos
}

// ReadBack hands over whole batches of the parked log, from the offset of the
// last Effects.Read on, or says why they can't be read now. The queue keeps no
// part of run.
func (q *Queue) ReadBack(now time.Time, run []byte, err error) *Effects {
	q.begin()
	q.reading = false
	if q.pos == q.end || len(q.window) > 0 { // settled meanwhile
		return q.step(now)
	}
	if err == nil {
		err = q.takeRun(run)
	}
	if err != nil {
		q.window = nil
		q.halt(now, err)
		q.cause = err
		q.later(now)
	}
	return q.step(now)
}

func (q *Queue) takeRun(run []byte) error {
	if q.broken { // it will be read again
		return nil
	}
	for len(run) > 0 {
		one, rest, err := batch.Next(run)
		if err != nil {
			return fmt.Errorf("%s: parked log: %w", q.partition, err)
		}
		run = rest
		h, err := batch.ParseHeader(one)
		if err != nil {
			return fmt.Errorf("%s: parked log: %w", q.partition, err)
		}
		if h.NextOffset() <= q.pos || h.NextOffset() > q.end {
			continue // settled meanwhile; or answered after the end that is known
		}
		it := &Item{Data: slices.Clone(one), Records: h.Count, Acks: metadata.AcksAll, Offset: -1,
			producer: h.Producer, numbered: true, flash: true, parked: true, base: h.BaseOffset, next: h.NextOffset()}
		batch.Stamp(it.Data, 0, -1)
		if q.remap.covers(it.base) {
			if err := it.identify(q.remap.producer(it.base)); err != nil {
				return fmt.Errorf("%s: %w", q.partition, err)
			}
		}
		q.window = append(q.window, it)
	}
	if len(q.window) == 0 {
		return fmt.Errorf("%s: nothing was found in the parked log at %d, it ends at %d: %w", q.partition, q.pos, q.end, ErrLost)
	}
	return nil
}

// Lost says that flash can't give back what lies between the offset of the last
// Effects.Read and next. Whoever waits for it is told; the rest goes on.
func (q *Queue) Lost(now time.Time, next int64) *Effects {
	q.begin()
	q.reading = false
	next = min(max(next, q.pos), q.end)
	q.counts.Lost += next - q.pos
	for len(q.held) > 0 && q.held[0].base < next {
		q.answer(q.held[0], -1, ErrLost)
		q.held = pop(q.held)
	}
	q.advance(next, -1)
	return q.step(now)
}

// advance moves the position: all below next is at the leader. offset is where
// the last batch before next lies there.
func (q *Queue) advance(next, offset int64) {
	q.pos = next
	q.e.Moved = true
	for len(q.held) > 0 && q.held[0].next <= next {
		it := q.held[0]
		q.held = pop(q.held)
		at := int64(-1)
		if it.next == next {
			at = offset
		}
		q.answer(it, at, nil)
	}
}
