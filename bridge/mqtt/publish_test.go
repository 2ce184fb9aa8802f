package mqtt

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cistern/bridge/mqtt/packet"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/ingest"
)

var versions = []packet.Version{packet.V311, packet.V5}

func TestPubackOnlyAfterCommit(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			g := start(t)
			c := g.connect(v, "dev")
			c.publish("plant/temp", 1, 7)
			g.store.await(1)
			c.ping() // answered, and no PUBACK before it
			g.store.commit(1)
			if ack := c.expectAck(packet.TypePuback); ack.PacketID != 7 || ack.Reason != packet.Success {
				t.Errorf("%+v", ack)
			}
			if got := g.store.records("mqtt"); len(got) != 1 || string(got[0].Key) != "plant/temp" || string(got[0].Value) != "x" {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestQoS0IsAppendedWithoutAck(t *testing.T) {
	g := start(t)
	c := g.connect(packet.V311, "dev")
	c.publish("a", 0, 0)
	g.store.await(1)
	g.store.commit(1)
	c.ping()
	if got := g.store.records("mqtt"); len(got) != 1 {
		t.Errorf("%d records", len(got))
	}
}

func TestQoS0DropsAreCounted(t *testing.T) {
	g := start(t)
	g.store.refuse = ingest.ErrFull
	c := g.connect(packet.V311, "dev")
	c.publish("a", 0, 0)
	c.ping() // still connected
	if got := g.count.dropped.Get(); got != 1 {
		t.Errorf("%d drops counted", got)
	}
}

func TestQoS2(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			g := start(t)
			c := g.connect(v, "dev")
			c.publish("a", 2, 5)
			g.store.await(1)
			c.publish("a", 2, 5, func(p *packet.Publish) { p.Dup = true }) // resent before the commit
			c.ping()
			g.store.commit(-1)
			if ack := c.expectAck(packet.TypePubrec); ack.PacketID != 5 {
				t.Errorf("%+v", ack)
			}
			c.publish("a", 2, 5, func(p *packet.Publish) { p.Dup = true }) // PUBREC was lost
			c.expectAck(packet.TypePubrec)
			for range 2 { // PUBREL, and once more since PUBCOMP was lost
				c.write(packet.AppendAck(nil, v, packet.TypePubrel, 5, packet.Success))
				if ack := c.expectAck(packet.TypePubcomp); ack.PacketID != 5 {
					t.Errorf("%+v", ack)
				}
			}
			if got := g.store.records("mqtt"); len(got) != 1 {
				t.Errorf("%d records of one message", len(got))
			}
			c.publish("a", 2, 5) // the id is free again
			g.store.await(1)
			g.store.commit(-1)
			c.expectAck(packet.TypePubrec)
			if got := g.store.records("mqtt"); len(got) != 2 {
				t.Errorf("%d records of two messages", len(got))
			}
		})
	}
}

func TestQoS1ResentBeforeCommitIsStoredOnce(t *testing.T) {
	g := start(t)
	c := g.connect(packet.V311, "dev")
	c.publish("a", 1, 5)
	c.publish("a", 1, 5, func(p *packet.Publish) { p.Dup = true })
	c.ping()
	g.store.commit(-1)
	c.expectAck(packet.TypePuback)
	c.ping() // no second PUBACK
	if got := g.store.records("mqtt"); len(got) != 1 {
		t.Errorf("%d records", len(got))
	}
}

func TestPubrelBeforePubrecIsRefused(t *testing.T) {
	g := start(t)
	c := g.connect(packet.V5, "dev")
	c.publish("a", 2, 5)
	c.write(packet.AppendAck(nil, c.v, packet.TypePubrel, 5, packet.Success))
	c.expectEnd(packet.ProtocolError)
}

// Acks leave in the order of the PUBLISHes, whatever the order of commits.
func TestAckOrder(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 3))
			g := start(t)
			c := g.connect(versions[seed%2], "dev")
			var want []string
			for round := range 4 {
				n := 1 + rng.IntN(60)
				for i := range n {
					id, qos := uint16(round*100+i+1), byte(1+rng.IntN(2))
					c.publish(fmt.Sprint("t/", rng.IntN(9)), qos, id)
					want = append(want, fmt.Sprint(id, " QoS ", qos))
				}
				g.store.await(n)
				g.store.commitShuffled(rng)
			}
			var got []string
			for range want {
				h, body, err := c.in.Next()
				c.check(err)
				var ack packet.Ack
				c.check(ack.Decode(c.v, body))
				got = append(got, fmt.Sprint(ack.PacketID, " QoS ", map[packet.Type]int{packet.TypePuback: 1, packet.TypePubrec: 2}[h.Type]))
			}
			if !slices.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}
}

