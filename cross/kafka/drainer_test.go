//go:build kafka

package kafka

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"cistern/bridge/drain"
	"cistern/bridge/drain/kafkasink"
	bridge "cistern/bridge/kafka"
	"cistern/cross/central"
	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

// backlog is a partition's log of real batches in memory.
type backlog struct {
	id metadata.PartitionID

	mu       sync.Mutex
	batches  [][]byte
	start    int64
	end      int64
	watchers map[chan struct{}]bool
}

// newBacklog returns an empty log whose first offset is start.
func newBacklog(stream string, start int64) *backlog {
	return &backlog{id: metadata.PartitionID{Stream: stream}, start: start, end: start, watchers: map[chan struct{}]bool{}}
}

func (l *backlog) Partition() metadata.PartitionID { return l.id }

func (l *backlog) StartOffset() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.start }

func (l *backlog) HighWatermark() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.end }

func (l *backlog) EndOffset() int64 { return l.HighWatermark() }

func (l *backlog) EndOffsetForEpoch(epoch int32) (int32, int64) { return epoch, l.EndOffset() }

func (l *backlog) Watch() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers[ch] = true
	return ch, func() { l.mu.Lock(); defer l.mu.Unlock(); delete(l.watchers, ch) }
}

func (l *backlog) Read(offset int64, buf []byte, sizeMax int) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if offset < l.start || offset > l.end {
		return buf, segstore.ErrOffsetOutOfRange
	}
	taken := 0
	for _, b := range l.batches {
		h, _ := batch.ParseHeader(b)
		if h.NextOffset() <= offset {
			continue
		}
		if taken > 0 && taken+len(b) > sizeMax {
			break
		}
		buf, taken = append(buf, b...), taken+len(b)
	}
	return buf, nil
}

// fill appends batches of count records each, and wakes who drains.
func (l *backlog) fill(t *testing.T, batches, count int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for range batches {
		builder := batch.NewBuilder(metadata.CodecZstd)
		for i := range count {
			_, err := builder.Append(&batch.Record{Timestamp: time.Now().UnixMilli(), Value: value(l.end + int64(i))})
			must(t, err)
		}
		b, err := builder.AppendTo(nil, batch.NoProducer)
		must(t, err)
		batch.Stamp(b, l.end, 3)
		l.batches, l.end = append(l.batches, b), l.end+int64(count)
	}
	for ch := range l.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// value is what the record at an offset holds.
func value(offset int64) []byte {
	return fmt.Appendf(nil, `{"offset":%d,"pad":"aaaaaaaaaaaaaaaa"}`, offset)
}

// drainer is one drain that runs in this process.
type drainer struct {
	t     *testing.T
	d     *drain.Drainer
	log   *backlog
	state *state
	said  *transcript
	stop  func()
}

// quarantine refuses: no test here expects poison.
type quarantine struct{ t *testing.T }

func (q quarantine) Add(p drain.Poison) error {
	q.t.Errorf("quarantined: %+v", p)
	return nil
}

// drainTo starts a drain of log to b, with what st remembers.
func drainTo(t *testing.T, b *Broker, log *backlog, st *state, change func(*kafkasink.Config)) *drainer {
	t.Helper()
	said := &transcript{}
	logger := slog.New(slog.NewTextHandler(said, nil))
	c := kafkasink.Config{Client: bridge.Config{Brokers: []string{b.Addr()}, ClientID: "cistern-test"}, Logger: logger}
	if change != nil {
		change(&c)
	}
	sink, err := kafkasink.New(c)
	must(t, err)
	d, err := drain.New(drain.Config{Sink: sink, State: st, Quarantine: quarantine{t}, Logger: logger,
		OnCursor: func(metadata.PartitionID, int64) {}})
	must(t, err)
	must(t, d.Add(log, drain.Term{}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); d.Run(ctx) }()
	g := &drainer{t: t, d: d, log: log, state: st, said: said}
	g.stop = func() { cancel(); <-done }
	t.Cleanup(func() {
		g.stop()
		if t.Failed() {
			t.Logf("the drain said:\n%s", said)
		}
	})
	return g
}

// until waits for a state of the drain, which has no event of its own.
func (g *drainer) until(what string, holds func(drain.PartitionStatus) bool) drain.PartitionStatus {
	g.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		s := g.d.Status()
		if holds(s.Partitions[0]) {
			return s.Partitions[0]
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("waited in vain until %s; status %+v", what, s)
		}
	}
}

func (g *drainer) drained() drain.PartitionStatus {
	g.t.Helper()
	end := g.log.HighWatermark()
	return g.until(fmt.Sprintf("all is drained up to %d", end), func(p drain.PartitionStatus) bool { return p.Cursor == end })
}

// expect compares the only partition of a topic with the log's records from
// an offset on: each once, in order.
func expect(t *testing.T, b *Broker, log *backlog, from int64) {
	t.Helper()
	var got []string
	must(t, central.NewReader(b.Addr()).Each(within(t, patience), log.id.Stream, func(r central.Record) {
		got = append(got, string(r.Value))
	}))
	var want []string
	for o := from; o < log.HighWatermark(); o++ {
		want = append(want, string(value(o)))
	}
	if slices.Equal(got, want) {
		return
	}
	distinct := len(slices.Compact(slices.Sorted(slices.Values(got))))
	t.Errorf("%s: %d records upstream, %d of them different, for %d here; or in another order", log.id, len(got), distinct, len(want))
}

// transcript is a log that can be read while it is written.
type transcript struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *transcript) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

func (s *transcript) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.buf.String() }
