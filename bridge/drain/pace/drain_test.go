package pace_test

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"cistern/bridge/drain"
	"cistern/bridge/drain/kafkasink"
	"cistern/bridge/drain/pace"
	"cistern/bridge/kafka"
	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

// The gate in its place: the real drain through the real Kafka sink into kfake, all
// inside a synctest bubble, so that seconds are exact and cost nothing. Connections
// are pipes, and what the gateway writes to them is counted.

// wire is a network of pipes that counts what is sent upstream.
type wire struct {
	accept chan net.Conn
	sent   atomic.Int64
	read   atomic.Int64
}

// newWire returns a network, before anything is connected to it.
func newWire() *wire { return &wire{accept: make(chan net.Conn)} }

func (w *wire) counts() (written, read int64) { return w.sent.Load(), w.read.Load() }

func (w *wire) listen(network, address string) (net.Listener, error) {
	return &listener{wire: w, closed: make(chan struct{})}, nil
}

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case w.accept <- there:
		return &counted{here, w}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type counted struct {
	net.Conn
	wire *wire
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.wire.sent.Add(int64(n))
	return n, err
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.wire.read.Add(int64(n))
	return n, err
}

type listener struct {
	wire   *wire
	once   sync.Once
	closed chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.wire.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9092} }

// log is a partition's records in memory, and the time at which each was
// acknowledged upstream.
type log struct {
	drain.Log
	id metadata.PartitionID

	mu      sync.Mutex
	batches [][]byte
	end     int64
	watch   []chan struct{}
}

func (l *log) Partition() metadata.PartitionID          { return l.id }
func (l *log) StartOffset() int64                       { return 0 }
func (l *log) HighWatermark() int64                     { l.mu.Lock(); defer l.mu.Unlock(); return l.end }
func (l *log) EndOffset() int64                         { return l.HighWatermark() }
func (l *log) EndOffsetForEpoch(e int32) (int32, int64) { return min(e, 0), l.EndOffset() }
func (l *log) Watch() (moved <-chan struct{}, end func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := make(chan struct{}, 1)
	l.watch = append(l.watch, c)
	return c, func() {}
}

func (l *log) Read(offset int64, buf []byte, sizeMax int) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if offset > l.end {
		return buf, segstore.ErrOffsetOutOfRange
	}
	for _, b := range l.batches {
		h, _ := batch.ParseHeader(b)
		if h.NextOffset() <= offset {
			continue
		}
		if len(buf) > 0 && len(buf)+len(b) > sizeMax {
			break
		}
		buf = append(buf, b...)
	}
	return buf, nil
}

// append adds a batch of one record of a size.
func (l *log) append(t *testing.T, size int, at time.Time) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	builder := batch.NewBuilder(metadata.CodecNone)
	if _, err := builder.Append(&batch.Record{Timestamp: at.UnixMilli(), Value: []byte(strings.Repeat("x", size))}); err != nil {
		t.Fatal(err)
	}
	b, err := builder.AppendTo(nil, batch.Producer{ID: -1, Epoch: -1, Sequence: -1})
	if err != nil {
		t.Fatal(err)
	}
	batch.Stamp(b, l.end, 0)
	l.batches, l.end = append(l.batches, b), l.end+1
	for _, c := range l.watch {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

type state struct{ m sync.Map }

func (s *state) Get(key string) []byte {
	v, _ := s.m.Load(key)
	b, _ := v.([]byte)
	return slices.Clone(b)
}
func (s *state) Put(key string, value []byte)           { s.m.Store(key, slices.Clone(value)) }
func (s *state) PutSync(key string, value []byte) error { s.Put(key, value); return nil }

type noQuarantine struct{ t *testing.T }

func (q noQuarantine) Add(p drain.Poison) error { q.t.Errorf("quarantined: %+v", p); return nil }

// start drains logs into kfake until the test's bubble ends.
func start(t *testing.T, w *wire, c drain.Config, logs ...*log) {
	t.Helper()
	central, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(w.listen), kfake.SeedTopics(int32(len(logs)), "s"))
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	sink, err := kafkasink.New(kafkasink.Config{
		Client: kafka.Config{Brokers: central.ListenAddrs(), ClientID: "test", Dial: w.dial}, Mode: kafkasink.ModeSequence, Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Sink, c.State, c.Quarantine, c.Logger = sink, new(state), noQuarantine{t}, quiet
	d, err := drain.New(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range logs {
		if err := d.Add(l, drain.Term{}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		central.Close()
	})
}

// The cap is what is seen on the wire.
func TestDrainHoldsTheCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 50_000
		var logs []*log
		for p := range 3 {
			l := &log{id: metadata.PartitionID{Stream: "s", Partition: int32(p)}}
			for range 300 {
				l.append(t, 2000, time.Now())
			}
			logs = append(logs, l)
		}
		w := newWire()
		start(t, w, drain.Config{Gate: pace.New(pace.Config{BytesPerSecond: rate, Wire: w.counts})}, logs...)
		time.Sleep(time.Second) // what is sent to begin with
		for range 5 {
			before := w.sent.Load()
			time.Sleep(2 * time.Second)
			if got := float64(w.sent.Load()-before) / 2; got < 0.9*rate || got > 1.1*rate {
				t.Errorf("%.0f bytes a second, want %d within 10 %%", got, rate)
			}
		}
	})
}

// New records do not wait behind a backlog that the cap makes last for an hour.
func TestDrainLiveFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 20_000
		l := &log{id: metadata.PartitionID{Stream: "s"}}
		for range 100 {
			l.append(t, 700_000, time.Now().Add(-time.Hour)) // 35 s of the cap, each
		}
		old := l.end
		var mu sync.Mutex
		cursor := map[string]int64{}
		w := newWire()
		gate := pace.New(pace.Config{BytesPerSecond: rate, LiveFirst: true, Wire: w.counts})
		start(t, w, drain.Config{Gate: gate, Order: drain.OrderLiveFirst,
			OnCursor: func(p metadata.PartitionID, offset int64) { mu.Lock(); cursor[p.Stream] = offset; mu.Unlock() }}, l)
		time.Sleep(10 * time.Second)
		sent := func() (live, backfill int64) {
			for _, c := range gate.Status().Classes {
				if c.Backfill {
					backfill = c.Sent
				} else {
					live = c.Sent
				}
			}
			return live, backfill
		}
		before, size := w.sent.Load(), int64(0)
		live, _ := sent()
		for range 600 {
			l.append(t, 500, time.Now())
			l.mu.Lock()
			size += int64(len(l.batches[len(l.batches)-1]))
			l.mu.Unlock()
			time.Sleep(time.Second)
			if now, _ := sent(); now != live+size {
				t.Fatalf("a second after it was taken a new record had not left: %d of %d bytes", now-live, size)
			}
		}
		if got := float64(w.sent.Load()-before) / 600; got < 0.9*rate || got > 1.1*rate {
			t.Errorf("%.0f bytes a second, want %d within 10 %%", got, rate)
		}
		mu.Lock()
		defer mu.Unlock()
		if at := cursor["s"]; at == 0 || at >= old {
			t.Errorf("the backlog of %d is at %d", old, at)
		}
	})
}
