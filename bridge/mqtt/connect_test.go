package mqtt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"cistern/bridge/mqtt/packet"
)

func TestConnackTellsWhatToExpect(t *testing.T) {
	g := start(t)
	c := g.dial(packet.V5)
	ack := c.hello("", func(p *packet.Connect) {
		p.CleanStart = false
		p.Properties.SetNumber(packet.SessionExpiryInterval, 3600)
	})
	props := &ack.Properties
	for id, want := range map[packet.Property]uint32{
		packet.ReceiveMaximum:          256,
		packet.MaximumPacketSize:       256 << 10,
		packet.TopicAliasMaximum:       32,
		packet.SharedAvailable:         0,
		packet.SubscriptionIDAvailable: 0,
		packet.SessionExpiryInterval:   0,
	} {
		if got := props.Number(id, 999); got != want {
			t.Errorf("property %d is %d, want %d", id, got, want)
		}
	}
	if !strings.HasPrefix(string(props.Field(packet.AssignedClientID)), "auto-") {
		t.Errorf("assigned client id %q", props.Field(packet.AssignedClientID))
	}
	if ack.SessionPresent || props.Has(packet.RetainAvailable) || props.Has(packet.MaximumQoS) {
		t.Errorf("%+v", ack)
	}
}

func TestRefusedConnects(t *testing.T) {
	for _, tc := range []struct {
		name   string
		v      packet.Version
		change func(*packet.Connect)
		want   packet.Reason // 3.1.1: the return code
	}{
		{"3.1.1 empty id without clean session", packet.V311, func(p *packet.Connect) { p.ClientID, p.CleanStart = nil, false }, 2},
		{"3.1.1 id too long", packet.V311, func(p *packet.Connect) { p.ClientID = make([]byte, 257); fill(p.ClientID) }, 2},
		{"5.0 id too long", packet.V5, func(p *packet.Connect) { p.ClientID = make([]byte, 257); fill(p.ClientID) }, packet.ClientIdentifierNotValid},
		{"5.0 enhanced authentication", packet.V5, func(p *packet.Connect) { p.Properties.SetField(packet.AuthenticationMethod, []byte("GSSAPI")) }, packet.BadAuthenticationMethod},
		{"5.0 malformed", packet.V5, func(p *packet.Connect) { p.ClientID = []byte{0xff} }, packet.MalformedPacket},
		{"level 6", packet.V5, func(p *packet.Connect) { p.Version = 6 }, packet.UnsupportedProtocolVersion},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := start(t)
			c := g.dial(tc.v)
			if ack := c.hello("dev", tc.change); ack.Reason != tc.want {
				t.Errorf("CONNACK says %v, want %v", ack.Reason, tc.want)
			}
			c.expectClosed()
		})
	}
}

func fill(b []byte) {
	for i := range b {
		b[i] = 'x'
	}
}

func TestMQTT31IsToldItsVersionIsOld(t *testing.T) {
	g := start(t)
	c := g.dial(packet.V311)
	c.write([]byte("\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x00\x00\x01a"))
	var ack packet.Connack
	c.check(ack.Decode(packet.V311, c.expect(packet.TypeConnack)))
	if ack.Reason != 1 {
		t.Errorf("return code %d", ack.Reason)
	}
	c.expectClosed()
}

type oneUser struct{ busy bool }

func (o oneUser) Authenticate(_ context.Context, user string, password []byte) error {
	switch {
	case o.busy:
		return errors.New("too much to do")
	case user == "eve" && string(password) == "secret":
		return nil
	}
	return ErrBadCredentials
}

func TestUsers(t *testing.T) {
	login := func(user, password string) func(*packet.Connect) {
		return func(p *packet.Connect) {
			p.HasUserName, p.UserName = user != "", []byte(user)
			p.HasPassword, p.Password = user != "", []byte(password)
		}
	}
	for _, tc := range []struct {
		name      string
		auth      Authenticator
		anonymous bool
		change    func(*packet.Connect)
		want      packet.Reason
		want311   packet.Reason
	}{
		{"right password", oneUser{}, false, login("eve", "secret"), 0, 0},
		{"wrong password", oneUser{}, false, login("eve", "guess"), packet.BadUserNameOrPassword, 4},
		{"wrong password where anonymous is allowed", oneUser{}, true, login("eve", "guess"), packet.BadUserNameOrPassword, 4},
		{"nobody on loopback with users", oneUser{}, false, login("", ""), packet.NotAuthorized, 5},
		{"nobody where anonymous is allowed", oneUser{}, true, login("", ""), 0, 0},
		{"a name where there are no users", nil, false, login("any", "thing"), 0, 0},
		{"too busy to check", oneUser{busy: true}, false, login("eve", "secret"), packet.ServerBusy, 3},
	} {
		for i, v := range versions {
			t.Run(fmt.Sprint(tc.name, " ", v), func(t *testing.T) {
				g := start(t, func(c *Config) {
					c.Auth = tc.auth
					c.Listeners[0].Anonymous = tc.anonymous
				})
				c := g.dial(v)
				if ack, want := c.hello("dev", tc.change), []packet.Reason{tc.want311, tc.want}[i]; ack.Reason != want {
					t.Errorf("got %v, want %v", ack.Reason, want)
				}
			})
		}
	}
}

