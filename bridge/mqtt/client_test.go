package mqtt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"cistern/bridge/mqtt/packet"
)

// TestMain proves that no goroutine of a server outlives it. (It also is the
// load generator of the benchmarks, in a process of its own.)
func TestMain(m *testing.M) {
	if os.Getenv(loadEnv) != "" {
		os.Exit(generateLoad())
	}
	code := m.Run()
	if code == 0 && leaked() {
		code = 1
	}
	os.Exit(code)
}

func leaked() bool {
	var stacks string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) { // they may need a moment to end
		buf := make([]byte, 1<<20)
		stacks = string(buf[:runtime.Stack(buf, true)])
		if !strings.Contains(stacks, "bridge/mqtt.(*") {
			return false
		}
	}
	fmt.Fprintln(os.Stderr, "goroutines were left over:\n"+stacks)
	return true
}

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// gateway is a running server on a loopback port.
type gateway struct {
	*Server
	t     testing.TB
	store *store
	addr  string
	stop  func()
}

func start(t testing.TB, change ...func(*Config)) *gateway {
	t.Helper()
	st := newStore()
	config := Config{
		Listeners:  []Listener{{Address: "127.0.0.1:0"}},
		Partitions: func(string) int32 { return 1 },
		Appender:   st,
		Logs:       st.Logs,
		Logger:     slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&config)
	}
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	g := &gateway{Server: s, t: t, store: st, addr: s.Addrs()[0].String()}
	stopped := false
	g.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(2 * patience):
			t.Error("Run did not return")
		}
	}
	t.Cleanup(g.stop)
	return g
}

// client speaks MQTT with the bytes in the test's hand.
type client struct {
	t  testing.TB
	nc net.Conn
	in *packet.Reader
	v  packet.Version
}

// dial connects without a word.
func (g *gateway) dial(v packet.Version) *client {
	g.t.Helper()
	nc, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { nc.Close() })
	return &client{t: g.t, nc: nc, in: packet.NewReader(nc, packet.RemainingLengthMax, nil), v: v}
}

// connect connects with a clean session and takes the CONNACK.
func (g *gateway) connect(v packet.Version, id string, change ...func(*packet.Connect)) *client {
	g.t.Helper()
	c := g.dial(v)
	if ack := c.hello(id, change...); ack.Reason != packet.Success || ack.SessionPresent {
		g.t.Fatalf("CONNACK: %+v", ack)
	}
	return c
}

// login is connect for where the server may rightly refuse: then it returns nil.
func (g *gateway) login(v packet.Version, id string) *client {
	g.t.Helper()
	c := g.dial(v)
	c.nc.SetDeadline(time.Now().Add(patience))
	p := packet.Connect{Version: v, CleanStart: true, ClientID: []byte(id)}
	c.nc.Write(p.AppendTo(nil)) // what follows shows whether it was read
	h, body, err := c.in.Next()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		g.t.Fatal("neither a CONNACK nor an end came")
	}
	var ack packet.Connack
	if err != nil || h.Type != packet.TypeConnack || ack.Decode(v, body) != nil || ack.Reason != packet.Success {
		c.nc.Close()
		return nil
	}
	c.nc.SetDeadline(time.Time{})
	return c
}

func (c *client) hello(id string, change ...func(*packet.Connect)) packet.Connack {
	c.t.Helper()
	p := packet.Connect{Version: c.v, CleanStart: true, ClientID: []byte(id)}
	for _, f := range change {
		f(&p)
	}
	c.write(p.AppendTo(nil))
	var ack packet.Connack
	c.check(ack.Decode(c.v, c.expect(packet.TypeConnack)))
	return ack
}

func (c *client) check(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) write(b []byte) {
	c.t.Helper()
	_, err := c.nc.Write(b)
	c.check(err)
}

// expect returns the body of the next packet, which must be of type t.
func (c *client) expect(t packet.Type) []byte {
	c.t.Helper()
	c.nc.SetReadDeadline(time.Now().Add(patience))
	h, body, err := c.in.Next()
	if err != nil {
		c.t.Fatalf("waiting for %s: %v", t, err)
	}
	if h.Type != t {
		c.t.Fatalf("waiting for %s, got %s % x", t, h.Type, body)
	}
	return body
}

func (c *client) expectAck(t packet.Type) packet.Ack {
	c.t.Helper()
	var p packet.Ack
	c.check(p.Decode(c.v, c.expect(t)))
	return p
}

// expectPublish takes the next delivery and acks it.
func (c *client) expectPublish() packet.Publish {
	c.t.Helper()
	c.nc.SetReadDeadline(time.Now().Add(patience))
	h, body, err := c.in.Next()
	if err != nil || h.Type != packet.TypePublish {
		c.t.Fatalf("waiting for PUBLISH, got %s, %v", h.Type, err)
	}
	var p packet.Publish
	c.check(p.Decode(c.v, h.Flags, body))
	p.Topic = append([]byte(nil), p.Topic...)
	p.Payload = append([]byte(nil), p.Payload...)
	if p.QoS == 1 {
		c.write(packet.AppendAck(nil, c.v, packet.TypePuback, p.PacketID, packet.Success))
	}
	return p
}

// expectEnd wants the connection closed by the server, to 5.0 clients with a
// DISCONNECT of this reason.
func (c *client) expectEnd(want packet.Reason) {
	c.t.Helper()
	if c.v == packet.V5 {
		var p packet.Disconnect
		c.check(p.Decode(c.v, c.expect(packet.TypeDisconnect)))
		if p.Reason != want {
			c.t.Errorf("DISCONNECT says %s, want %s", p.Reason, want)
		}
	}
	c.expectClosed()
}

func (c *client) expectClosed() {
	c.t.Helper()
	c.nc.SetReadDeadline(time.Now().Add(patience))
	if h, _, err := c.in.Next(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("the connection is still open: %s, %v", h.Type, err)
	} else if !errors.Is(err, io.EOF) {
		c.t.Logf("closed with %v", err)
	}
}

// ping proves that everything sent before was handled, and that nothing is
// waiting to be read.
func (c *client) ping() {
	c.t.Helper()
	c.write(packet.AppendPingreq(nil))
	c.expect(packet.TypePingresp)
}

func (c *client) publish(topic string, qos byte, id uint16, change ...func(*packet.Publish)) {
	c.t.Helper()
	p := packet.Publish{Topic: []byte(topic), QoS: qos, PacketID: id, Payload: []byte("x")}
	for _, f := range change {
		f(&p)
	}
	c.write(p.AppendTo(nil, c.v))
}

// subscribe subscribes and returns the reasons.
func (c *client) subscribe(filter string, o packet.Options) packet.Reason {
	c.t.Helper()
	p := packet.Subscribe{PacketID: 1}
	p.Add(filter, o)
	c.write(p.AppendTo(nil, c.v))
	var ack packet.Suback
	c.check(ack.Decode(c.v, c.expect(packet.TypeSuback)))
	return packet.Reason(ack.Reasons[0])
}
