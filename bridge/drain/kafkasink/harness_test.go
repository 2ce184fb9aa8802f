package kafkasink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"cistern/bridge/drain"
	"cistern/bridge/kafka"
	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

// patience is how long a test waits for an event before it calls it missing.
const patience = 20 * time.Second

// memLog is a partition's log of real batches in memory.
type memLog struct {
	id metadata.PartitionID

	mu       sync.Mutex
	batches  [][]byte
	start    int64
	end      int64
	corrupt  map[int64]int64 // first offset of what flash lost to its last
	watchers map[chan struct{}]bool
}

func newLog(stream string, partition int32) *memLog {
	return &memLog{id: metadata.PartitionID{Stream: stream, Partition: partition},
		corrupt: map[int64]int64{}, watchers: map[chan struct{}]bool{}}
}

func (l *memLog) Partition() metadata.PartitionID { return l.id }

func (l *memLog) StartOffset() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.start }

func (l *memLog) HighWatermark() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.end }

func (l *memLog) Watch() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers[ch] = true
	return ch, func() { l.mu.Lock(); defer l.mu.Unlock(); delete(l.watchers, ch) }
}

func (l *memLog) Read(offset int64, buf []byte, sizeMax int) ([]byte, error) {
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
		if last, lost := l.corrupt[h.BaseOffset]; lost {
			if taken > 0 {
				return buf, nil
			}
			return buf, &segstore.CorruptError{Stream: l.id.Stream, Partition: l.id.Partition,
				FirstOffset: h.BaseOffset, LastOffset: last, Cause: errors.New("bit rot")}
		}
		if taken > 0 && taken+len(b) > sizeMax {
			break
		}
		buf = append(buf, b...)
		taken += len(b)
	}
	return buf, nil
}

// value is what the record at an offset holds: enough to tell it from all
// others and to compress somewhat.
func value(id metadata.PartitionID, offset int64) string {
	return fmt.Sprintf(`{"partition":%q,"offset":%d,"pad":"aaaaaaaaaaaaaaaaaaaaaaaa"}`, id, offset)
}

// append adds a batch of count records, and returns it as stored.
func (l *memLog) append(t testing.TB, count int, codec metadata.Codec) []byte {
	return l.appendAt(t, count, codec, time.Now().UnixMilli(), 0)
}

func (l *memLog) appendAt(t testing.TB, count int, codec metadata.Codec, ms int64, pad int) []byte {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	builder := batch.NewBuilder(codec)
	for i := range count {
		v := value(l.id, l.end+int64(i)) + strings.Repeat("x", pad)
		r := batch.Record{Timestamp: ms, Key: []byte(l.id.Stream), Value: []byte(v)}
		if _, err := builder.Append(&r); err != nil {
			t.Fatal(err)
		}
	}
	b, err := builder.AppendTo(nil, batch.Producer{ID: 7, Epoch: 1, Sequence: int32(l.end)})
	if err != nil {
		t.Fatal(err)
	}
	batch.Stamp(b, l.end, 3)
	l.batches = append(l.batches, b)
	l.end += int64(count)
	for ch := range l.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
	return b
}

// fill appends batches of count records each.
func (l *memLog) fill(t testing.TB, batches, count int) *memLog {
	for range batches {
		l.append(t, count, metadata.CodecZstd)
	}
	return l
}

// trim gives up everything below offset, as retention does.
func (l *memLog) trim(offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start = offset
	l.batches = slices.DeleteFunc(l.batches, func(b []byte) bool {
		h, _ := batch.ParseHeader(b)
		return h.BaseOffset < offset
	})
}

// memState is a drain.State that can crash.
type memState struct {
	mu      sync.Mutex
	durable map[string][]byte
	latest  map[string][]byte
	step    func(string) error // before and after each write; an error: it did not happen
	syncs   int
	puts    int
}

func newState() *memState {
	return &memState{durable: map[string][]byte{}, latest: map[string][]byte{}, step: func(string) error { return nil }}
}

func (s *memState) Get(key string) []byte { s.mu.Lock(); defer s.mu.Unlock(); return s.latest[key] }

func (s *memState) Put(key string, value []byte) {
	if s.step("before Put") != nil {
		return
	}
	s.mu.Lock()
	s.latest[key] = value
	s.puts++
	s.mu.Unlock()
	s.step("after Put")
}

func (s *memState) PutSync(key string, value []byte) error {
	if err := s.step("before PutSync"); err != nil {
		return err
	}
	s.mu.Lock()
	s.latest[key], s.durable[key] = value, value
	s.syncs++
	s.mu.Unlock()
	return s.step("after PutSync")
}

