package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

func openStore(t testing.TB, streams ...metadata.StreamConfig) *segstore.Store {
	t.Helper()
	s, err := segstore.Open(segstore.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for _, c := range streams {
		if err := s.PutStream(c); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func stream(name string, partitions int32, window time.Duration) metadata.StreamConfig {
	c := metadata.DefaultStreamConfig(name)
	c.Partitions, c.CommitWindow = partitions, window
	return c
}

// device publishes one record after the other, the next when the last is
// confirmed, and notes the offsets.
type device struct {
	answer  chan error
	offsets []int64
	flushed int
}

func (d *device) Complete(seq uint64, offset int64, err error) bool {
	if err == nil && seq != uint64(len(d.offsets)) {
		err = fmt.Errorf("answer for record %d, expected %d", seq, len(d.offsets))
	}
	d.offsets = append(d.offsets, offset)
	d.answer <- err
	return true
}

func (d *device) Flush() { d.flushed++ }

func TestEveryRecordIsAnsweredOnceInOrder(t *testing.T) {
	const devices, records = 32, 50
	s := openStore(t, stream("a", 4, 0))
	acc := New(Config{Store: s})
	var wg sync.WaitGroup
	all := make([]*device, devices)
	for i := range all {
		d := &device{answer: make(chan error, 1)}
		all[i] = d
		wg.Go(func() {
			for n := range records {
				r := batch.Record{Key: fmt.Appendf(nil, "device/%d", i), Value: fmt.Appendf(nil, "%d", n), Timestamp: int64(n)}
				p := metadata.PartitionID{Stream: "a", Partition: int32(i % 4)}
				if err := acc.Append(t.Context(), p, &r, d, uint64(n)); err != nil {
					t.Error(err)
					return
				}
				if err := <-d.answer; err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	acc.Close()
	for i, d := range all {
		if d.flushed == 0 || d.flushed > records {
			t.Errorf("device %d: flushed %d times for %d records", i, d.flushed, records)
		}
		g := s.Log(metadata.PartitionID{Stream: "a", Partition: int32(i % 4)})
		for n, offset := range d.offsets {
			if got := recordAt(t, g, offset); string(got.Key) != fmt.Sprintf("device/%d", i) || string(got.Value) != fmt.Sprint(n) {
				t.Fatalf("device %d was told offset %d for record %d; found there: %s %s", i, offset, n, got.Key, got.Value)
			}
		}
	}
}

func recordAt(t *testing.T, g *segstore.Log, offset int64) batch.Record {
	t.Helper()
	buf, err := g.Read(offset, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	for r, err := range batch.Records(buf, 1<<20) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Offset == offset {
			return r
		}
	}
	t.Fatalf("no record at offset %d", offset)
	return batch.Record{}
}

// count counts answers.
type count struct {
	mu    sync.Mutex
	n     int
	last  error
	reach chan struct{} // closed at want
	want  int
}

func newCount(want int) *count { return &count{want: want, reach: make(chan struct{})} }

func (c *count) Complete(_ uint64, _ int64, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	if err != nil {
		c.last = err
	}
	if c.n == c.want {
		close(c.reach)
	}
	return false
}

func (c *count) Flush() {}

func TestWindowGathersOneCommit(t *testing.T) {
	s := openStore(t, stream("a", 1, 50*time.Millisecond), stream("b", 1, 50*time.Millisecond))
	acc := New(Config{Store: s})
	defer acc.Close()
	c := newCount(64)
	for i := range 64 {
		p := metadata.PartitionID{Stream: []string{"a", "b"}[i%2]}
		if err := acc.Append(t.Context(), p, &batch.Record{Value: []byte("x")}, c, uint64(i)); err != nil {
			t.Fatal(err)
		}
	}
	<-c.reach
	if st := s.Stats(); st.Commits != 1 || st.Batches != 2 {
		t.Errorf("%d commits, %d batches; want 1 and 2", st.Commits, st.Batches)
	}
}

func TestCommitBytesCloseACommitEarly(t *testing.T) {
	cfg := stream("a", 1, time.Minute)
	cfg.CommitBytes = 4 << 10
	acc := New(Config{Store: openStore(t, cfg)})
	defer acc.Close()
	c := newCount(4) // 4 KiB; the fifth may come too late for their commit
	for i := range 5 {
		if err := acc.Append(t.Context(), metadata.PartitionID{Stream: "a"}, &batch.Record{Value: make([]byte, 1<<10)}, c, uint64(i)); err != nil {
			t.Fatal(err)
		}
	}
	<-c.reach // within a window of a minute
}

func TestCloseCommitsWhatWaits(t *testing.T) {
	s := openStore(t, stream("a", 1, time.Minute))
	acc := New(Config{Store: s})
	c := newCount(3)
	for i := range 3 {
		if err := acc.Append(t.Context(), metadata.PartitionID{Stream: "a"}, &batch.Record{Value: []byte("x")}, c, uint64(i)); err != nil {
			t.Fatal(err)
		}
	}
	acc.Close()
	if end := s.Log(metadata.PartitionID{Stream: "a"}).EndOffset(); c.n != 3 || c.last != nil || end != 3 {
		t.Errorf("%d answers, last error %v, log end %d; want 3, none, 3", c.n, c.last, end)
	}
	err := acc.Append(t.Context(), metadata.PartitionID{Stream: "a"}, &batch.Record{}, c, 9)
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("append after Close: %v, want ErrUnavailable", err)
	}
}

func TestBackPressure(t *testing.T) {
	cfg := stream("a", 1, time.Minute)
	cfg.CommitBytes = metadata.CommitBytesMax
	acc := New(Config{Store: openStore(t, cfg), PendingBytesMax: 8 << 10})
	defer acc.Close()
	p := metadata.PartitionID{Stream: "a"}
	for acc.held(cfg.Lane) < 8<<10 {
		if err := acc.Append(t.Context(), p, &batch.Record{Value: make([]byte, 1<<10)}, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := acc.Append(ctx, p, &batch.Record{}, nil, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("append above the limit: %v, want to wait until canceled", err)
	}
}

func (a *Accumulator) held(lane string) int {
	a.mu.RLock()
	u := a.pumps[lane]
	a.mu.RUnlock()
	if u == nil {
		return 0
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.held
}

func TestRefusals(t *testing.T) {
	acc := New(Config{Store: openStore(t, stream("a", 1, 0))})
	defer acc.Close()
	for _, c := range []struct {
		name  string
		p     metadata.PartitionID
		value int
		want  error
	}{
		{"unknown stream", metadata.PartitionID{Stream: "nope"}, 1, ErrUnknownPartition},
		{"unknown partition", metadata.PartitionID{Stream: "a", Partition: 1}, 1, ErrUnknownPartition},
		{"larger than a batch", metadata.PartitionID{Stream: "a"}, metadata.BatchBytesMax, ErrTooLarge},
	} {
		if err := acc.Append(t.Context(), c.p, &batch.Record{Value: make([]byte, c.value)}, nil, 0); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	// The refused record left nothing behind that would stop the next.
	d := &device{answer: make(chan error, 1)}
	if err := acc.Append(t.Context(), metadata.PartitionID{Stream: "a"}, &batch.Record{Value: []byte("x")}, d, 0); err != nil {
		t.Fatal(err)
	}
	if err := <-d.answer; err != nil {
		t.Error(err)
	}
}

func TestBudgetWindow(t *testing.T) {
	const ceiling = 40 * time.Millisecond
	for _, c := range []struct {
		fill float64
		want time.Duration
	}{{1, 0}, {0.5, 0}, {0.25, ceiling / 2}, {0, ceiling}} {
		if got := windowAt(c.fill, ceiling); got != c.want {
			t.Errorf("window at %.2f: %s, want %s", c.fill, got, c.want)
		}
	}
	b := newBudget(24*3600*1000, nil) // 1,000 bytes a second, holds 3.6 MB
	b.flow(time.Second, 2_000_000)
	if b.level != b.capacity+1000-2_000_000 {
		t.Errorf("level is %.0f after writing 2 MB", b.level)
	}
	b.flow(time.Second, 99_000_000)
	if b.level != 0 {
		t.Errorf("level is %.0f, it can't be below 0", b.level)
	}
}

func BenchmarkAppend(b *testing.B) {
	s := openStore(b, stream("a", 1, 0))
	acc := New(Config{Store: s})
	value := make([]byte, 128)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := acc.Append(b.Context(), metadata.PartitionID{Stream: "a"}, &batch.Record{Value: value}, nil, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
	acc.Close()
}
