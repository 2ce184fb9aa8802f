package mqtt

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"cistern/bridge/mqtt/packet"
)

func TestBrokenPacketsEndTheConnection(t *testing.T) {
	for _, tc := range []struct {
		name string
		b    string
		want packet.Reason
	}{
		{"256 MiB announced", "\x30\xff\xff\xff\x7f", packet.PacketTooLarge},
		{"truncated SUBSCRIBE", "\x82\x05\x00\x01\x00\x00\x03", packet.MalformedPacket},
		{"packet type 0", "\x00\x00", packet.MalformedPacket},
		{"a second CONNECT", "\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00", packet.ProtocolError},
		{"a server's packet", "\xd0\x00", packet.ProtocolError},
		{"AUTH", "\xf0\x00", packet.ProtocolError},
		{"QoS 3", "\x36\x00", packet.MalformedPacket},
		{"wildcard in PUBLISH", "\x30\x04\x00\x01#\x00", packet.TopicNameInvalid},
		{"subscription id in PUBLISH", "\x30\x06\x00\x01a\x02\x0b\x01", packet.ProtocolError},
		{"PINGREQ with a body", "\xc0\x01x", packet.MalformedPacket},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := start(t)
			c := g.connect(packet.V5, "dev")
			c.write([]byte(tc.b))
			c.expectEnd(tc.want)
			g.connect(packet.V5, "dev").ping() // the server is well
		})
	}
}

func TestLargeConnectIsRefusedBeforeItComes(t *testing.T) {
	g := start(t)
	c := g.dial(packet.V5)
	c.write([]byte{0x10, 0xff, 0xff, 0xff, 0x7f})
	c.expectClosed()
}

func TestLargestPacket(t *testing.T) {
	g := start(t)
	g.store.auto = true
	c := g.connect(packet.V311, "dev")
	c.publish("a", 1, 1, func(p *packet.Publish) { p.Payload = make([]byte, 256<<10-9) })
	c.expectAck(packet.TypePuback)
	c.publish("a", 1, 2, func(p *packet.Publish) { p.Payload = make([]byte, 256<<10-8) })
	c.expectEnd(0)
}

// A client that asks and never reads is closed; nobody waits for it.
func TestClientThatNeverReads(t *testing.T) {
	g := start(t, func(c *Config) { c.Limits.OutputBytes = 2048 })
	c := g.connect(packet.V311, "dev")
	c.nc.(*net.TCPConn).SetReadBuffer(4096)
	pings := make([]byte, 0, 64<<10)
	for len(pings) < cap(pings) {
		pings = packet.AppendPingreq(pings)
	}
	for i := 0; ; i++ {
		c.nc.SetWriteDeadline(time.Now().Add(patience))
		if _, err := c.nc.Write(pings); err != nil {
			if e, ok := err.(net.Error); ok && e.Timeout() {
				t.Fatal("the client was not closed")
			}
			return
		}
		if i > 10_000 {
			t.Fatal("the client was not closed")
		}
	}
}

// Packet ids used again at once cost nobody but the client itself.
func TestPacketIDReuse(t *testing.T) {
	g := start(t)
	c := g.connect(packet.V311, "dev")
	for range 3 {
		c.publish("a", 1, 1)
	}
	g.store.await(3)
	g.store.commit(-1)
	for range 3 {
		c.expectAck(packet.TypePuback)
	}
}

func TestQoS2WithoutPubrelIsBounded(t *testing.T) {
	g := start(t)
	g.store.auto = true
	c := g.connect(packet.V311, "dev")
	go func() {
		for id := range uint16(unreleasedMax + 1) {
			p := packet.Publish{Topic: []byte("a"), QoS: 2, PacketID: id + 1}
			if _, err := c.nc.Write(p.AppendTo(nil, c.v)); err != nil {
				return
			}
		}
	}()
	for acked := 0; ; acked++ {
		c.nc.SetReadDeadline(time.Now().Add(patience))
		_, _, err := c.in.Next()
		if err == nil && acked < unreleasedMax {
			continue
		}
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("still open after %d PUBRECs: %v", acked, err)
		}
		return
	}
}

// Random bytes, and valid packets with random damage, never hurt the server.
func TestDamagedStreams(t *testing.T) {
	g := start(t)
	g.store.auto = true
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 4))
		v := versions[seed%2]
		stream := (&packet.Connect{Version: v, CleanStart: true, ClientID: fmt.Append(nil, "d", seed)}).AppendTo(nil)
		first := len(stream)
		for i := range 20 {
			p := packet.Publish{Topic: []byte("a/b"), QoS: byte(i % 3), Payload: make([]byte, rng.IntN(300))}
			if p.QoS > 0 {
				p.PacketID = uint16(i + 1)
			}
			stream = p.AppendTo(stream, v)
			sub := packet.Subscribe{PacketID: uint16(i + 100)}
			sub.Add("a/#", 1)
			stream = sub.AppendTo(stream, v)
		}
		for range rng.IntN(5) {
			stream[first+rng.IntN(len(stream)-first)] = byte(rng.Uint32())
		}
		nc, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		nc.Write(stream[:rng.IntN(len(stream))+1])
		nc.Close()
	}
	c := g.connect(packet.V5, "last")
	c.ping()
}

// What clients make the server remember comes out of one budget, and goes back
// when they leave.
func TestMemoryBudget(t *testing.T) {
	g := start(t, func(c *Config) { c.Limits.MemoryBytes = 1 << 20 })
	c := g.connect(packet.V5, "aliases")
	for n := uint32(1); n <= 32; n++ {
		p := packet.Publish{Topic: []byte(strings.Repeat("x", 60_000)), Payload: []byte("x")}
		p.Properties.SetNumber(packet.TopicAlias, n)
		c.nc.Write(p.AppendTo(nil, c.v)) // the end may come before the last of them
	}
	c.expectEnd(packet.QuotaExceeded)
	if left := g.memory.used.Load(); left != 0 {
		t.Errorf("%d bytes are kept for a client that has yet to hear that it was closed", left)
	}
	c.nc.Close()

	c = g.connect(packet.V5, "filters")
	refused := false
	for n := range g.limits.Subscriptions {
		r := c.subscribe(fmt.Sprint(n, strings.Repeat("/x", 120)), 0)
		refused = refused || r == packet.QuotaExceeded
	}
	if !refused {
		t.Error("subscriptions of 3 MB were granted")
	}
	c.nc.Close()
	g.stop()
	if left := g.memory.used.Load(); left != 0 {
		t.Errorf("%d bytes were not given back", left)
	}
}
