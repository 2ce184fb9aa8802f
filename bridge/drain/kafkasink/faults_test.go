package kafkasink

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"cistern/bridge/drain"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// TestCutAtEveryStep cuts all connections at each step of a drainer that
// lives on: requests that never left, answers that never came.
func TestCutAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			newCentral(t).as(mode).cutEverywhere(t, mode)
		})
	}
}

func (c *central) cutEverywhere(t *testing.T, mode Mode) {
	const together = 8
	steps := 0
	for alive := true; alive; steps += together {
		var group sync.WaitGroup
		cut := make([]bool, together)
		for i := range together {
			group.Go(func() { cut[i] = c.cutOnce(t, mode, steps+i+1) })
		}
		group.Wait()
		if t.Failed() {
			return
		}
		alive = cut[together-1]
	}
	if steps < 24 {
		t.Errorf("only %d steps: the drainer was not seen at work", steps)
	}
}

func (c *central) cutOnce(t *testing.T, mode Mode, at int) bool {
	stream := c.name("cut")
	c.create(stream, 1)
	log := newLog(stream, 0).fill(t, 8, 10)
	crash := newCrasher(at)
	crash.once = true
	var cfg setup
	cfg.sink.Mode, cfg.sink.Client.Dial = mode, crash.dial
	g := c.gateway(cfg, log)
	g.drained(log)
	g.stop()
	c.expectEach(stream, 0, fmt.Sprintf("cut at step %d", at), log)
	return crash.steps >= at
}

func TestLeaderMoves(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			c := fakeCentral(t, kfake.NumBrokers(3)).as(mode)
			c.create("moves", 3)
			var logs []*memLog
			for p := range int32(3) {
				logs = append(logs, newLog("moves", p))
			}
			g := c.gateway(in(mode, nil), logs...)
			for round := range 30 {
				for _, l := range logs {
					l.append(t, 5, metadata.CodecZstd)
				}
				for p := range int32(3) {
					if err := c.fake.MoveTopicPartition("moves", p, int32(round)%3); err != nil {
						t.Fatal(err)
					}
				}
			}
			g.drained(logs...)
			g.stop()
			for p, l := range logs {
				c.expect("moves", int32(p), l.id, offsets(0, 150))
			}
		})
	}
}

func TestErrorsThatPass(t *testing.T) {
	for _, e := range []*kerr.Error{kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.RequestTimedOut,
		kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, kerr.KafkaStorageError, kerr.UnknownTopicOrPartition,
		kerr.UnknownServerError} {
		t.Run(e.Message, func(t *testing.T) {
			t.Parallel()
			c := fakeCentral(t, kfake.SeedTopics(1, "passing"))
			log := newLog("passing", 0).fill(t, 12, 10)
			n := 0
			c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: e, Count: 2, When: func(kmsg.Request) bool {
				n++
				return n == 2 || n == 9 // first of a window, in the midst of another
			}})
			g := c.gateway(setup{}, log)
			g.drained(log)
			g.stop()
			c.expect("passing", 0, log.id, offsets(0, 120))
		})
	}
}

// TestAppendedAfterAll: a batch that was appended although the broker said no is
// found by looking, and not sent again.
func TestAppendedAfterAll(t *testing.T) {
	t.Parallel()
	c := fakeCentral(t, kfake.SeedTopics(1, "twice"))
	log := newLog("twice", 0).fill(t, 10, 10)
	sees := func(sequence int32) func(kmsg.Request) bool {
		return func(req kmsg.Request) bool {
			h, err := batch.ParseHeader(req.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records)
			return err == nil && h.Sequence == sequence
		}
	}
	applied := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicasAfterAppend, When: sees(30)})
	again := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.DuplicateSequenceNumber, When: sees(30)})
	g := c.gateway(setup{}, log)
	g.drained(log)
	g.stop()
	if applied.Hits() != 1 || again.Hits() != 0 {
		t.Errorf("appended behind our back %d times, sent again %d times; want once and never", applied.Hits(), again.Hits())
	}
	c.expect("twice", 0, log.id, offsets(0, 100))
}

