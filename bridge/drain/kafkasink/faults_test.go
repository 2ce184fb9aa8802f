package kafkasink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"github.com/vmihailenco/msgpack/v5"

	"cistern/bridge/drain"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// TestCutAtEveryStep cuts all connections at each step of a drainer that
// lives on: requests that never left, answers that never came.
func TestCutAtEveryStep(t *testing.T) {
	c := newCentral(t)
	const together = 8
	steps := 0
	for alive := true; alive; steps += together {
		var group sync.WaitGroup
		cut := make([]bool, together)
		for i := range together {
			group.Go(func() { cut[i] = c.cutOnce(t, steps+i+1) })
		}
		group.Wait()
		if t.Failed() {
			return
		}
		alive = cut[together-1]
	}
	if steps < 40 {
		t.Errorf("only %d steps: the drainer was not seen at work", steps)
	}
}

func (c *central) cutOnce(t *testing.T, at int) bool {
	stream := c.name("cut")
	c.create(stream, 1)
	log := newLog(stream, 0).fill(t, 8, 10)
	crash := newCrasher(at)
	crash.once = true
	var cfg setup
	cfg.sink.Client.Dial = crash.dial
	g := c.gateway(cfg, log)
	g.drained(log)
	g.stop()
	c.expectEach(stream, 0, fmt.Sprintf("cut at step %d", at), log)
	return crash.steps >= at
}

func TestLeaderMoves(t *testing.T) {
	t.Parallel()
	c := fakeCentral(t, kfake.NumBrokers(3))
	c.create("moves", 3)
	var logs []*memLog
	for p := range int32(3) {
		logs = append(logs, newLog("moves", p))
	}
	g := c.gateway(setup{}, logs...)
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

// TestDuplicate: a batch that was appended although the broker said no, and
// that it calls a duplicate when it comes again, is upstream once.
func TestDuplicate(t *testing.T) {
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
	if applied.Hits() != 1 || again.Hits() != 1 {
		t.Errorf("faults were hit %d and %d times, want once each", applied.Hits(), again.Hits())
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
	s := g.until("the missing topic is named", func(s drain.Status) bool {
		return strings.Contains(s.Partitions[0].Reason, "does not exist upstream")
	})
	if s.Uplink.State != drain.UplinkUp {
		t.Errorf("uplink is %s, a missing topic does not make it so", s.Uplink.State)
	}
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

// refuse has the broker refuse batches that begin at the given sequences.
func (c *central) refuse(e *kerr.Error, sequences ...int32) {
	c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: e, Count: -1, When: func(req kmsg.Request) bool {
		for _, topic := range req.(*kmsg.ProduceRequest).Topics {
			for _, p := range topic.Partitions {
				h, err := batch.ParseHeader(p.Records)
				if err == nil && slices.Contains(sequences, h.Sequence) {
					return true
				}
			}
		}
		return false
	}})
}

func TestPoison(t *testing.T) {
	for _, e := range []*kerr.Error{kerr.MessageTooLarge, kerr.InvalidTimestamp, kerr.InvalidRecord, kerr.RecordListTooLarge} {
		t.Run(e.Message, func(t *testing.T) {
			t.Parallel()
			c := fakeCentral(t, kfake.SeedTopics(1, "poison"))
			log := newLog("poison", 0)
			log.fill(t, 4, 10)
			poison := log.appendAt(t, 10, metadata.CodecNone, 1, 0)
			log.fill(t, 8, 10)
			// Fault looks at the records: the sequence moves with the gap.
			c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: e, Count: -1, When: func(req kmsg.Request) bool {
				return bytes.Equal(req.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records[batch.HeaderLen:], poison[batch.HeaderLen:])
			}})
			g := c.gateway(setup{}, log)
			g.drained(log)
			s := g.drainer.Status().Partitions[0]
			g.stop()
			c.expect("poison", 0, log.id, append(offsets(0, 40), offsets(50, 130)...))
			want := fmt.Sprintf("poison/0@40-49 %s", e.Message)
			if got := g.quarantine.names(); !slices.Equal(got, []string{want}) {
				t.Errorf("quarantine holds %v, want %s", got, want)
			}
			if got := g.quarantine.kept[want].Batch; !bytes.Equal(got, poison) {
				t.Error("the quarantined batch is not the stored one")
			}
			if s.Quarantined != (drain.Tally{Ranges: 1, Records: 10}) || s.Gaps != (drain.Tally{}) {
				t.Errorf("counted %+v quarantined, %+v gaps", s.Quarantined, s.Gaps)
			}
		})
	}
}

