//go:build kafka

package kafka

import (
	"testing"
	"time"

	"cistern/bridge/drain"
)

// forgetful brokers drop a producer that was silent for a second.
var forgetful = map[string]string{
	"producer.id.expiration.ms":                "1000",
	"producer.id.expiration.check.interval.ms": "100",
}

// forgotten waits until the broker knows no producer of a topic any more. Kafka
// needs a day by default.
func forgotten(t *testing.T, b *Broker, topic string) {
	t.Helper()
	a := admin(t, b)
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		described, err := a.DescribeProducers(within(t, patience), topicSet(topic))
		must(t, err)
		partitions := described.SortedPartitions()
		// One that can't be described names no producers, either.
		if len(partitions) == 1 && partitions[0].Err == nil && len(partitions[0].ActiveProducers) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the broker still knows producers of %s: %+v", topic, partitions)
		}
	}
}

// The broker forgets the producer between a session that crashed with all in
// doubt and the next: it would take any sequence number then.
func TestForgottenAfterACrash(t *testing.T) {
	t.Parallel()
	b := startBroker(t, forgetful)
	log := newBacklog(topic(t, b, "forgotten"), 0)
	log.fill(t, 30, 10)
	first := drainTo(t, b, log, newState(), nil)
	first.drained()
	crashed := first.state.survive()
	first.stop()
	for round := range 3 {
		forgotten(t, b, log.id.Stream)
		log.fill(t, 10, 10)
		g := drainTo(t, b, log, crashed, nil)
		g.drained()
		if round == 1 {
			crashed = g.state // a clean stop for once
		} else {
			crashed = g.state.survive()
		}
		g.stop()
	}
	expect(t, b, log, 0)

	// The same while one session goes on.
	g := drainTo(t, b, log, crashed, nil)
	for range 3 {
		log.fill(t, 10, 10)
		g.drained()
		forgotten(t, b, log.id.Stream)
	}
	log.fill(t, 10, 10)
	g.drained()
	g.stop()
	expect(t, b, log, 0)

	// And after somebody deleted what had arrived: there is nothing left to find,
	// and the cursor that was saved is all that is known.
	forgotten(t, b, log.id.Stream)
	deleteRecords(t, b, log.id.Stream)
	from := log.HighWatermark()
	log.fill(t, 10, 10)
	g = drainTo(t, b, log, g.state, nil)
	g.until("it goes on", func(p drain.PartitionStatus) bool { return p.Cursor == log.HighWatermark() })
	g.stop()
	expect(t, b, log, from)
}