func TestThrottle(t *testing.T) {
	t.Parallel()
	c := fakeCentral(t, kfake.SeedTopics(1, "throttled"))
	const wait = 250 * time.Millisecond
	var mu sync.Mutex
	var times []time.Time
	c.fake.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.fake.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		if times = append(times, time.Now()); len(times) > 1 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		resp.ThrottleMillis = int32(wait.Milliseconds())
		st := kmsg.NewProduceResponseTopic()
		st.Topic = "throttled"
		sp := kmsg.NewProduceResponseTopicPartition()
		sp.ErrorCode = kerr.RequestTimedOut.Code
		st.Partitions = append(st.Partitions, sp)
		resp.Topics = append(resp.Topics, st)
		return resp, nil, true
	})
	log := newLog("throttled", 0).fill(t, 3, 10)
	g := c.gateway(setup{}, log)
	g.drained(log)
	g.stop()
	mu.Lock()
	defer mu.Unlock()
	if pause := times[1].Sub(times[0]); pause < wait {
		t.Errorf("the broker asked for %v of silence and got %v", wait, pause)
	}
	c.expect("throttled", 0, log.id, offsets(0, 30))
}

func TestTopicMissing(t *testing.T) {
	t.Parallel()
	c := newCentral(t)
	stream := c.name("late")
	log := newLog(stream, 0).fill(t, 3, 10)
	g := c.gateway(setup{}, log)
	g.until("the missing topic is named, and the uplink is up", func(s drain.Status) bool { // which is looked at first
		return strings.Contains(s.Partitions[0].Reason, "does not exist upstream") && s.Uplink.State == drain.UplinkUp
	})
	c.create(stream, 1)
	g.drainer.Kick()
	g.drained(log)
	g.stop()
	c.expect(stream, 0, log.id, offsets(0, 30))
}

func TestTopicCreated(t *testing.T) {
	t.Parallel()
	c := newCentral(t)
	stream := c.name("made")
	var logs []*memLog
	for p := range int32(3) {
		logs = append(logs, newLog(stream, p).fill(t, 2, 10))
	}
	var s setup
	s.sink.Site, s.sink.Topic, s.sink.CreateTopics = "site7", "{site}.{stream}", true
	s.sink.Partitions = func(string) int32 { return 3 }
	g := c.gateway(s, logs...)
	g.drained(logs...)
	g.stop()
	for p, l := range logs {
		c.expect("site7."+stream, int32(p), l.id, offsets(0, 20))
	}
}

func TestGaps(t *testing.T) {
	t.Parallel()
	c := newCentral(t)
	stream := c.name("gaps")
	c.create(stream, 1)
	log := newLog(stream, 0).fill(t, 5, 10)
	state := newState()
	g := c.gateway(setup{state: state}, log)
	g.drained(log)
	g.stop()
	log.fill(t, 10, 10)    // 50 to 149
	log.trim(80)           // 50 to 79 are given up undrained
	log.corrupt[100] = 119 // and flash loses two batches
	g = c.gateway(setup{state: state}, log)
	g.drained(log)
	s := g.drainer.Status().Partitions[0]
	g.stop()
	c.expect(stream, 0, log.id, slices.Concat(offsets(0, 50), offsets(80, 100), offsets(120, 150)))
	if s.Gaps != (drain.Tally{Ranges: 2, Records: 50}) {
		t.Errorf("gaps are counted as %+v, want 2 ranges of 50 records", s.Gaps)
	}
	// A successor that finds its position upstream must count the gaps, too.
	log.fill(t, 2, 10)
	g = c.gateway(setup{state: state.survive(false)}, log)
	g.drained(log)
	g.stop()
	c.expect(stream, 0, log.id, slices.Concat(offsets(0, 50), offsets(80, 100), offsets(120, 170)))
}

func TestNewCluster(t *testing.T) {
	t.Parallel()
	first := fakeCentral(t, kfake.ClusterID("first"), kfake.SeedTopics(1, "cluster"))
	second := fakeCentral(t, kfake.ClusterID("second"), kfake.SeedTopics(1, "cluster"))
	log := newLog("cluster", 0).fill(t, 5, 10)
	state := newState()
	g := first.gateway(setup{state: state}, log)
	g.drained(log)
	g.stop()
	log.fill(t, 5, 10)
	var said bytes.Buffer
	g = second.gateway(setup{state: state, logger: slog.New(slog.NewTextHandler(&said, nil))}, log)
	g.drained(log)
	s := g.drainer.Status()
	g.stop()
	if p := s.Partitions[0]; p.Incarnation != 2 || s.Uplink.ClusterID != "second" {
		t.Errorf("incarnation %d at cluster %q, want 2 at second", p.Incarnation, s.Uplink.ClusterID)
	}
	if !strings.Contains(said.String(), `cluster \"first\"`) {
		t.Errorf("the new cluster was not said: %s", said.String())
	}
	first.expect("cluster", 0, log.id, offsets(0, 50))
	second.expect("cluster", 0, log.id, offsets(50, 100))
}