// survive returns what is left after a crash.
func (s *memState) survive(keepLazy bool) *memState {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := newState()
	n.durable = maps.Clone(s.durable)
	n.latest = maps.Clone(s.durable)
	if keepLazy {
		n.latest = maps.Clone(s.latest)
	}
	return n
}

// memQuarantine keeps poison by its coordinates.
type memQuarantine struct {
	mu   sync.Mutex
	kept map[string]drain.Poison
	err  error
}

func (q *memQuarantine) Add(p drain.Poison) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return q.err
	}
	if q.kept == nil {
		q.kept = map[string]drain.Poison{}
	}
	p.Batch = slices.Clone(p.Batch)
	q.kept[fmt.Sprintf("%s@%d-%d %s", p.Partition, p.FirstOffset, p.LastOffset, p.Reason)] = p
	return nil
}

func (q *memQuarantine) names() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Sorted(maps.Keys(q.kept))
}

// central is the cluster that a test drains to: kfake, or the one that the
// environment variable CENTRAL (host:port) names.
type central struct {
	t     testing.TB
	seeds []string
	fake  *kfake.Cluster // nil: a real one
}

func newCentral(t testing.TB, opts ...kfake.Opt) *central {
	t.Helper()
	if addr := os.Getenv("CENTRAL"); addr != "" {
		if len(opts) > 0 {
			t.Skip("needs a cluster made to measure, CENTRAL is set")
		}
		return &central{t: t, seeds: []string{addr}}
	}
	return fakeCentral(t, opts...)
}

func fakeCentral(t testing.TB, opts ...kfake.Opt) *central {
	t.Helper()
	opts = append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &central{t: t, seeds: c.ListenAddrs(), fake: c}
}

func (c *central) create(topic string, partitions int32) {
	c.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.seeds...))
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(c.t.Context(), partitions, -1, nil, topic); err != nil {
		c.t.Fatal(err)
	}
}

func (c *central) remove(topic string) {
	c.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.seeds...))
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).DeleteTopic(c.t.Context(), topic); err != nil {
		c.t.Fatal(err)
	}
}

// read returns the values of an upstream partition, as a consumer that reads
// uncommitted records sees them.
func (c *central) read(topic string, partition int32) []string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.seeds...), kgo.FetchMaxWait(10*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}))
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		c.t.Fatal(err)
	}
	end, _ := ends.Lookup(topic, partition)
	var values []string
	for next := int64(0); next < end.Offset; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			c.t.Fatalf("reading %s/%d upstream at %d of %d: %v", topic, partition, next, end.Offset, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			values = append(values, string(r.Value))
			next = r.Offset + 1
		})
	}
	return values
}

// expect compares what is upstream with offsets of one log, in order.
func (c *central) expect(topic string, partition int32, id metadata.PartitionID, offsets []int64) {
	c.t.Helper()
	got := c.read(topic, partition)
	want := make([]string, 0, len(offsets))
	for _, o := range offsets {
		want = append(want, value(id, o))
	}
	if slices.Equal(got, want) {
		return
	}
	count := map[string]int{}
	for _, v := range got {
		count[v]++
	}
	lost, duplicated := 0, 0
	for _, v := range want {
		if count[v] == 0 {
			lost++
		}
		duplicated += max(0, count[v]-1)
	}
	c.t.Fatalf("%s/%d upstream: %d records for %d: %d lost, %d duplicated", topic, partition, len(got), len(want), lost, duplicated)
}

// expectEach checks one upstream partition that several logs share: all of each
// once, and in its own order.
func (c *central) expectEach(topic string, partition int32, when string, logs ...*memLog) {
	c.t.Helper()
	got := c.read(topic, partition)
	total := 0
	for _, l := range logs {
		own := slices.DeleteFunc(slices.Clone(got), func(v string) bool {
			return !strings.Contains(v, fmt.Sprintf("%q", l.id))
		})
		total += len(own)
		var want []string
		for _, o := range offsets(0, l.HighWatermark()) {
			want = append(want, value(l.id, o))
		}
		if !slices.Equal(own, want) {
			c.t.Fatalf("%s: %s has %d records upstream for %d here, or in another order", when, l.id, len(own), len(want))
		}
	}
	if total != len(got) {
		c.t.Fatalf("%s: %d records upstream are nobody's", when, len(got)-total)
	}
}

var names atomic.Int64

