package export

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"cistern/bridge/drain"
	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

// stored is a store with 30 records of each of two partitions, three in a batch.
func stored(t *testing.T) *segstore.Store {
	t.Helper()
	s, err := segstore.Open(segstore.Config{Dir: t.TempDir(), MaxBytes: 8 << 20, SegmentBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	c := metadata.DefaultStreamConfig("mqtt")
	c.Partitions = 2
	if err := s.PutStream(c); err != nil {
		t.Fatal(err)
	}
	for n := range int32(2) {
		from := newLog("mqtt", n, 0).fill(t, 10)
		for _, b := range from.batches {
			if _, err := s.Commit(segstore.Entry{Log: s.Log(from.id), Batch: b}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s
}

var zero, first = metadata.PartitionID{Stream: "mqtt"}, metadata.PartitionID{Stream: "mqtt", Partition: 1}

// positions opens the cursors anew and returns where they stand.
func positions(t *testing.T, s *segstore.Store) (at [2]int64, d *Drains) {
	t.Helper()
	d, err := OpenDrains(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Status() {
		at[p.Partition.Partition] = p.Cursor
	}
	return at, d
}

// What was skipped without an uplink stays so, and retention may have it.
func TestSkipWithoutAnUplink(t *testing.T) {
	s := stored(t)
	at, d := positions(t, s)
	if at != [2]int64{} {
		t.Fatalf("new cursors are at %v", at)
	}
	if err := d.Skip(t.Context(), map[metadata.PartitionID]int64{first: 12}, "a test"); err != nil {
		t.Fatal(err)
	}
	if at, d = positions(t, s); at != [2]int64{0, 12} || s.Log(first).Drained() != 12 || s.Log(zero).Drained() != 0 {
		t.Errorf("cursors at %v, drained to %d", at, s.Log(first).Drained())
	}
	for range 2 { // twice does no harm
		if err := d.Skip(t.Context(), map[metadata.PartitionID]int64{zero: 30, first: 30}, "a test"); err != nil {
			t.Fatal(err)
		}
		if at, d = positions(t, s); at != [2]int64{30, 30} {
			t.Errorf("cursors at %v", at)
		}
	}
	if err := d.Skip(t.Context(), map[metadata.PartitionID]int64{zero: 31}, "a test"); err == nil {
		t.Error("skipped what is not there")
	}
}

// silent is an uplink that takes batches and says nothing of use about them.
type silent struct {
	nowhere
	sent chan struct{}
}

func (s silent) Open(_ context.Context, _ metadata.PartitionID, c *drain.Cursor, _ drain.Opening) (drain.Lane, error) {
	if c.Producer < 0 {
		c.Incarnate(time.Now(), drain.Target{Topic: "t"}, 7, 0, 0)
	}
	return s, nil
}

func (s silent) Send(_ []byte, _ *batch.Header, _ int32, done func(int64, error)) {
	select {
	case s.sent <- struct{}{}:
	default:
	}
	done(-1, errors.New("the answer is lost"))
}

func (silent) Close()               {}
func (silent) Target() string       { return "t/0" }
func (silent) Traits() drain.Traits { return drain.Traits{} }

// A drain that was broken off without an answer leaves a doubt behind.
func TestDoubt(t *testing.T) {
	s := stored(t)
	sink := silent{sent: make(chan struct{}, 1)}
	d, err := drain.New(drain.Config{Sink: sink, State: s.State(), Quarantine: nowhere{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Add(s.Log(zero), drain.Term{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	<-sink.sent
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	at, drains := positions(t, s)
	if at != [2]int64{} || !drains.InDoubt(zero) || drains.InDoubt(first) {
		t.Errorf("at %v, in doubt %t and %t", at, drains.InDoubt(zero), drains.InDoubt(first))
	}
	// The doubt stays over a move: what was skipped may be upstream.
	if err := drains.Skip(t.Context(), map[metadata.PartitionID]int64{zero: 30}, "a test"); err != nil {
		t.Fatal(err)
	}
	if at, drains = positions(t, s); at != [2]int64{30, 0} || !drains.InDoubt(zero) {
		t.Errorf("after a move: at %v, in doubt %t", at, drains.InDoubt(zero))
	}
}
