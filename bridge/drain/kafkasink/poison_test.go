package kafkasink

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cistern/bridge/drain"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

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