func TestSequenceRefused(t *testing.T) {
	t.Parallel()
	c := fakeCentral(t, kfake.SeedTopics(1, "order"))
	log := newLog("order", 0).fill(t, 10, 10)
	c.refuse(kerr.OutOfOrderSequenceNumber, 30)
	g := c.gateway(setup{}, log)
	s := g.until("it stops", func(s drain.Status) bool { return s.Partitions[0].State == drain.StateStopped })
	if p := s.Partitions[0]; p.Cursor != 30 || p.Incarnation != 1 || !strings.Contains(p.Reason, "OUT_OF_ORDER_SEQUENCE_NUMBER") {
		t.Errorf("stopped as %+v", p)
	}
	g.stop()
	c.expect("order", 0, log.id, offsets(0, 30))
}

func TestProducerForgotten(t *testing.T) {
	t.Parallel()
	c := fakeCentral(t, kfake.SeedTopics(1, "forgotten"))
	log := newLog("forgotten", 0).fill(t, 3, 10)
	g := c.gateway(setup{}, log)
	g.drained(log)
	c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.UnknownProducerID, Count: 1})
	log.fill(t, 10, 10)
	g.drained(log)
	if p := g.drainer.Status().Partitions[0]; p.Incarnation != 2 {
		t.Errorf("incarnation %d, want 2", p.Incarnation)
	}
	g.stop()
	c.expect("forgotten", 0, log.id, offsets(0, 130))
}

// cursorOf decodes the stored cursor of a log's partition.
func cursorOf(t *testing.T, s *memState, l *memLog) (string, drain.Cursor) {
	t.Helper()
	key := fmt.Sprintf("drain/%s/%d", l.id.Stream, l.id.Partition)
	c, err := drain.DecodeCursor(s.Get(key))
	if err != nil {
		t.Fatal(err)
	}
	return key, c
}

// TestUpstreamLostRecords: the cluster's log ends before our last
// acknowledgement. What is still here is sent again.
func TestUpstreamLostRecords(t *testing.T) {
	t.Parallel()
	// Without topic ids, a partition that lost its tail looks like this one.
	c := fakeCentral(t, kfake.SeedTopics(1, "lost"), kfake.MaxVersions(kversion.V2_7_0()))
	log := newLog("lost", 0).fill(t, 6, 10)
	state := newState()
	g := c.gateway(setup{state: state}, log)
	g.drained(log)
	g.stop()
	log.fill(t, 6, 10)
	key, cursor := cursorOf(t, state, log)
	cursor.Position, cursor.Upstream, cursor.InDoubt = 100, 100, true
	if err := state.PutSync(key, drain.EncodeCursor(cursor)); err != nil {
		t.Fatal(err)
	}
	g = c.gateway(setup{state: state}, log)
	g.until("it goes on", func(s drain.Status) bool { return s.Throughput.Records >= 60 })
	g.drained(log)
	g.stop()
	c.expect("lost", 0, log.id, offsets(0, 120))
}

// TestSilence: after 12 hours the position is looked up before anything is
// sent, although nothing was in doubt.
func TestSilence(t *testing.T) {
	t.Parallel()
	c := fakeCentral(t, kfake.SeedTopics(1, "silent"))
	var mu sync.Mutex
	ahead := time.Duration(0)
	now := func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Add(ahead) }
	log := newLog("silent", 0).fill(t, 3, 10)
	g := c.gateway(setup{now: now}, log)
	g.drained(log)
	lookups := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeProducers}, Observe: true, Count: -1})
	mu.Lock()
	ahead = 13 * time.Hour
	mu.Unlock()
	log.fill(t, 3, 10)
	g.drained(log)
	g.stop()
	if lookups.Hits() != 1 {
		t.Errorf("%d lookups after 13 hours of silence, want 1", lookups.Hits())
	}
	c.expect("silent", 0, log.id, offsets(0, 60))
}
