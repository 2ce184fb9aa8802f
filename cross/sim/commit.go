package sim

import (
	"errors"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/replica"
)

// entry is one thing to do with the log: a batch that this gateway leads, a
// copy of another's, or a cut.
type entry struct {
	bytes []byte
	leads bool
	acks  metadata.Acks
	epoch int32                 // in which a copy was fetched
	cut   *replica.FollowerStep // nil: a batch
	done  func(base, end int64, err error)

	base, end int64
	err       error
}

var errSync = errors.New("the sync failed")

// submit queues entries for the journal. As in the real one, a commit takes
// all that wait, and the next begins when it is on flash.
func (g *gateway) submit(entries ...entry) {
	g.queued = append(g.queued, entries...)
	if !g.committing {
		g.committing = true
		g.later(g.s.around(g.s.Sync/2), g.commit) // other partitions share the journal
	}
}

func (g *gateway) commit() {
	entries := g.queued
	g.queued = nil
	g.card.log.begin()
	for i := range entries {
		e := &entries[i]
		e.base, e.end, e.err = g.place(e)
	}
	g.later(g.s.around(g.s.Sync)+time.Millisecond, func() { g.sync(entries) })
}

func (g *gateway) place(e *entry) (base, end int64, err error) {
	log := &g.card.log
	if e.cut != nil {
		if err := g.part.AdmitCut(e.cut); err != nil {
			return 0, 0, err
		}
		if e.cut.Restart {
			g.s.count("restarts of a log")
			log.restart(e.cut.Offset)
		} else {
			g.s.count("truncations")
			log.cut(e.cut.Offset)
		}
		return 0, 0, nil
	}
	h, err := batch.ParseHeader(e.bytes)
	if err != nil {
		return 0, 0, err
	}
	var epoch int32
	if e.leads {
		epoch, err = g.part.Admit(&h, log.PlacedOffset(), e.acks)
	} else {
		epoch, err = g.part.AdmitCopy(&h, log.PlacedOffset(), e.epoch)
	}
	if err != nil {
		if g.s.tracing() {
			g.s.trace("%s refuses batch %d (producer %x sequence %d): %v", g.name, h.BaseTimestamp, h.Producer.ID, h.Producer.Sequence, err)
		}
		return 0, 0, err
	}
	b := log.place(e.bytes, epoch)
	g.s.check.placed(g, b, e.leads)
	if g.s.tracing() {
		g.s.trace("%s places batch %d (producer %x sequence %d) at %d in epoch %d", g.name, b.uid, h.Producer.ID, h.Producer.Sequence, b.base, b.epoch)
	}
	return b.base, b.next, nil
}

// sync ends a commit. A sync that fails is final: the process ends, and the
// next one reads from the card what is there.
func (g *gateway) sync(entries []entry) {
	if g.failing {
		g.failing = false
		g.s.count("failed syncs")
		g.effects(g.part.Failed())
		for i := range entries {
			if entries[i].done != nil {
				entries[i].done(0, 0, errSync)
			}
		}
		g.s.restart(g, true, g.s.between(10*time.Millisecond, time.Second))
		return
	}
	g.card.log.synced()
	for i := range entries {
		e := &entries[i]
		switch {
		case e.cut != nil && e.err == nil && e.cut.Restart:
			g.effects(g.part.Restarted(e.cut.Offset))
		case e.cut != nil && e.err == nil:
			g.effects(g.part.Truncated(e.cut.Offset))
		}
	}
	g.effects(g.part.Synced(g.s.now))
	if g.s.chance(0.2) { // small facts ride along now and then
		table := g.part.Producers()
		g.card.kept, g.card.producers, g.card.covered = g.part.HighWatermark(), table.Encode(), table.End()
	}
	for i := range entries {
		if e := &entries[i]; e.done != nil {
			e.done(e.base, e.end, e.err)
		}
	}
	g.committing = false
	if len(g.queued) > 0 {
		g.submit()
	}
}
