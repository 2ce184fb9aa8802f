package mqtt

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"cistern/bridge/mqtt/packet"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

func TestSubscribersGetCommittedRecordsOnly(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			g := start(t)
			pub, sub := g.connect(v, "pub"), g.connect(v, "sub")
			pub.publish("plant/early", 1, 1)
			g.store.await(1)
			g.store.commit(1)
			pub.expectAck(packet.TypePuback)

			if r := sub.subscribe("plant/#", 1); r != packet.GrantedQoS1 {
				t.Fatalf("granted %v", r)
			}
			pub.publish("plant/temp", 1, 2)
			g.store.await(1)
			sub.ping() // taken, not committed: nothing is delivered
			g.store.commit(1)
			if p := sub.expectPublish(); string(p.Topic) != "plant/temp" || p.QoS != 1 || p.PacketID == 0 || p.Retain || p.Dup {
				t.Errorf("%+v", p)
			}
			pub.publish("elsewhere", 1, 3)
			pub.publish("plant", 0, 0)
			g.store.await(2)
			g.store.commit(-1)
			if p := sub.expectPublish(); string(p.Topic) != "plant" || p.QoS != 0 {
				t.Errorf("%+v", p)
			}
			var u packet.Unsubscribe
			u.PacketID = 9
			u.Add("plant/#")
			u.Add("never")
			sub.write(u.AppendTo(nil, v))
			var ack packet.Suback
			sub.check(ack.Decode(v, sub.expect(packet.TypeUnsuback)))
			if v == packet.V5 && string(ack.Reasons) != "\x00\x11" {
				t.Errorf("UNSUBACK % x", ack.Reasons)
			}
			if n := g.tails(); n != 0 {
				t.Errorf("%d tails run for nobody", n)
			}
		})
	}
}

func (g *gateway) tails() int {
	g.fanout.mu.RLock()
	defer g.fanout.mu.RUnlock()
	return len(g.fanout.tails)
}

func TestSubackFilterByFilter(t *testing.T) {
	g := start(t, func(c *Config) { c.Limits.Subscriptions = 3 })
	for i, v := range versions {
		c := g.connect(v, "dev")
		p := packet.Subscribe{PacketID: 4}
		for _, f := range []string{"a", "b/#", "a/#/b", "$share/g/t", "c", "d"} {
			p.Add(f, 2)
		}
		c.write(p.AppendTo(nil, v))
		var ack packet.Suback
		c.check(ack.Decode(v, c.expect(packet.TypeSuback)))
		want := []string{"\x01\x01\x80\x80\x01\x80", "\x01\x01\x8f\x9e\x01\x97"}[i]
		if string(ack.Reasons) != want {
			t.Errorf("%s: % x, want % x", v, ack.Reasons, want)
		}
	}
	c := g.connect(packet.V5, "dev")
	p := packet.Subscribe{PacketID: 4}
	p.Add("a", 1)
	p.Properties.SetNumber(packet.SubscriptionIdentifier, 7)
	c.write(p.AppendTo(nil, c.v))
	var ack packet.Suback
	c.check(ack.Decode(c.v, c.expect(packet.TypeSuback)))
	if packet.Reason(ack.Reasons[0]) != packet.SubscriptionIDsNotSupported {
		t.Errorf("% x", ack.Reasons)
	}
}

func TestOverlappingFiltersDeliverOnce(t *testing.T) {
	g := start(t)
	g.store.auto = true
	c := g.connect(packet.V311, "dev")
	c.subscribe("a/#", 0)
	c.subscribe("a/+", 1)
	c.subscribe("#", 0)
	c.publish("a/b", 0, 0)
	c.publish("last", 0, 0)
	if p := c.expectPublish(); string(p.Topic) != "a/b" {
		t.Errorf("%+v", p)
	}
	if p := c.expectPublish(); string(p.Topic) != "last" {
		t.Errorf("%+v", p)
	}
}