// What could not be stored is never confirmed: 5.0 is told why, 3.1.1 is
// closed after the acks before it.
func TestRefusedPublishes(t *testing.T) {
	for _, tc := range []struct {
		name  string
		topic string
		set   func(*store)
		want  packet.Reason
	}{
		{"flash is full", "a", func(s *store) { s.refuse = ingest.ErrFull }, packet.QuotaExceeded},
		{"record too large", "a", func(s *store) { s.refuse = fmt.Errorf("p/0: %w", ingest.ErrTooLarge) }, packet.ImplementationSpecificError},
		{"journal latched", "a", func(s *store) { s.refuse = ingest.ErrUnavailable }, packet.UnspecifiedError},
		{"partition gone", "a", func(s *store) { s.refuse = ingest.ErrUnknownPartition }, packet.ImplementationSpecificError},
		{"full at the commit", "a", func(s *store) { s.fail = ingest.ErrFull }, packet.QuotaExceeded},
		{"no route", "$SYS/broker/connection/x/state", func(*store) {}, packet.TopicNameInvalid},
	} {
		for _, v := range versions {
			for qos, acked := range map[byte]packet.Type{1: packet.TypePuback, 2: packet.TypePubrec} {
				t.Run(fmt.Sprint(tc.name, " ", v, " QoS ", qos), func(t *testing.T) {
					g := start(t)
					c := g.connect(v, "dev")
					c.publish("before", 1, 1)
					g.store.await(1)
					g.store.mu.Lock()
					tc.set(g.store)
					failsLate := g.store.fail
					g.store.fail = nil
					g.store.mu.Unlock()
					c.publish(tc.topic, qos, 2)
					if failsLate != nil {
						g.store.await(1)
					} else if v == packet.V5 {
						c.ping()
					}
					g.store.commit(1)
					if ack := c.expectAck(packet.TypePuback); ack.PacketID != 1 || ack.Reason != packet.Success {
						t.Fatalf("the message before: %+v", ack)
					}
					g.store.mu.Lock()
					g.store.fail = failsLate
					g.store.mu.Unlock()
					g.store.commit(1)
					if v == packet.V311 {
						c.expectEnd(0)
					} else if ack := c.expectAck(acked); ack.PacketID != 2 || ack.Reason != tc.want {
						t.Errorf("got %+v, want %s", ack, tc.want)
					}
				})
			}
		}
	}
}

func TestAcksNoneConfirmsWhatWasTaken(t *testing.T) {
	g := start(t, func(c *Config) {
		c.Routes = []Route{{Filter: "#", Stream: "fast", Acks: metadata.AcksNone}}
	})
	c := g.connect(packet.V311, "dev")
	c.publish("a", 1, 3)
	if ack := c.expectAck(packet.TypePuback); ack.PacketID != 3 {
		t.Errorf("%+v", ack)
	}
	g.store.commit(-1)
	c.ping() // nothing twice
}

func TestReceiveMaximum(t *testing.T) {
	few := func(c *Config) { c.Limits.ReceiveMaximum = 4 }
	t.Run("5.0 is held to it", func(t *testing.T) {
		g := start(t, few)
		c := g.connect(packet.V5, "dev")
		for id := range uint16(5) {
			c.publish("a", 1, id+1)
		}
		c.expectEnd(packet.ReceiveMaximumExceeded)
	})
	t.Run("5.0 QoS 2 counts until PUBCOMP", func(t *testing.T) {
		g := start(t, few)
		c := g.connect(packet.V5, "dev")
		for id := range uint16(4) {
			c.publish("a", 2, id+1)
		}
		g.store.await(4)
		g.store.commit(-1)
		for range 4 {
			c.expectAck(packet.TypePubrec)
		}
		c.publish("a", 1, 9)
		c.expectEnd(packet.ReceiveMaximumExceeded)
	})
	t.Run("3.1.1 waits", func(t *testing.T) {
		g := start(t, few)
		c := g.connect(packet.V311, "dev")
		for id := range uint16(40) {
			c.publish("a", 1, id+1)
		}
		for acked := 0; acked < 40; acked += 4 {
			g.store.await(4)
			select {
			case <-g.store.arrived:
				t.Fatal("more than the window was taken")
			default:
			}
			g.store.commit(-1)
			for i := range 4 {
				if ack := c.expectAck(packet.TypePuback); int(ack.PacketID) != acked+i+1 {
					t.Fatalf("%+v", ack)
				}
			}
		}
	})
}

