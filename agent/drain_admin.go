package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cistern/agent/status"
	"cistern/bridge/export"
	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

// operators are whom the status server asks for orders to the drain, and for
// what is carried out and in.
var (
	_ status.DrainAdmin = (*Agent)(nil)
	_ status.Carrier    = (*carrier)(nil)
)

// listenToOperators lets the status server take orders: at its socket, and on a
// site at the site port from who has the key.
func (a *Agent) listenToOperators() {
	a.status.Drain, a.status.Carrier = a, &carrier{Agent: a}
	if a.site != nil {
		a.status.Remote = a.site.port.Listener(status.Protocol)
	}
	if a.updates != nil {
		a.status.Machine = a.updates
	}
}

// selected are the partitions that an order names.
func (a *Agent) selected(stream string, partition int32) (ids []metadata.PartitionID, err error) {
	known := false
	for _, c := range a.streams() {
		if stream != "" && c.Name != stream {
			continue
		}
		known = true
		for n := range c.Partitions {
			if partition == status.AllPartitions || n == partition {
				ids = append(ids, metadata.PartitionID{Stream: c.Name, Partition: n})
			}
		}
	}
	switch {
	case !known && stream != "":
		return nil, fmt.Errorf("there is no stream %q; `cistern status` lists them", stream)
	case len(ids) == 0 && stream != "":
		return nil, fmt.Errorf("stream %q has no partition %d", stream, partition)
	}
	return ids, nil
}

// drainsHere reports whether this gateway drains a partition.
func (a *Agent) drainsHere(p metadata.PartitionID) bool {
	if a.drain == nil {
		return false
	}
	_, ok := a.drain.Cursor(p)
	return ok
}

// drainer names the gateway of the site that drains a partition, "" when there
// is none that this one knows of.
func (a *Agent) drainer(p metadata.PartitionID) string {
	if a.drainsHere(p) {
		return a.config.Gateway.Name
	}
	if a.site == nil {
		return ""
	}
	image := a.site.image()
	if by, _, _ := image.Drainer(p); by != metadata.NoNode {
		return nodeName(image, by)
	}
	return ""
}

// PauseDrain implements status.DrainAdmin.
func (a *Agent) PauseDrain(ctx context.Context, o status.PauseOrder) (status.PauseAnswer, error) {
	var answer status.PauseAnswer
	if a.drain == nil && a.site == nil {
		return answer, status.ErrNoUplink
	}
	ids, err := a.selected(o.Stream, o.Partition)
	if err != nil {
		return answer, err
	}
	var failed error
	for _, p := range ids {
		if !a.drainsHere(p) {
			answer.Elsewhere = append(answer.Elsewhere, status.DrainedAt{Partition: p.String(), Gateway: a.drainer(p)})
			continue
		}
		if err := a.drain.Pause(ctx, p, o.On); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", p, err))
			continue
		}
		answer.Done = append(answer.Done, p.String())
		a.log.Info("the drain was ordered to change", "partition", p, "paused", o.On)
	}
	return answer, failed
}

// SkipDrain implements status.DrainAdmin.
func (a *Agent) SkipDrain(ctx context.Context, o status.SkipOrder) (status.SkipAnswer, error) {
	p := metadata.PartitionID{Stream: o.Stream, Partition: o.Partition}
	if _, err := a.selected(o.Stream, o.Partition); err != nil || o.Partition < 0 {
		return status.SkipAnswer{}, errors.Join(err, wrongPartition(o.Partition))
	}
	log := a.store.Log(p)
	switch {
	case a.drain == nil && a.site == nil && o.Exported:
		return a.skipWithoutUplink(ctx, log, o)
	case a.drain == nil && (a.site == nil || a.drainer(p) == a.config.Gateway.Name):
		return status.SkipAnswer{}, status.ErrNoUplink
	case !a.drainsHere(p) || log == nil:
		return status.SkipAnswer{}, fmt.Errorf("%s; ask there", status.DrainedAt{Partition: p.String(), Gateway: a.drainer(p)})
	}
	to := o.To
	if to == status.SkipToEnd {
		to = log.HighWatermark()
	}
	if to > log.HighWatermark() {
		return status.SkipAnswer{}, fmt.Errorf("%s is confirmed up to offset %d; what comes later can't be skipped yet", p, log.HighWatermark()-1)
	}
	skipped, err := a.drain.Skip(ctx, p, to, o.Why, o.Try)
	if err != nil {
		return status.SkipAnswer{}, err
	}
	if !o.Try {
		a.log.Warn("the drain skipped records on an operator's word", "partition", p, "first", skipped.First, "next", skipped.Next,
			"records", skipped.Records, "why", o.Why)
	}
	return spanned(log, skipped.First, skipped.Next, skipped.Records), nil
}

func wrongPartition(n int32) error {
	if n < 0 {
		return fmt.Errorf("partition %d is none", n)
	}
	return nil
}

// skipWithoutUplink notes for a drain to come that records were carried out.
func (a *Agent) skipWithoutUplink(ctx context.Context, log *segstore.Log, o status.SkipOrder) (status.SkipAnswer, error) {
	first := max(log.StartOffset(), log.Drained())
	if o.Try || o.To <= first {
		return spanned(log, first, max(first, o.To), max(0, o.To-first)), nil
	}
	drains, err := export.OpenDrains(a.store, nil)
	if err != nil {
		return status.SkipAnswer{}, err
	}
	if err := drains.Skip(ctx, map[metadata.PartitionID]int64{log.Partition(): o.To}, o.Why); err != nil {
		return status.SkipAnswer{}, err
	}
	return spanned(log, first, o.To, o.To-first), nil
}

// spanned is a range with the times of its first and last record.
func spanned(log *segstore.Log, first, next, records int64) status.SkipAnswer {
	a := status.SkipAnswer{First: first, Next: next, Records: records}
	if records > 0 {
		a.FirstTime, a.LastTime = recordTime(log, first), recordTime(log, next-1)
	}
	return a
}

// recordTime is when a record was taken, zero when it can't be read.
func recordTime(log *segstore.Log, offset int64) time.Time {
	b, err := log.Read(offset, nil, 0)
	if err != nil || len(b) == 0 {
		return time.Time{}
	}
	one, _, err := batch.Next(b)
	if err != nil {
		return time.Time{}
	}
	for r, err := range batch.Records(one, tailBatchMax) {
		if err != nil {
			return time.Time{}
		}
		if r.Offset >= offset {
			return time.UnixMilli(r.Timestamp).UTC()
		}
	}
	return time.Time{}
}

// recallDrained tells the store what was drained or carried out before this
// start, so that retention may drop it. Without an uplink nobody else does.
func (a *Agent) recallDrained() error {
	if a.site != nil { // it keeps the cursors
		return nil
	}
	_, err := export.OpenDrains(a.store, nil)
	return err
}

// Log implements status.Carrier.
func (a *carrier) Log(p metadata.PartitionID) (export.Log, error) {
	if log := a.store.Log(p); log != nil {
		return export.WithClock(log, a.clocks.BootAt), nil
	}
	if a.site != nil {
		if st := a.site.image().Partition(p); st != nil && st.Leader != metadata.NoNode {
			return nil, fmt.Errorf("this gateway keeps no copy of %s; %s leads it", p, nodeName(a.site.image(), st.Leader))
		}
	}
	return nil, fmt.Errorf("%s: %w", p, segstore.ErrUnknownStream)
}
