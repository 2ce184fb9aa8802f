package kafkasink

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"cistern/bridge/drain"
	"cistern/bridge/drain/shape"
)

func TestParseMode(t *testing.T) {
	for _, m := range []Mode{ModeAuto, ModeSequence, ModeTransaction, ModeAtLeastOnce} {
		if got, err := ParseMode(m.String()); got != m || err != nil {
			t.Errorf("%q is read as %v, %v", m, got, err)
		}
	}
	if got, err := ParseMode(""); got != ModeAuto || err != nil {
		t.Errorf("nothing is read as %v, %v", got, err)
	}
	if _, err := ParseMode("exactly_once"); err == nil || !strings.Contains(err.Error(), "at_least_once") {
		t.Errorf("an unknown mode: %v", err)
	}
}

func TestJudge(t *testing.T) {
	all := func(change func(map[kmsg.Key]int16)) map[kmsg.Key]int16 {
		v := map[kmsg.Key]int16{kmsg.Produce: 9, kmsg.InitProducerID: 4, kmsg.ListOffsets: 6, kmsg.Fetch: 12}
		change(v)
		return v
	}
	for _, c := range []struct {
		name     string
		versions map[kmsg.Key]int16
		want     Mode
		why      string
	}{
		{"all there", all(func(map[kmsg.Key]int16) {}), ModeSequence, "producer ids"},
		{"no producer ids", all(func(v map[kmsg.Key]int16) { delete(v, kmsg.InitProducerID) }), ModeAtLeastOnce, "lack InitProducerID"},
		{"no zstd", all(func(v map[kmsg.Key]int16) { v[kmsg.Produce] = 6 }), ModeAtLeastOnce, "lack Produce 7 (they have 6)"},
		{"no reading", all(func(v map[kmsg.Key]int16) { delete(v, kmsg.Fetch) }), ModeAtLeastOnce, "lack Fetch"},
	} {
		if mode, why := judge(c.versions); mode != c.want || !strings.Contains(why, c.why) {
			t.Errorf("%s: %v, because %s", c.name, mode, why)
		}
	}
}

// TestAuto: what is chosen shows, and works.
func TestAuto(t *testing.T) {
	t.Parallel()
	for want, version := range map[Mode]*kversion.Versions{ModeSequence: kversion.V2_8_0(), ModeAtLeastOnce: kversion.V2_3_0()} {
		t.Run(want.String(), func(t *testing.T) {
			t.Parallel()
			c := fakeCentral(t, kfake.SeedTopics(1, "auto"), kfake.MaxVersions(version))
			log := newLog("auto", 0).fill(t, 5, 10)
			g := c.gateway(setup{}, log)
			g.drained(log)
			s := g.drainer.Status()
			g.stop()
			if s.Uplink.Mode != want.String() || s.Uplink.ModeWhy == "" {
				t.Errorf("the uplink tells mode %q, because %q", s.Uplink.Mode, s.Uplink.ModeWhy)
			}
			c.expect("auto", 0, log.id, offsets(0, 50))
		})
	}
}

// TestAdvice: a refusal that a setting or a right would end names it.
func TestAdvice(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		key  kmsg.Key
		err  *kerr.Error
		mode Mode
		say  string
	}{
		{kmsg.InitProducerID, kerr.ClusterAuthorizationFailed, ModeAuto, `set mode = "at_least_once"`},
		{kmsg.InitProducerID, kerr.UnsupportedVersion, ModeAuto, `set mode = "at_least_once"`},
		{kmsg.InitProducerID, kerr.InvalidRequest, ModeSequence, `set mode = "at_least_once"`},
		{kmsg.Produce, kerr.UnsupportedForMessageFormat, ModeAuto, `set mode = "at_least_once"`},
		{kmsg.Produce, kerr.ClusterAuthorizationFailed, ModeAuto, "IDEMPOTENT_WRITE"},
		{kmsg.Produce, kerr.UnsupportedCompressionType, ModeAuto, "codec"},
		{kmsg.Produce, kerr.UnsupportedCompressionType, ModeAtLeastOnce, "codec"},
		{kmsg.FindCoordinator, kerr.TransactionalIDAuthorizationFailed, ModeTransaction, `"cistern/"`},
		{kmsg.AddOffsetsToTxn, kerr.GroupAuthorizationFailed, ModeTransaction, `set mode = "sequence"`},
		{kmsg.InitProducerID, kerr.InvalidTransactionTimeout, ModeTransaction, "transaction.max.timeout.ms"},
		{kmsg.AddPartitionsToTxn, kerr.UnsupportedVersion, ModeTransaction, `set mode = "auto"`},
	} {
		t.Run(fmt.Sprintf("%s, %s %s", tt.mode, tt.key.Name(), tt.err.Message), func(t *testing.T) {
			t.Parallel()
			c := fakeCentral(t, kfake.SeedTopics(1, "advice")).as(tt.mode)
			fault := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{tt.key}, Err: tt.err, Count: -1})
			log := newLog("advice", 0).fill(t, 3, 10)
			g := c.gateway(in(tt.mode, nil), log)
			g.until("it stops and says what to do", func(s drain.Status) bool {
				p := s.Partitions[0]
				return p.State == drain.StateStopped && strings.Contains(p.Reason, tt.err.Message) && strings.Contains(p.Reason, tt.say)
			})
			fault.Remove()
			g.drainer.Kick()
			g.drained(log)
			g.stop()
			c.expect("advice", 0, log.id, offsets(0, 30))
		})
	}
}

// TestTooOldForMode: a mode that was asked for by name and can't be is refused,
// with the name of one that can.
func TestTooOldForMode(t *testing.T) {
	t.Parallel()
	for mode, say := range map[Mode]string{ModeSequence: `set mode = "at_least_once"`, ModeTransaction: `set mode = "auto"`} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			c := fakeCentral(t, kfake.SeedTopics(1, "old"), kfake.MaxVersions(kversion.V2_3_0()))
			g := c.gateway(in(mode, nil), newLog("old", 0).fill(t, 1, 10))
			g.until("it says so", func(s drain.Status) bool {
				p := s.Partitions[0]
				return p.State == drain.StateStopped && strings.Contains(p.Reason, say)
			})
			g.stop()
		})
	}
}

// TestIdentified: at least once every record says which it is, and those that
// arrive twice say the same.
func TestIdentified(t *testing.T) {
	t.Parallel()
	c := newCentral(t).as(ModeAtLeastOnce)
	stream := c.name("identified")
	c.create(stream, 1)
	log := newLog(stream, 0).fill(t, 20, 10)
	g := c.gateway(in(ModeAtLeastOnce, nil), log)
	g.drained(log)
	crashed := g.state.survive(false)
	g.stop()
	log.fill(t, 5, 10)
	g = c.gateway(in(ModeAtLeastOnce, crashed), log)
	g.drained(log)
	g.stop()
	c.expect(stream, 0, log.id, offsets(0, 250))

	ids := map[string]string{}
	n := 0
	for _, r := range c.records(stream, 0) {
		id := ""
		for _, h := range r.Headers {
			if h.Key == shape.HeaderID {
				id = string(h.Value)
			}
		}
		if id == "" {
			t.Fatalf("a record has no id: %s", r.Value)
		}
		if other, seen := ids[id]; seen && other != string(r.Value) {
			t.Fatalf("id %s is of %s and of %s", id, other, r.Value)
		}
		ids[id] = string(r.Value)
		n++
	}
	if len(ids) != 250 || n <= 250 {
		t.Errorf("%d records with %d ids, want some of 250 twice", n, len(ids))
	}
}
