package ingest

import (
	"errors"
	"time"

	"cistern/segstore"
	"cistern/segstore/batch"
)

// seal builds groups as they fall due and submits them, until stop.
func (u *pump) seal() {
	defer u.acc.wg.Done()
	defer close(u.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		g, wait, stop := u.due()
		switch {
		case g != nil:
			if u.acc.cfg.Journal != nil {
				u.ship(g)
				continue
			}
			u.build(g)
			g.submitted = time.Now()
			u.acc.cfg.Store.Submit(&g.Group)
		case stop:
			return
		default:
			timer.Reset(wait)
			select {
			case <-u.wake:
			case <-timer.C:
			}
		}
	}
}

// idleWait is how long the sealer sleeps when nothing waits; it is woken.
const idleWait = time.Hour

// due returns the group to build now; else how long to wait for one, or that
// there will be none.
func (u *pump) due() (g *group, wait time.Duration, stop bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.waiting) == 0 {
		return nil, idleWait, u.stopped && u.outstanding == 0
	}
	enough := u.bytes >= u.commitBytes
	switch {
	case u.outstanding >= outstandingMax, u.outstanding > 0 && !enough:
		return nil, idleWait, false // the finisher wakes us
	case !enough && !u.stopped:
		now := time.Now()
		if wait = max(u.deadline.Sub(now), u.company.wait(u.records, now)); wait > 0 {
			return nil, wait, false
		}
	}
	return u.collect(), 0, false
}

// collect takes what waits, in order, as far as one group goes.
func (u *pump) collect() *group {
	var g *group
	if n := len(u.freeGroups); n > 0 {
		g, u.freeGroups = u.freeGroups[n-1], u.freeGroups[:n-1]
	} else {
		g = &group{}
		g.Done = func(*segstore.Group) { u.done <- g }
	}
	n := min(len(u.waiting), partsGroupMax)
	g.parts = append(g.parts[:0], u.waiting[:n]...)
	u.waiting = append(u.waiting[:0], u.waiting[n:]...)
	g.bytes, g.records = 0, 0
	for _, o := range g.parts {
		g.bytes += o.bytes
		g.records += len(o.waiters)
		if o.partition.open == o {
			o.partition.open = nil
		}
	}
	u.bytes -= g.bytes
	u.records -= g.records
	u.outstanding++
	return g
}

// build compresses the batches of a group. A batch that can't be built fails
// alone.
func (u *pump) build(g *group) {
	g.Entries = g.Entries[:0]
	for _, o := range g.parts {
		var err error
		if o.data, err = o.builder.AppendTo(o.data[:0], batch.NoProducer); err != nil {
			u.acc.cfg.Logger.Error("batch can't be built", "partition", o.partition.id, "error", err)
			o.data = o.data[:0]
		}
		g.Entries = append(g.Entries, segstore.Entry{Log: o.partition.log, Batch: o.data})
	}
}

// finish answers the groups that the journal is done with, in order.
func (u *pump) finish() {
	defer u.acc.wg.Done()
	for g := range u.done {
		took := time.Since(g.submitted)
		for i, o := range g.parts {
			u.complete(g, o, &g.Entries[i])
		}
		for i, c := range g.flush {
			c.Flush()
			g.flush[i] = nil
		}
		g.flush = g.flush[:0]
		u.finished(g, took)
	}
}

func (u *pump) complete(g *group, o *part, e *segstore.Entry) {
	err := cause(e.Err)
	for i, w := range o.waiters {
		if w.c != nil && w.c.Complete(w.seq, e.BaseOffset+int64(i), err) {
			g.flush = append(g.flush, w.c)
		}
	}
	if err != nil && !errors.Is(err, ErrFull) {
		u.acc.cfg.Logger.Error("records not stored", "partition", o.partition.id, "records", len(o.waiters), "error", err)
	}
}

// finished gives the group's memory back and lets who waited for room go on.
func (u *pump) finished(g *group, took time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.company.ended(g.records+u.records, took, time.Now())
	u.held -= g.bytes
	for _, o := range g.parts {
		u.release(o)
	}
	u.retire(g)
	u.giveRoom()
	u.poke()
}

// retire takes a group out of those that the sealer waits for.
func (u *pump) retire(g *group) {
	u.outstanding--
	clear(g.parts)
	clear(g.Entries)
	if len(u.freeGroups) < outstandingMax {
		u.freeGroups = append(u.freeGroups, g)
	}
}

func (u *pump) giveRoom() {
	if u.blocked > 0 {
		close(u.room)
		u.room = make(chan struct{})
	}
}
