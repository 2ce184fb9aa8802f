package drain

import (
	"context"
	"errors"
	"fmt"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

// Order says what goes first after an outage.
type Order uint8

const (
	// OrderStrict sends a partition's records in the order of their offsets.
	OrderStrict Order = iota
	// OrderLiveFirst sends new records at once, and what an outage left behind
	// beside them. Order holds within each of these flows, not across them.
	OrderLiveFirst
)

// Pause stops or resumes the drain of a partition. It is remembered with the
// cursor, so it outlives this process and holds for whoever drains next. It fails
// when it can't be remembered: then nothing has changed.
func (d *Drainer) Pause(ctx context.Context, p metadata.PartitionID, on bool) error {
	part, err := d.find(p)
	if err != nil {
		return err
	}
	return part.interrupted(ctx, func() error {
		err := part.put(func() (undo func()) {
			was := part.paused
			part.paused = on
			return func() { part.paused = was }
		})
		if err == nil {
			part.logger.Info("drain paused or resumed by hand", "paused", on)
		}
		return err
	})
}

func (d *Drainer) find(p metadata.PartitionID) (*partition, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	part := d.partitions[p]
	if part == nil {
		return nil, fmt.Errorf("%s is not drained by this gateway", p)
	}
	return part, nil
}

// Skipped is what Skip has given up, or would.
type Skipped struct {
	First   int64 `json:"first_offset"`
	Next    int64 `json:"next_offset"` // behind the last
	Records int64 `json:"records"`
}

// Skip gives up a partition's records below offset to, which is a batch's
// boundary or is moved down to one: they will not be sent by this drain, and
// count as skipped. What was on its way may arrive all the same. With try
// nothing happens. It fails when it can't be remembered.
func (d *Drainer) Skip(ctx context.Context, p metadata.PartitionID, to int64, why string, try bool) (Skipped, error) {
	part, err := d.find(p)
	if err != nil {
		return Skipped{}, err
	}
	if part.isUnclean() {
		return Skipped{}, fmt.Errorf("%s: what upstream has of the records that an unclean election gave up is not known yet: wait until the uplink is back", p)
	}
	to, err = part.boundary(to)
	if err != nil {
		return Skipped{}, err
	}
	if try {
		part.mu.Lock()
		defer part.mu.Unlock()
		return part.skippable(to), nil
	}
	var s Skipped
	err = part.interrupted(ctx, func() (err error) {
		s, err = part.skip(to)
		return err
	})
	if err == nil && s.Records > 0 {
		part.logger.Error("records skipped by hand: they are not drained", "first", s.First, "last", s.Next-1, "records", s.Records, "why", why)
	}
	return s, err
}

// boundary moves an offset down to where a stored batch begins, and to the high
// watermark.
func (p *partition) boundary(to int64) (int64, error) {
	hw := p.log.HighWatermark()
	if to < 0 {
		return 0, fmt.Errorf("offset %d: there is no such offset", to)
	}
	if to >= hw || to <= p.log.StartOffset() {
		return min(to, hw), nil
	}
	run, err := p.log.Read(to, nil, 1)
	if lost, ok := errors.AsType[*segstore.CorruptError](err); ok && lost.FirstOffset <= to && to <= lost.LastOffset {
		return lost.FirstOffset, nil // the range is unreadable, so nothing is cut in two
	}
	if err == nil {
		var h batch.Header
		if h, err = batch.ParseHeader(run); err == nil {
			return min(to, h.BaseOffset), nil
		}
	}
	return 0, fmt.Errorf("finding the batch of offset %d: %w", to, err)
}

// skippable says what skipping to an offset gives up. p.mu is held.
func (p *partition) skippable(to int64) Skipped {
	s := Skipped{First: p.lowest(), Next: max(to, p.lowest())}
	for _, f := range append(p.older[:len(p.older):len(p.older)], p.live) {
		s.Records += max(0, min(to, f.end)-f.view.Position)
	}
	return s
}

// skip gives up all flows below an offset, while none runs. Ranges that end there
// go away. The cursor of the one that goes on is moved when it is known for sure
// where it is: what is in doubt has sequence numbers.
func (p *partition) skip(to int64) (s Skipped, err error) {
	var goesOn *flow
	err = p.put(func() (undo func()) {
		s = p.skippable(to)
		older, kept := p.older, []flowRecord{}
		for _, f := range older {
			kept = append(kept, f.kept)
		}
		live := p.live.kept
		for len(p.older) > 0 && p.older[0].end <= to {
			p.older = p.older[1:]
		}
		goesOn = p.live
		if len(p.older) > 0 {
			goesOn = p.older[0]
		}
		if s.Records > 0 && to > goesOn.view.Position {
			goesOn.kept.Cursor = goesOn.cursor
			goesOn.kept.Skip, goesOn.kept.LogEpoch = to, max(goesOn.cursor.LogEpoch, p.logEpoch())
		}
		var counted Tallies
		if s.Records > 0 {
			counted.Skipped = one(s.Records)
		}
		p.counts.add(counted, 1)
		return func() {
			p.older, p.live.kept = older, live
			for i, f := range older {
				f.kept = kept[i]
			}
			p.counts.add(counted, -1)
		}
	})
	if err != nil {
		return Skipped{}, err
	}
	goesOn.cursor.Skip, goesOn.cursor.LogEpoch = goesOn.kept.Skip, goesOn.kept.LogEpoch
	goesOn.skipFrom = goesOn.cursor.Position
	goesOn.durable, goesOn.doubted = goesOn.kept.identity(), goesOn.kept.InDoubt
	goesOn.publish(0)
	return s, nil
}

// skipped moves the cursor past what was given up by hand, now that the sink has
// found where it is. What turned out to be upstream was not skipped.
func (f *flow) skipped() error {
	was := f.cursor
	if f.cursor.Skip > f.cursor.Position {
		if err := f.mayMove(); err != nil {
			return err
		}
	}
	sent := min(f.cursor.Position, f.cursor.Skip) - min(f.skipFrom, f.cursor.Skip)
	if f.cursor.Skip > f.cursor.Position {
		f.cursor.skip(f.cursor.Skip)
	}
	f.cursor.Skip = 0
	if err := f.saveSync(Tallies{Skipped: Tally{Records: -sent}}); err != nil {
		f.cursor = was
		return err
	}
	return nil
}