func TestTopicAliases(t *testing.T) {
	alias := func(n uint32) func(*packet.Publish) {
		return func(p *packet.Publish) { p.Properties.SetNumber(packet.TopicAlias, n) }
	}
	g := start(t)
	g.store.auto = true
	c := g.connect(packet.V5, "dev")
	c.publish("first", 1, 1, alias(3))
	c.publish("", 1, 2, alias(3))
	c.publish("second", 1, 3, alias(3))
	c.publish("", 1, 4, alias(3))
	for range 4 {
		c.expectAck(packet.TypePuback)
	}
	var keys []string
	for _, r := range g.store.records("mqtt") {
		keys = append(keys, string(r.Key))
	}
	if got := strings.Join(keys, " "); got != "first first second second" {
		t.Errorf("keys: %s", got)
	}
	c.publish("", 1, 5, alias(4))
	c.expectEnd(packet.ProtocolError)

	c = g.connect(packet.V5, "dev")
	c.publish("a", 1, 1, alias(uint32(g.limits.TopicAliases)+1))
	c.expectEnd(packet.TopicAliasInvalid)
}

func TestHeaders(t *testing.T) {
	var synced atomic.Bool
	synced.Store(true)
	g := start(t, func(c *Config) {
		c.Site = "north"
		c.ClockMark = func(dst []byte, now time.Time) []byte {
			if synced.Load() {
				return dst
			}
			return batch.AppendClockMark(dst, "b007", 12345)
		}
		c.Routes = []Route{
			{Filter: "keyed/#", Stream: "mqtt", Key: "{clientid}", Tombstone: true},
			{Filter: "#", Stream: "mqtt"},
		}
	})
	g.store.auto = true
	c := g.connect(packet.V5, "dev")
	plain := c.publish
	plain("t", 1, 1)
	c.expectAck(packet.TypePuback)
	plain("t", 2, 2, func(p *packet.Publish) { p.Retain, p.Dup = true, true })
	c.expectAck(packet.TypePubrec)
	plain("keyed/x", 1, 3, func(p *packet.Publish) { p.Payload = nil })
	c.expectAck(packet.TypePuback)
	plain("t", 1, 4, func(p *packet.Publish) {
		p.Payload = nil
		p.Properties.SetField(packet.ContentType, []byte("text/plain"))
		p.Properties.SetField(packet.ResponseTopic, []byte("r/t"))
		p.Properties.SetField(packet.CorrelationData, []byte{1})
		p.Properties.SetNumber(packet.PayloadFormatIndicator, 1)
		p.Properties.SetNumber(packet.MessageExpiryInterval, 4294967295)
		for _, kv := range [][2]string{{"b", "1"}, {"mqtt.qos", "9"}, {"a", "2"}, {"cistern.site", "evil"}, {"b", "3"}} {
			p.Properties.AddUser(kv[0], kv[1])
		}
	})
	c.expectAck(packet.TypePuback)
	synced.Store(false) // ordered by the PUBACK before and the PUBLISH after
	plain("t", 0, 0)
	c.ping()
	g.store.await(5)
	g.stop()

	want := []string{
		`t "x" [cistern.site=north]`,
		`t "x" [mqtt.qos=2 mqtt.retain=1 mqtt.dup=1 cistern.site=north]`,
		`dev null [mqtt.topic=keyed/x cistern.site=north]`,
		"t \"\" [content-type=text/plain mqtt.response-topic=r/t mqtt.correlation-data=\x01 mqtt.payload-format=1 mqtt.expiry=4294967295 b=1 a=2 b=3 cistern.site=north]",
		`t "x" [mqtt.qos=0 cistern.site=north cistern.clock=unset b007 12345]`,
	}
	g.store.commit(-1)
	records := g.store.records("mqtt")
	if len(records) != len(want) {
		t.Fatalf("%d records", len(records))
	}
	for i, r := range records {
		if got := describe(&r); got != want[i] {
			t.Errorf("record %d\ngot  %s\nwant %s", i, got, want[i])
		}
		if r.Timestamp < 1_600_000_000_000 {
			t.Errorf("record %d: timestamp %d", i, r.Timestamp)
		}
	}
	if got := g.count.reservedNames.Get(); got != 2 {
		t.Errorf("%d reserved names counted", got)
	}
}

// A PUBLISH costs no allocation between the network and the Appender.
func TestPublishAllocatesNothing(t *testing.T) {
	g := start(t, func(c *Config) { c.Appender = &ticker{}; c.Site = "north" })
	c := newConn(g.Server, g.dial(packet.V5).nc, true)
	c.version, c.client = packet.V5, "dev"
	p := packet.Publish{Topic: []byte("plant/line3/temp"), QoS: 1, PacketID: 1, Payload: make([]byte, 256)}
	p.Properties.SetField(packet.ContentType, []byte("application/json"))
	p.Properties.AddUser("unit", "C")
	whole := p.AppendTo(nil, packet.V5)
	h, n, _ := packet.ParseHeader(whole)
	c.closed = true // nothing is written
	allocs := testing.AllocsPerRun(1000, func() {
		if err := c.publish(h.Flags, whole[n:]); err != nil {
			t.Fatal(err)
		}
		c.output.buf.b, c.output.control = c.output.buf.b[:0], 0
	})
	if allocs != 0 {
		t.Errorf("%v allocations per PUBLISH", allocs)
	}
}
