package rig

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Fleet is devices that publish numbered messages, each to topics of its own.
type Fleet struct {
	stop    context.CancelFunc
	running sync.WaitGroup
	failed  []error
}

// topicsPerDevice makes order per topic and order per device two things.
const topicsPerDevice = 3

// StartFleet starts n devices that publish to broker, each one message every
// interval (0: as fast as they are confirmed), until Stop. change may set what else
// there is to a device.
func StartFleet(ctx context.Context, broker string, l *Ledger, n int, interval time.Duration, change ...func(*Device)) *Fleet {
	ctx, stop := context.WithCancel(ctx)
	f := &Fleet{stop: stop, failed: make([]error, n)}
	for i := range n {
		d := &Device{
			ClientID: fmt.Sprintf("device-%d", i),
			Brokers:  []string{broker},
			Ledger:   l,
			Interval: interval,
			Message:  numbered(i),
		}
		for _, c := range change {
			c(d)
		}
		f.running.Go(func() { f.failed[i] = d.Run(ctx) })
	}
	return f
}

// Stop lets every device settle what it has in flight.
func (f *Fleet) Stop() error {
	f.stop()
	f.running.Wait()
	return errors.Join(f.failed...)
}

func numbered(device int) func(number func(string) int64) (string, int64, []byte) {
	turn := 0
	return func(number func(string) int64) (string, int64, []byte) {
		turn++
		topic := fmt.Sprintf("plant/line%d/value%d", device, turn%topicsPerDevice)
		seq := number(topic)
		return topic, seq, fmt.Appendf(nil, `{"seq":%d,"device":%d,"c":%d.%d}`, seq, device, 20+seq%60, seq%10)
	}
}

// AwaitConfirmed returns when n more messages than now are confirmed.
func (l *Ledger) AwaitConfirmed(ctx context.Context, n int64) error {
	target := l.Tally().Confirmed + n
	for l.Tally().Confirmed < target {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d messages were confirmed: %w", l.Tally().Confirmed, target, ctx.Err())
		case <-time.After(time.Millisecond): // other processes: nothing to wait on
		}
	}
	return nil
}
