package kafkasink

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"cistern/bridge/drain"
	"cistern/gossip/metadata"
)

// patience is how long a test waits for an event before it calls it missing.
const patience = time.Minute

// central is the cluster that a test drains to: kfake, or the one that the
// environment variable CENTRAL (host:port) names.
type central struct {
	t     testing.TB
	seeds []string
	fake  *kfake.Cluster // nil: a real one

	committed bool // readers see committed records only
	once      bool // they drop what they have seen already, which must not be needed otherwise
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

// as returns c with readers as a mode asks for.
func (c *central) as(m Mode) *central {
	n := *c
	n.committed, n.once = m == ModeTransaction, m == ModeAtLeastOnce
	return &n
}

// read returns the values of an upstream partition, as a consumer sees them: one
// that reads uncommitted records, unless c says otherwise.
func (c *central) read(topic string, partition int32) []string {
	c.t.Helper()
	var values []string
	seen := map[string]bool{}
	for _, r := range c.records(topic, partition) {
		if c.once && seen[string(r.Value)] {
			continue
		}
		seen[string(r.Value)] = true
		values = append(values, string(r.Value))
	}
	return values
}

// records returns the records of an upstream partition.
func (c *central) records(topic string, partition int32) []*kgo.Record {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	opts := []kgo.Opt{kgo.SeedBrokers(c.seeds...), kgo.FetchMaxWait(10 * time.Millisecond), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}})}
	if c.committed {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		c.t.Fatal(err)
	}
	end, _ := ends.Lookup(topic, partition)
	// A broker answers before all partitions know how a transaction ended.
	for stable := int64(-1); c.committed && stable < end.Offset; time.Sleep(time.Millisecond) {
		offsets, err := kadm.NewClient(client).ListCommittedOffsets(ctx, topic)
		if err != nil {
			c.t.Fatalf("%s/%d upstream is committed up to %d of %d: %v", topic, partition, stable, end.Offset, err)
		}
		committed, _ := offsets.Lookup(topic, partition)
		stable = committed.Offset
	}
	var records []*kgo.Record
	for next := int64(0); next < end.Offset; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			c.t.Fatalf("reading %s/%d upstream at %d of %d: %v", topic, partition, next, end.Offset, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if !r.Attrs.IsControl() {
				records = append(records, r)
			}
		})
	}
	return records
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

// name returns a name for a stream that no other test or run uses.
func (c *central) name(what string) string {
	return fmt.Sprintf("%s-%d-%d", what, os.Getpid(), names.Add(1))
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
	order      drain.Order
}

func (c *central) gateway(s setup, logs ...*memLog) *gateway {
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
		BufferBytes: s.buffer, Order: s.order, OnCursor: g.onCursor, Logger: s.logger, Now: s.now})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, l := range logs {
		if err := g.drainer.Add(l, drain.Term{}); err != nil {
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