// TestPoisonEverywhere: a topic that takes nothing must not empty the buffer
// into quarantine.
func TestPoisonEverywhere(t *testing.T) {
	t.Parallel()
	c := fakeCentral(t, kfake.SeedTopics(1, "all"))
	fault := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidTimestamp, Count: -1})
	log := newLog("all", 0).fill(t, 40, 10)
	g := c.gateway(setup{}, log)
	g.until("it stops", func(s drain.Status) bool { return s.Partitions[0].State == drain.StateStopped })
	if n := len(g.quarantine.names()); n != drain.RefusedRunMax {
		t.Errorf("%d batches quarantined, want %d", n, drain.RefusedRunMax)
	}
	fault.Remove()
	g.drainer.Kick()
	g.drained(log)
	g.stop()
	c.expect("all", 0, log.id, offsets(drain.RefusedRunMax*10, 400))
}

func TestQuarantineFull(t *testing.T) {
	t.Parallel()
	c := fakeCentral(t, kfake.SeedTopics(1, "full"))
	fault := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidTimestamp, Count: -1})
	log := newLog("full", 0).fill(t, 5, 10)
	q := &memQuarantine{err: errors.New("no space left")}
	g := c.gateway(setup{quarantine: q}, log)
	g.until("it stops", func(s drain.Status) bool {
		return s.Partitions[0].State == drain.StateStopped && strings.Contains(s.Partitions[0].Reason, "no space left")
	})
	fault.Remove()
	g.drainer.Kick()
	g.drained(log)
	g.stop()
	c.expect("full", 0, log.id, offsets(0, 50))
}