// name returns a name for a stream that no other test or run uses.
func (c *central) name(what string) string {
	return fmt.Sprintf("%s-%d-%d", what, os.Getpid(), names.Add(1))
}

func portOf(t testing.TB, addr string) int {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return a.Port
}

// offsets returns [from, to).
func offsets(from, to int64) []int64 {
	var all []int64
	for ; from < to; from++ {
		all = append(all, from)
	}
	return all
}

// gateway is one running drainer.
type gateway struct {
	t          testing.TB
	drainer    *drain.Drainer
	sink       *Sink
	state      *memState
	quarantine *memQuarantine
	cancel     context.CancelFunc
	done       chan struct{}

	mu      sync.Mutex
	cursors map[metadata.PartitionID]int64
	moved   chan struct{}
}

// setup is what tests vary.
type setup struct {
	sink       Config
	state      *memState
	quarantine *memQuarantine
	logger     *slog.Logger
	now        func() time.Time
	buffer     int
}

func (c *central) gateway(s setup, logs ...*memLog) *gateway {
	c.t.Helper()
	var all []drain.Log
	for _, l := range logs {
		all = append(all, l)
	}
	return c.gatewayOf(s, all...)
}

func (c *central) gatewayOf(s setup, logs ...drain.Log) *gateway {
	c.t.Helper()
	if s.sink.Client.Brokers == nil {
		s.sink.Client.Brokers = c.seeds
	}
	s.sink.Client.ClientID = "cistern-test"
	if s.logger == nil {
		s.logger = slog.New(slog.NewTextHandler(logWriter(), nil))
	}
	s.sink.Logger, s.sink.Now = s.logger, s.now
	g := &gateway{t: c.t, state: cmp.Or(s.state, newState()), quarantine: cmp.Or(s.quarantine, &memQuarantine{}),
		cursors: map[metadata.PartitionID]int64{}, moved: make(chan struct{}, 1), done: make(chan struct{})}
	var err error
	if g.sink, err = New(s.sink); err != nil {
		c.t.Fatal(err)
	}
	g.drainer, err = drain.New(drain.Config{Sink: g.sink, State: g.state, Quarantine: g.quarantine,
		BufferBytes: s.buffer, OnCursor: g.onCursor, Logger: s.logger, Now: s.now})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, l := range logs {
		if err := g.drainer.Add(l); err != nil {
			c.t.Fatal(err)
		}
		g.cursors[l.Partition()], _ = g.drainer.Cursor(l.Partition())
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	go func() {
		defer close(g.done)
		g.drainer.Run(ctx)
	}()
	c.t.Cleanup(g.stop)
	return g
}

func logWriter() io.Writer {
	if testing.Verbose() && os.Getenv("DRAIN_LOG") != "" {
		return os.Stderr
	}
	return io.Discard
}

func (g *gateway) onCursor(p metadata.PartitionID, offset int64) {
	g.mu.Lock()
	g.cursors[p] = offset
	g.mu.Unlock()
	select {
	case g.moved <- struct{}{}:
	default:
	}
}

// drained waits until the cursors of logs are at their ends.
func (g *gateway) drained(logs ...*memLog) {
	g.t.Helper()
	g.drainedOr(nil, logs...)
}

// drainedOr is drained, but gives up when stop is closed.
func (g *gateway) drainedOr(stop <-chan struct{}, logs ...*memLog) {
	g.t.Helper()
	timeout := time.After(patience)
	for {
		missing := ""
		g.mu.Lock()
		for _, l := range logs {
			if g.cursors[l.id] != l.HighWatermark() {
				missing = fmt.Sprintf("%s is at %d of %d", l.id, g.cursors[l.id], l.HighWatermark())
			}
		}
		g.mu.Unlock()
		if missing == "" {
			return
		}
		select {
		case <-g.moved:
		case <-stop:
			return
		case <-timeout:
			g.t.Fatalf("not drained: %s; status %+v", missing, g.drainer.Status())
		}
	}
}

// until waits for a state that has no event of its own.
func (g *gateway) until(what string, holds func(drain.Status) bool) drain.Status {
	g.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		s := g.drainer.Status()
		if holds(s) {
			return s
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("waited in vain until %s; status %+v", what, s)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (g *gateway) stop() {
	g.cancel()
	select {
	case <-g.done:
	case <-time.After(patience):
		g.t.Fatal("the drainer does not stop")
	}
}

func client(seeds []string) kafka.Config { return kafka.Config{Brokers: seeds} }