func TestDeliveredProperties(t *testing.T) {
	g := start(t, func(c *Config) {
		c.Site = "north"
		c.Routes = []Route{{Filter: "#", Stream: "s", Key: "constant"}}
	})
	g.store.auto = true
	sub, old, pub := g.connect(packet.V5, "sub"), g.connect(packet.V311, "old"), g.connect(packet.V5, "pub")
	sub.subscribe("t", 1|8) // retain as published
	old.subscribe("t", 1)
	pub.publish("t", 2, 1, func(p *packet.Publish) {
		p.Retain = true
		p.Properties.SetField(packet.ContentType, []byte("text/plain"))
		p.Properties.SetField(packet.ResponseTopic, []byte("r"))
		p.Properties.SetField(packet.CorrelationData, []byte{7})
		p.Properties.SetNumber(packet.PayloadFormatIndicator, 1)
		p.Properties.SetNumber(packet.MessageExpiryInterval, 100)
		p.Properties.AddUser("k", "1")
		p.Properties.AddUser("k", "2")
	})
	var p packet.Publish
	c := sub
	c.nc.SetReadDeadline(time.Now().Add(patience))
	h, body, err := c.in.Next()
	c.check(err)
	c.check(p.Decode(packet.V5, h.Flags, body))
	var users string
	for k, v := range p.Properties.Users() {
		users += fmt.Sprintf("%s=%s ", k, v)
	}
	expiry := p.Properties.Number(packet.MessageExpiryInterval, 0)
	if !p.Retain || p.QoS != 1 || string(p.Topic) != "t" || users != "k=1 k=2 " || expiry < 90 || expiry > 100 ||
		string(p.Properties.Field(packet.ContentType)) != "text/plain" || string(p.Properties.Field(packet.ResponseTopic)) != "r" ||
		string(p.Properties.Field(packet.CorrelationData)) != "\x07" || p.Properties.Number(packet.PayloadFormatIndicator, 0) != 1 {
		t.Errorf("users %q, expiry %d, %+v", users, expiry, p)
	}
	if p := old.expectPublish(); p.Retain || p.QoS != 1 || string(p.Payload) != "x" {
		t.Errorf("%+v", p)
	}
}

func TestNoLocal(t *testing.T) {
	g := start(t)
	g.store.auto = true
	c, other := g.connect(packet.V5, "me"), g.connect(packet.V5, "other")
	c.subscribe("#", 1|4)
	c.publish("mine", 0, 0)
	g.store.await(1)
	g.store.commit(-1)
	other.publish("theirs", 0, 0)
	if p := c.expectPublish(); string(p.Topic) != "theirs" {
		t.Errorf("%s was delivered", p.Topic)
	}
}

func TestSubscriberWindow(t *testing.T) {
	g := start(t)
	sub := g.connect(packet.V5, "sub", func(p *packet.Connect) { p.Properties.SetNumber(packet.ReceiveMaximum, 3) })
	sub.subscribe("#", 1)
	pub := g.connect(packet.V311, "pub")
	for id := range uint16(20) {
		pub.publish(fmt.Sprint("t/", id), 1, id+1)
	}
	g.store.await(20)
	g.store.commit(-1)
	var inflight []uint16
	for got := 0; got < 20; {
		for len(inflight) < 3 && got < 20 {
			var p packet.Publish
			sub.nc.SetReadDeadline(time.Now().Add(patience))
			h, body, err := sub.in.Next()
			sub.check(err)
			sub.check(p.Decode(packet.V5, h.Flags, body))
			if want := fmt.Sprint("t/", got); string(p.Topic) != want {
				t.Fatalf("got %s, want %s", p.Topic, want)
			}
			inflight = append(inflight, p.PacketID)
			got++
		}
		sub.ping() // the window is full: nothing else comes
		for _, id := range inflight {
			sub.write(packet.AppendAck(nil, packet.V5, packet.TypePuback, id, packet.Success))
		}
		inflight = inflight[:0]
	}
}

// Packet ids of the two directions have nothing to do with each other.
func TestSamePacketIDInBothDirections(t *testing.T) {
	g := start(t)
	c := g.connect(packet.V311, "dev")
	c.subscribe("#", 1)
	c.publish("a", 1, 1)
	g.store.await(1)
	g.store.commit(1)
	seen := map[packet.Type]bool{}
	for range 2 { // PUBACK 1 and PUBLISH 1, in any order
		h, _, err := c.in.Next()
		c.check(err)
		seen[h.Type] = true
	}
	if !seen[packet.TypePuback] || !seen[packet.TypePublish] {
		t.Fatalf("%v", seen)
	}
	c.publish("b", 1, 1) // the delivery with id 1 is not acked yet
	g.store.await(1)
	g.store.commit(1)
	seen = map[packet.Type]bool{}
	for range 2 {
		h, _, err := c.in.Next()
		c.check(err)
		seen[h.Type] = true
	}
	if !seen[packet.TypePuback] || !seen[packet.TypePublish] {
		t.Fatalf("%v", seen)
	}
}

