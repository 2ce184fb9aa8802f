package export

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"cistern/bridge/drain"
	"cistern/gossip/metadata"
	"cistern/segstore"
)

// Drains are the drain's cursors of a store whose gateway does not drain: it is
// stopped, or has no uplink.
type Drains struct{ d *drain.Drainer }

// OpenDrains reads the cursors of all partitions of a store from where they are
// kept; nil: the store itself.
func OpenDrains(store *segstore.Store, state drain.State) (*Drains, error) {
	if state == nil {
		state = store.State()
	}
	d, err := drain.New(drain.Config{Sink: nowhere{}, State: state, Quarantine: nowhere{}, Logger: slog.New(slog.DiscardHandler),
		OnCursor: func(p metadata.PartitionID, offset int64) {
			if log := store.Log(p); log != nil {
				log.SetDrained(offset)
			}
		}})
	if err != nil {
		return nil, err
	}
	for _, log := range store.Logs() {
		if metadata.IsReserved(log.Partition().Stream) {
			continue
		}
		if err := d.Add(log, drain.Term{}); err != nil {
			return nil, err
		}
		if next, ok := d.Cursor(log.Partition()); ok {
			log.SetDrained(next)
		}
	}
	return &Drains{d}, nil
}

// Status returns where the drain of each partition stands.
func (s *Drains) Status() []drain.PartitionStatus { return s.d.Status().Partitions }

// InDoubt reports whether the drain of a partition had not heard what became of the
// batches that it sent last.
func (s *Drains) InDoubt(p metadata.PartitionID) bool {
	for _, part := range s.Status() {
		if part.Partition == p {
			return slices.ContainsFunc(part.Flows, func(f drain.FlowStatus) bool { return f.InDoubt })
		}
	}
	return false
}

// Skip moves cursors durably: what lies below the offset given for a partition
// will not be drained.
func (s *Drains) Skip(ctx context.Context, to map[metadata.PartitionID]int64, why string) error {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.d.Run(ctx) }()
	var err error
	for p, offset := range to {
		done, skipErr := s.d.Skip(ctx, p, offset, why, false)
		if skipErr == nil && done.Next < offset {
			skipErr = fmt.Errorf("the drain skipped up to offset %d, not %d", done.Next, offset)
		}
		if skipErr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", p, skipErr))
		}
	}
	cancel()
	return errors.Join(err, <-ended)
}

// nowhere is an uplink that never comes up.
type nowhere struct{}

var errNowhere = errors.New("there is no uplink")

// Run implements drain.Sink.
func (nowhere) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Open implements drain.Sink: it waits for an uplink.
func (nowhere) Open(ctx context.Context, _ metadata.PartitionID, _ *drain.Cursor, _ drain.Opening) (drain.Lane, error) {
	<-ctx.Done()
	return nil, errNowhere
}

// Uplink implements drain.Sink.
func (nowhere) Uplink() drain.Uplink { return drain.Uplink{State: drain.UplinkOff} }

// Kick implements drain.Sink.
func (nowhere) Kick() {}

// Add implements drain.Quarantine.
func (nowhere) Add(drain.Poison) error { return errNowhere }