func TestTakeOver(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			g := start(t)
			old := g.connect(v, "dev")
			old.publish("a", 1, 1)
			g.store.await(1)
			young := g.connect(v, "dev")
			old.expectEnd(packet.SessionTakenOver)
			g.store.commit(-1)
			young.ping() // the old connection's ack does not come here
		})
	}
}

func TestTakeOverOfOneThatWaits(t *testing.T) {
	g := start(t, func(c *Config) { c.Limits.ReceiveMaximum = 1 })
	old := g.connect(packet.V311, "dev")
	old.publish("a", 1, 1)
	old.publish("a", 1, 2) // serve waits for the window
	g.store.await(1)
	g.connect(packet.V311, "dev").ping()
	old.expectClosed()
}

func TestManyTakeOversAtOnce(t *testing.T) {
	g := start(t)
	done := make(chan bool)
	for range 20 {
		go func() {
			nc, err := net.Dial("tcp", g.addr)
			if err == nil {
				defer nc.Close()
				nc.Write((&packet.Connect{Version: packet.V311, CleanStart: true, ClientID: []byte("same")}).AppendTo(nil))
				packet.NewReader(nc, 100, nil).Next()
			}
			done <- err == nil
		}()
	}
	for range 20 {
		if !<-done {
			t.Fatal("could not connect")
		}
	}
	g.connect(packet.V311, "same").ping()
}

// Slowloris: a CONNECT that never ends costs a connection for ConnectTime.
func TestConnectDeadline(t *testing.T) {
	g := start(t, func(c *Config) { c.Limits.ConnectTime = 150 * time.Millisecond })
	silent, slow := g.dial(packet.V311), g.dial(packet.V311)
	stop := make(chan struct{})
	go func() { // a byte now and then does not help
		for _, b := range (&packet.Connect{Version: packet.V311, ClientID: make([]byte, 200)}).AppendTo(nil) {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				slow.nc.Write([]byte{b})
			}
		}
	}()
	silent.expectClosed()
	slow.expectClosed()
	close(stop)
}

// The deadline of the CONNECT must not outlive it: a client without keep alive
// may be idle for ever. A client that was too late for it is refused, as it must be
// where the machine stands still, and tries again.
func TestIdleWithoutKeepAlive(t *testing.T) {
	const connectTime = 50 * time.Millisecond
	g := start(t, func(c *Config) { c.Limits.ConnectTime = connectTime })
	var c *client
	for end := time.Now().Add(patience); c == nil; c = g.login(packet.V311, "dev") {
		if time.Now().After(end) {
			t.Fatalf("no CONNECT was within %s", connectTime)
		}
	}
	for range 3 {
		time.Sleep(2 * connectTime) // what is awaited is that nothing happens
		c.ping()
	}
}

func TestKeepAlive(t *testing.T) {
	g := start(t)
	c := g.dial(packet.V5)
	before := time.Now()
	c.hello("dev", func(p *packet.Connect) { p.KeepAlive = 1 })
	c.expectEnd(packet.KeepAliveTimeout)
	if took := time.Since(before); took < 1400*time.Millisecond {
		t.Errorf("closed after %s, want 1.5s", took)
	}
	if c := g.connect(packet.V311, "dev", func(p *packet.Connect) { p.KeepAlive = 65535 }); true {
		c.ping() // one and a half times that does not fit 16 bits
	}
}

// A client is not blamed for the time in which we did not read it. All it says is
// under way before the keep alive passes, the PINGREQ where it is not read.
func TestKeepAliveWhileTheWindowIsFull(t *testing.T) {
	g := start(t, func(c *Config) { c.Limits.ReceiveMaximum = 1 })
	c := g.dial(packet.V311)
	said := (&packet.Connect{Version: c.v, CleanStart: true, ClientID: []byte("dev"), KeepAlive: 1}).AppendTo(nil)
	for id := range uint16(2) {
		said = (&packet.Publish{Topic: []byte("a"), QoS: 1, PacketID: id + 1}).AppendTo(said, c.v)
	}
	c.write(said)
	g.store.await(1)
	g.untilItWaits("dev")
	c.write(packet.AppendPingreq(nil))
	time.Sleep(1600 * time.Millisecond) // the keep alive passes
	g.store.commit(-1)
	g.store.await(1)
	g.store.commit(-1)
	c.expect(packet.TypeConnack)
	c.expectAck(packet.TypePuback)
	came := map[packet.Type]int{}
	for range 2 { // in whatever order
		c.nc.SetReadDeadline(time.Now().Add(patience))
		h, _, err := c.in.Next()
		if err != nil {
			t.Fatalf("%v after %v", err, came)
		}
		came[h.Type]++
	}
	if came[packet.TypePuback] != 1 || came[packet.TypePingresp] != 1 {
		t.Errorf("got %v", came)
	}
}

