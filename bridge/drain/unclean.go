package drain

import "context"

// reconcile is for a partition whose site gave up records in an unclean election
// since its cursor was stored. What of them is upstream stays there. What the
// log now has in their place goes there as well, under a new producer id: it
// would have the sequence numbers of what was given up. It is false when ctx
// ended before.
func (p *partition) reconcile(ctx context.Context) bool {
	for p.isUnclean() {
		kick := p.d.kick()
		err := p.abandon(ctx)
		if ctx.Err() != nil {
			return false
		}
		if err != nil {
			p.live.pause(ctx, kick, p.live.weigh(err))
		}
	}
	return true
}

// isUnclean reports whether the flows are of a history that was given up in part.
func (p *partition) isUnclean() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.term.Unclean > p.unclean
}

// abandon finds how far each flow is, under the identity it had, and begins anew
// where the history that they were of ends.
func (p *partition) abandon(ctx context.Context) error {
	flows := append(p.older[:len(p.older):len(p.older)], p.live)
	for _, f := range flows {
		if f.cursor.Producer < 0 {
			continue // nothing was sent
		}
		f.say(StateConnecting, "")
		quiet := f.mayMove() // before the look, so that it sees what has arrived until then
		lane, err := p.d.cfg.Sink.Open(ctx, p.id, &f.cursor, Opening{Flow: f.kind, First: true, Relocate: true})
		if err != nil {
			return err
		}
		fenced := lane.Traits().Unnumbered
		lane.Close()
		if quiet != nil && !fenced {
			return quiet
		}
		f.cursor.Position = min(f.cursor.Position, f.end)
	}
	keep := p.common(flows)
	gone, lost := Tally{}, int64(0)
	var older []*flow
	for _, f := range flows {
		if n := f.cursor.Position - max(keep, f.from); n > 0 && f.cursor.Producer >= 0 {
			gone.add(one(n), 1)
			lost += n
		}
		f.cursor.Skip = min(f.cursor.Skip, keep)
		if f.kind == Backfill && f.cursor.reached() < min(f.end, keep) {
			older = append(older, newFlow(p, Backfill, flowRecord{From: min(f.from, f.cursor.Position), End: min(f.end, keep), Cursor: f.cursor}, false))
		}
	}
	at := min(p.live.cursor.Position, keep)
	next := p.live.cursor.branchOff(at, p.lastBranch()+1)
	if skip := min(p.live.cursor.Skip, keep); skip > at {
		next.Skip = skip // what lies behind is not what was meant
	}
	if err := p.restart(older, next, gone); err != nil {
		return err
	}
	if lost > 0 {
		p.logger.Error("an unclean election gave up records that are upstream: they stay there, and what the site has in their place follows them",
			"from", keep, "records", lost)
	}
	p.live.publish(0)
	return nil
}

// common returns the offset up to which the log is the one that the flows were
// sent from.
func (p *partition) common(flows []*flow) int64 {
	epoch, lowest := int32(-1), p.live.cursor.Position
	for _, f := range flows {
		epoch, lowest = max(epoch, f.cursor.LogEpoch), min(lowest, f.cursor.Position)
	}
	if epoch < 0 {
		return lowest // nothing was sent
	}
	if _, end := p.log.EndOffsetForEpoch(epoch); end >= 0 {
		return end
	}
	return min(p.log.StartOffset(), p.live.cursor.Position) // all that was sent from is gone
}

// restart makes durable that the partition goes on with these flows.
func (p *partition) restart(older []*flow, next Cursor, gone Tally) error {
	counted := Tallies{Abandoned: gone}
	err := p.put(func() (undo func()) {
		kept, was, unclean := p.live.kept, p.older, p.unclean
		p.live.kept = flowRecord{From: next.Position, Cursor: next}
		p.older, p.unclean = older, p.term.Unclean
		p.counts.add(counted, 1)
		return func() {
			p.live.kept, p.older, p.unclean = kept, was, unclean
			p.counts.add(counted, -1)
		}
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.live.from = next.Position
	p.mu.Unlock()
	p.live.begin(next)
	p.live.how = Opening{}
	return nil
}
