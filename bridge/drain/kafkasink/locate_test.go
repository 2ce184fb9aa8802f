package kafkasink

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cistern/bridge/drain"
	"cistern/bridge/kafka"
	"cistern/gossip/metadata"
)

// TestDescribed: where the leader lists our producer id, its word is the
// position, and no record is read back. kfake lists transactional producers
// only, so the test answers as Kafka and Redpanda do.
func TestDescribed(t *testing.T) {
	t.Parallel()
	c := fakeCentral(t, kfake.SeedTopics(1, "listed"))
	log := newLog("listed", 0).fill(t, 30, 10)
	g := c.gateway(setup{}, log)
	g.drained(log)
	crashed := g.state.survive(false)
	producer := g.drainer.Status().Partitions[0].ProducerID
	g.stop()
	c.fake.ControlKey(int16(kmsg.DescribeProducers), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.fake.KeepControl()
		resp := req.ResponseKind().(*kmsg.DescribeProducersResponse)
		list := []kmsg.DescribeProducersResponseTopicPartitionActiveProducer{
			{ProducerID: producer + 1, LastSequence: 7},
			{ProducerID: producer, LastSequence: 299},
		}
		resp.Topics = []kmsg.DescribeProducersResponseTopic{{Topic: "listed",
			Partitions: []kmsg.DescribeProducersResponseTopicPartition{{ActiveProducers: list}}}}
		return resp, nil, true
	})
	fetches := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Observe: true, Count: -1})
	log.fill(t, 3, 10)
	g = c.gateway(setup{state: crashed}, log)
	g.drained(log)
	s := g.drainer.Status()
	g.stop()
	if fetches.Hits() != 0 || s.Throughput.Records != 30 {
		t.Errorf("%d fetches, %d records sent, want none and 30", fetches.Hits(), s.Throughput.Records)
	}
	c.expect("listed", 0, log.id, offsets(0, 330))
}

// TestNoRead: without the right to read, the broker's memory of five batches
// has to do. More than that stops the partition, it never doubles records.
func TestNoRead(t *testing.T) {
	for batches, want := range map[int]string{5: drain.StateIdle, 30: drain.StateStopped} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			c := fakeCentral(t, kfake.SeedTopics(1, "write-only"))
			log := newLog("write-only", 0).fill(t, batches, 10)
			g := c.gateway(setup{}, log)
			g.drained(log)
			crashed := g.state.survive(false)
			g.stop()
			fault := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch, kmsg.DescribeProducers}, Err: kerr.TopicAuthorizationFailed, Count: -1})
			g = c.gateway(setup{state: crashed}, log)
			g.until(want, func(s drain.Status) bool { return s.Partitions[0].State == want })
			g.stop()
			fault.Remove()
			c.expect("write-only", 0, log.id, offsets(0, int64(batches)*10))
		})
	}
}

// TestTarget: a topic that gets more partitions does not split what was in
// order; a new topic, cluster or a smaller topic chooses anew.
func TestTarget(t *testing.T) {
	p := metadata.PartitionID{Stream: "s", Partition: 5}
	topic := func(n int) kafka.Topic { return kafka.Topic{Name: "t", Partitions: make([]kafka.TopicPartition, n)} }
	cluster := &kafka.Cluster{ID: "c"}
	c := drain.NewCursor(0)
	if to := target(p, &c, cluster, topic(3)); to.Partition != 2 {
		t.Errorf("5 of 3 partitions goes to %d", to.Partition)
	}
	c.Incarnate(time.Now(), drain.Target{Cluster: "c", Topic: "t", Partition: 2}, 1, 0, 0)
	for n, want := range map[int]int32{3: 2, 4: 2, 8: 2, 2: 1} {
		if to := target(p, &c, cluster, topic(n)); to.Partition != want {
			t.Errorf("with %d partitions it goes to %d, want %d", n, to.Partition, want)
		}
	}
	if to := target(p, &c, &kafka.Cluster{ID: "other"}, topic(4)); to.Partition != 1 {
		t.Errorf("at another cluster it goes to %d, want 1", to.Partition)
	}
}

func TestSameTopic(t *testing.T) {
	a := drain.Target{Cluster: "c", Topic: "t", TopicID: [16]byte{1}}
	again, untold, other := a, a, a
	again.TopicID = [16]byte{2}
	untold.TopicID = [16]byte{}
	other.Partition = 1
	if !sameTopic(a, a) || !sameTopic(a, untold) || sameTopic(a, again) || sameTopic(a, other) {
		t.Error("a topic is the same while its id is, or is not told")
	}
}

// TestRecreated: a topic that was deleted and made again begins anew.
func TestRecreated(t *testing.T) {
	t.Parallel()
	c := fakeCentral(t)
	c.create("again", 1)
	log := newLog("again", 0).fill(t, 3, 10)
	state := newState()
	g := c.gateway(setup{state: state}, log)
	g.drained(log)
	g.stop()
	c.remove("again")
	c.create("again", 1)
	log.fill(t, 3, 10)
	g = c.gateway(setup{state: state}, log)
	g.drained(log)
	g.stop()
	c.expect("again", 0, log.id, offsets(30, 60))
}

// TestRetentionWarning: what upstream deletes on arrival is said once.
func TestRetentionWarning(t *testing.T) {
	t.Parallel()
	c := fakeCentral(t, kfake.SeedTopics(1, "old"))
	log := newLog("old", 0)
	for range 3 {
		log.appendAt(t, 5, metadata.CodecNone, time.Now().AddDate(0, 0, -30).UnixMilli(), 0)
	}
	var said bytes.Buffer
	g := c.gateway(setup{logger: slog.New(slog.NewTextHandler(&said, nil))}, log)
	g.drained(log)
	g.stop()
	if n := strings.Count(said.String(), "older than the topic keeps them"); n != 1 {
		t.Errorf("said %d times: %s", n, said.String())
	}
}

func TestTemplate(t *testing.T) {
	for template, ok := range map[string]bool{"{stream}": true, "{site}.{stream}": true, "x-{stream}_y": true,
		"fixed": false, "{site}": false, "{stream}/x": false, "{zone}.{stream}": false} {
		if err := checkTemplate(template, "plant"); (err == nil) != ok {
			t.Errorf("template %q: %v", template, err)
		}
	}
	if got := expand("{site}.{stream}", "plant", "alarms"); got != "plant.alarms" {
		t.Errorf("expanded to %q", got)
	}
}