func TestTooLargeForTheTopic(t *testing.T) {
	t.Parallel()
	c := fakeCentral(t, kfake.SeedTopics(1, "large"), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "20000"}))
	log := newLog("large", 0).fill(t, 3, 10)
	log.appendAt(t, 1, metadata.CodecNone, time.Now().UnixMilli(), 30_000)
	log.fill(t, 3, 10)
	g := c.gateway(setup{}, log)
	g.drained(log)
	g.stop()
	c.expect("large", 0, log.id, append(offsets(0, 30), offsets(31, 61)...))
	if got := g.quarantine.names(); !slices.Equal(got, []string{"large/0@30-30 MESSAGE_TOO_LARGE"}) {
		t.Errorf("quarantine holds %v", got)
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

func TestBitFlipOnFlash(t *testing.T) {
	for _, at := range []int{18, 22, 30, 44, batch.HeaderLen + 5} { // CRC, attributes, time, producer, records
		t.Run(fmt.Sprintf("byte %d", at), func(t *testing.T) {
			t.Parallel()
			c := fakeCentral(t, kfake.SeedTopics(1, "flip"))
			log := newLog("flip", 0).fill(t, 10, 10)
			log.batches[4][at] ^= 0x10
			g := c.gateway(setup{}, log)
			g.drained(log)
			g.stop()
			c.expect("flip", 0, log.id, append(offsets(0, 40), offsets(50, 100)...))
			if got := g.quarantine.names(); !slices.Equal(got, []string{"flip/0@40-49 DAMAGED_ON_FLASH"}) {
				t.Errorf("quarantine holds %v", got)
			}
		})
	}
}

// TestBitFlipOnTheWay: a batch that is good here is never given up.
func TestBitFlipOnTheWay(t *testing.T) {
	t.Parallel()
	c := fakeCentral(t, kfake.SeedTopics(1, "wire"))
	fault := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.CorruptMessage, Count: 4})
	log := newLog("wire", 0).fill(t, 10, 10)
	g := c.gateway(setup{}, log)
	g.until("the way is blamed", func(s drain.Status) bool {
		return strings.Contains(s.Partitions[0].Reason, "something on the way changes data") || fault.Hits() == 4
	})
	g.drained(log)
	g.stop()
	c.expect("wire", 0, log.id, offsets(0, 100))
	if got := g.quarantine.names(); len(got) != 0 {
		t.Errorf("quarantine holds %v", got)
	}
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
	var c drain.Cursor
	if err := msgpack.Unmarshal(s.Get(key), &c); err != nil {
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
	b, err := msgpack.Marshal(&cursor)
	if err != nil {
		t.Fatal(err)
	}
	if err := state.PutSync(key, b); err != nil {
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

// TestRoundTrip fills a pipeline over a way of 300 ms: five batches cost
// little more than one.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	const rtt = 300 * time.Millisecond
	c := newCentral(t)
	stream := c.name("far")
	c.create(stream, 1)
	log := newLog(stream, 0).fill(t, 1, 10)
	var s setup
	s.sink.Client.Dial = delayed(rtt / 2)
	g := c.gateway(s, log)
	g.drained(log) // the first batch goes alone
	start := time.Now()
	log.fill(t, 20, 10)
	g.drained(log)
	took := time.Since(start)
	t.Logf("20 batches in %v", took)
	g.stop()
	// The first of an idle session and a rewind cost a round trip each; one
	// at a time would take 20.
	if took > 8*rtt {
		t.Errorf("20 batches took %v, a pipeline of %d needs about %v", took, drain.InFlightMax, 4*rtt)
	}
	c.expect(stream, 0, log.id, offsets(0, 210))
}

// delayed dials connections whose every piece arrives later, each way.
func delayed(d time.Duration) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		near, far := net.Pipe()
		go relay(nc, far, d)
		go relay(far, nc, d)
		return near, nil
	}
}

type piece struct {
	due  time.Time
	data []byte
}

func relay(to, from net.Conn, d time.Duration) {
	pieces := make(chan piece, 1024)
	go func() {
		defer to.Close()
		for p := range pieces {
			time.Sleep(time.Until(p.due)) // this is the way's length
			if _, err := to.Write(p.data); err != nil {
				return
			}
		}
	}()
	defer close(pieces)
	for {
		buf := make([]byte, 64<<10)
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		pieces <- piece{time.Now().Add(d), buf[:n]}
	}
}

// TestManyPartitions shares the smallest buffer among many backlogs.
func TestManyPartitions(t *testing.T) {
	t.Parallel()
	c := newCentral(t)
	stream := c.name("many")
	c.create(stream, 8)
	var logs []*memLog
	for p := range int32(48) {
		logs = append(logs, newLog(stream, p).fill(t, 30, 3))
	}
	g := c.gateway(setup{buffer: drain.BufferBytesMin}, logs...)
	g.until("all is drained within the buffer", func(s drain.Status) bool {
		if s.BufferBytes > s.BufferBytesMax {
			t.Fatalf("%d bytes of %d in buffers", s.BufferBytes, s.BufferBytesMax)
		}
		return !slices.ContainsFunc(s.Partitions, func(p drain.PartitionStatus) bool { return p.Lag > 0 })
	})
	if s := g.drainer.Status(); s.BufferBytes != 0 {
		t.Errorf("%d bytes are still claimed when all is drained", s.BufferBytes)
	}
	g.stop()
	for p := range int32(8) {
		var sharing []*memLog
		for _, l := range logs {
			if l.id.Partition%8 == p {
				sharing = append(sharing, l)
			}
		}
		c.expectEach(stream, p, "many partitions", sharing...)
	}
}
