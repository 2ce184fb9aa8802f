//go:build kafka

package kafka

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"cistern/bridge/drain"
	"cistern/bridge/drain/kafkasink"
)

// auto looks at the broker and says what it chose.
func TestAutoChoosesSequence(t *testing.T) {
	log := newBacklog(topic(t, shared, "auto"), 0)
	log.fill(t, 1, 10)
	g := drainTo(t, shared, log, newState(), nil)
	g.drained()
	if u := g.d.Status().Uplink; u.Mode != "sequence" || u.ModeWhy == "" {
		t.Errorf("the uplink says mode %q, because %q", u.Mode, u.ModeWhy)
	}
}

func inMode(m kafkasink.Mode) func(*kafkasink.Config) {
	return func(c *kafkasink.Config) { c.Mode = m }
}

// A drain that crashes again and again, with what it had saved when it did: in
// every mode, and from one mode to the next.
func TestModesAndCrashes(t *testing.T) {
	const sequence, transaction = kafkasink.ModeSequence, kafkasink.ModeTransaction
	for name, modes := range map[string][]kafkasink.Mode{
		"sequence":       {sequence, sequence, sequence, sequence},
		"transaction":    {transaction, transaction, transaction, transaction},
		"there and back": {sequence, transaction, transaction, sequence},
	} {
		t.Run(name, func(t *testing.T) {
			log := newBacklog(topic(t, shared, "mode"), 0)
			st := newState()
			for _, m := range modes {
				log.fill(t, 40, 10)
				g := drainTo(t, shared, log, st, inMode(m))
				before := log.HighWatermark() - 400
				g.until("some is drained", func(p drain.PartitionStatus) bool { return p.Cursor >= before+50 })
				st = st.survive() // a crash now
				g.stop()
			}
			g := drainTo(t, shared, log, st, inMode(modes[len(modes)-1]))
			g.drained()
			g.stop()
			got := values(read(t, shared, log.id.Stream, kgo.FetchIsolationLevel(kgo.ReadCommitted())))
			if want := offsetsOf(log); !slices.Equal(got, want) {
				t.Errorf("%d committed records upstream for %d here, or in another order", len(got), len(want))
			}
		})
	}
}

// At least once: nothing is lost, and who drops the ids that he has seen gets
// every record once and in order.
func TestAtLeastOnceCarriesIDs(t *testing.T) {
	log := newBacklog(topic(t, shared, "ids"), 0)
	st := newState()
	for range 4 {
		log.fill(t, 40, 10)
		g := drainTo(t, shared, log, st, inMode(kafkasink.ModeAtLeastOnce))
		before := log.HighWatermark() - 400
		g.until("some is drained", func(p drain.PartitionStatus) bool { return p.Cursor >= before+50 })
		st = st.survive()
		g.stop()
	}
	g := drainTo(t, shared, log, st, inMode(kafkasink.ModeAtLeastOnce))
	g.drained()
	g.stop()
	all := read(t, shared, log.id.Stream)
	seen := map[string]bool{}
	var once []*kgo.Record
	for _, r := range all {
		id := ""
		for _, h := range r.Headers {
			if h.Key == "cistern.id" {
				id = string(h.Value)
			}
		}
		if id == "" {
			t.Fatalf("the record at offset %d upstream has no id: %v", r.Offset, r.Headers)
		}
		if !seen[id] {
			seen[id], once = true, append(once, r)
		}
	}
	t.Logf("%d records upstream, %d different", len(all), len(once))
	if got, want := values(once), offsetsOf(log); !slices.Equal(got, want) {
		t.Errorf("%d different records upstream for %d here, or in another order", len(got), len(want))
	}
	if len(all) == len(once) {
		t.Error("no record came twice: the test shows nothing")
	}
}

func values(records []*kgo.Record) []string {
	var all []string
	for _, r := range records {
		all = append(all, string(r.Value))
	}
	return all
}

func offsetsOf(log *backlog) []string {
	var all []string
	for o := log.StartOffset(); o < log.HighWatermark(); o++ {
		all = append(all, string(value(o)))
	}
	return all
}

// read returns what a topic's only partition holds now, as a consumer with the
// given options sees it.
func read(t *testing.T, b *Broker, topic string, opts ...kgo.Opt) []*kgo.Record {
	t.Helper()
	a := admin(t, b)
	ends, err := a.ListEndOffsets(within(t, patience), topic)
	must(t, errors.Join(err, ends.Error()))
	end, _ := ends.Lookup(topic, 0)
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		committed, err := a.ListCommittedOffsets(within(t, patience), topic)
		must(t, err) // a broker answers before all partitions know how a transaction ended
		stable, _ := committed.Lookup(topic, 0)
		if stable.Err == nil && stable.Offset >= end.Offset {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s ends at %d, and its transactions have ended up to %d: %v", topic, end.Offset, stable.Offset, stable.Err)
		}
	}
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(b.Addr()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))...)
	must(t, err)
	defer client.Close()
	ctx := within(t, patience)
	var all []*kgo.Record
	for next := int64(0); next < end.Offset; {
		fetches := client.PollFetches(ctx)
		must(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if !r.Attrs.IsControl() {
				all = append(all, r)
			}
		})
	}
	return all
}