// A subscriber that does not keep up loses QoS 0 messages, or its connection;
// the publisher never notices.
func TestSlowSubscribers(t *testing.T) {
	for qos := range packet.Options(2) {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			g := start(t, func(c *Config) { c.Limits.QueueMessages = 10 })
			g.store.auto = true
			sub := g.connect(packet.V5, "sub", func(p *packet.Connect) { p.Properties.SetNumber(packet.ReceiveMaximum, 2) })
			sub.nc.(*net.TCPConn).SetReadBuffer(4096)
			sub.subscribe("#", qos)
			pub := g.connect(packet.V311, "pub")
			const n = 200
			for id := range uint16(n) {
				pub.publish("t", 1, id+1, func(p *packet.Publish) { p.Payload = make([]byte, 64<<10) })
				if ack := pub.expectAck(packet.TypePuback); ack.PacketID != id+1 {
					t.Fatalf("%+v", ack)
				}
			}
			if qos == 0 {
				for end := time.Now().Add(patience); g.count.deliveryDropped.Get() == 0; {
					if time.Now().After(end) {
						t.Fatal("nothing was dropped")
					}
					time.Sleep(time.Millisecond)
				}
				return
			}
			for { // what was delivered, then the reason
				sub.nc.SetReadDeadline(time.Now().Add(patience))
				h, body, err := sub.in.Next()
				sub.check(err)
				if h.Type == packet.TypeDisconnect {
					if packet.Reason(body[0]) != packet.QuotaExceeded {
						t.Errorf("% x", body)
					}
					return
				}
			}
		})
	}
}

func TestTooLargeForTheSubscriber(t *testing.T) {
	g := start(t)
	g.store.auto = true
	sub := g.connect(packet.V5, "sub", func(p *packet.Connect) { p.Properties.SetNumber(packet.MaximumPacketSize, 100) })
	sub.subscribe("#", 1)
	sub.publish("large", 0, 0, func(p *packet.Publish) { p.Payload = make([]byte, 200) })
	g.store.await(1)
	g.store.commit(-1)
	sub.publish("small", 0, 0)
	if p := sub.expectPublish(); string(p.Topic) != "small" {
		t.Errorf("%s", p.Topic)
	}
}

// A log that can't be read costs subscribers those records, not their place.
func TestUnreadableRecordsAreSkipped(t *testing.T) {
	g := start(t)
	c := g.connect(packet.V311, "dev")
	c.subscribe("#", 0)
	log := g.store.log(metadata.PartitionID{Stream: "mqtt"})
	log.mu.Lock()
	log.broken = errors.New("rotten")
	log.mu.Unlock()
	log.append(batch.Record{Key: []byte("lost")})
	for end := time.Now().Add(patience); g.count.deliveryErrors.Get() == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	log.mu.Lock()
	log.broken = nil
	log.mu.Unlock()
	log.append(batch.Record{Key: []byte("found")})
	if p := c.expectPublish(); string(p.Topic) != "found" {
		t.Errorf("%s", p.Topic)
	}
}

// A subscription starts at the high watermark, even on a tail that is behind.
func TestSubscribeStartsAtTheHighWatermark(t *testing.T) {
	g := start(t)
	p := metadata.PartitionID{Stream: "mqtt"}
	tl := &tail{fanout: g.fanout, partition: p, log: g.store.log(p), done: make(chan struct{}), users: 1}
	g.store.log(p).append(batch.Record{Key: []byte("early")})
	g.fanout.tails[p] = tl // a tail that has not read it yet
	sub := &subscription{filter: "#"}
	if err := g.fanout.subscribe(sub); err != nil {
		t.Fatal(err)
	}
	if sub.wants(tl, 0) || !sub.wants(tl, 1) {
		t.Error("the record before the SUBSCRIBE would be delivered, or the one after it not")
	}
}