// untilItWaits returns when a client is not read, since its window is full.
func (g *gateway) untilItWaits(client string) {
	g.t.Helper()
	waits := func() bool {
		g.mu.Lock()
		c := g.clients[client]
		g.mu.Unlock()
		if c == nil {
			return false
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.reading
	}
	for end := time.Now().Add(patience); !waits(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			g.t.Fatalf("client %s is read on", client)
		}
	}
}

func TestPacketThatNeverEnds(t *testing.T) {
	g := start(t, func(c *Config) { c.Limits.PacketTime = 100 * time.Millisecond })
	c := g.connect(packet.V5, "dev")
	c.write([]byte{0x30, 0x7f, 0x00})
	c.expectEnd(packet.MessageRateTooHigh)
}

func TestLimitsOfConnections(t *testing.T) {
	t.Run("at once", func(t *testing.T) {
		g := start(t, func(c *Config) { c.Limits.Connections = 2 })
		g.connect(packet.V311, "a")
		b := g.connect(packet.V311, "b")
		g.dial(packet.V311).expectClosed()
		b.write([]byte{0xE0, 0})
		b.expectClosed()
		for end := time.Now().Add(patience); g.Connections() > 1 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		g.connect(packet.V311, "c").ping()
	})
	t.Run("per second", func(t *testing.T) {
		g := start(t, func(c *Config) { c.Limits.ConnectRate, c.Limits.ConnectBurst = 1, 2 })
		g.connect(packet.V311, "a")
		g.connect(packet.V311, "b")
		const most = 50 // each second that passes lets one more in
		for n := 1; g.login(packet.V311, fmt.Sprint(n)) != nil; n++ {
			if n == most {
				t.Fatalf("%d more were let in", n)
			}
		}
	})
}

// flaky is a listener that fails as one does when descriptors run out.
type flaky struct {
	net.Listener
	left int
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.left > 0 {
		f.left--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return f.Listener.Accept()
}

func TestAcceptSurvivesErrors(t *testing.T) {
	st := newStore()
	s, err := New(Config{Partitions: fourPartitions, Appender: st, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.listeners = []*listener{{&flaky{ln, 5}, true}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	g := &gateway{Server: s, t: t, addr: ln.Addr().String()}
	g.connect(packet.V311, "dev").ping()
	if got := s.count.acceptErrors.Get(); got != 5 {
		t.Errorf("%d errors counted", got)
	}
	cancel()
	<-done
}

func TestListenTellsWhatIsTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s, err := New(Config{
		Listeners:  []Listener{{Address: "127.0.0.1:0"}, {Address: ln.Addr().String()}},
		Partitions: fourPartitions,
		Appender:   newStore(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err == nil || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("got %v", err)
	}
	if len(s.Addrs()) != 0 {
		t.Error("the other address is still taken")
	}
}

func TestStopWaitsForAcks(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			g := start(t, func(c *Config) { c.Limits.StopTime = patience })
			c := g.connect(v, "dev")
			c.publish("a", 1, 1)
			g.store.await(1)
			stopped := make(chan struct{})
			go func() { g.stop(); close(stopped) }()
			for !g.stopping.Load() {
				time.Sleep(time.Millisecond)
			}
			g.store.commit(-1)
			if ack := c.expectAck(packet.TypePuback); ack.PacketID != 1 {
				t.Errorf("%+v", ack)
			}
			c.expectEnd(packet.ServerShuttingDown)
			c.nc.Close()
			<-stopped
		})
	}
}

func TestStopDoesNotWaitForever(t *testing.T) {
	g := start(t, func(c *Config) { c.Limits.StopTime = 50 * time.Millisecond })
	c := g.connect(packet.V5, "dev")
	silent := g.dial(packet.V5) // never says CONNECT
	defer silent.nc.Close()
	c.publish("a", 1, 1)
	g.store.await(1)
	go func() { g.stop() }()
	c.expectEnd(packet.ServerShuttingDown)
	c.nc.Close()
	g.store.commit(-1) // too late: nobody is there to be told
}
