package mqttsink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"cistern/bridge/drain"
)

// conn is one connection to the broker with all that must not outlive it: paho's
// client, the queue, what is under way, and two goroutines.
type conn struct {
	*Sink
	client mqtt.Client
	flying chan flight // published, in order; has room for the window
	useful atomic.Bool // something was acknowledged
	queue

	// ctx ends with the connection; its cause says why.
	ctx  context.Context
	fail context.CancelCauseFunc

	guarding sync.Mutex
	guard    *guard // set by dial, on paho's goroutine
}

// handoverTimeout is how long paho may take to take a message. It has nothing
// else to do then, unless the connection has just ended.
const handoverTimeout = 2 * time.Second

func newConn(ctx context.Context, s *Sink) *conn {
	c := &conn{Sink: s, flying: make(chan flight, s.cfg.Window)}
	c.ctx, c.fail = context.WithCancelCause(ctx)
	c.queue.init(s)
	return c
}

// run connects, drains until the connection or its context ends, and tells every
// lane what became of its batches. The error says why it ended.
func (c *conn) run() error {
	defer c.fail(nil)
	c.client = mqtt.NewClient(c.options())
	if err := c.open(); err != nil {
		c.suspicion.unreachable()
		return err
	}
	c.link.Up(c, func(u *drain.Uplink) { u.ClusterID = c.address }, "broker", c.address, "client_id", c.cfg.ClientID)
	var group sync.WaitGroup
	group.Go(c.publishAll)
	group.Go(c.acknowledge)
	<-c.ctx.Done()
	cause := context.Cause(c.ctx)
	if errors.Is(cause, context.Canceled) {
		c.client.Disconnect(uint(handoverTimeout.Milliseconds()))
	}
	c.socket().Conn.Close()
	c.client.Disconnect(0)
	group.Wait()
	c.queue.end(cause)
	return cause
}

func (c *conn) options() *mqtt.ClientOptions {
	return mqtt.NewClientOptions().
		AddBroker("tcp://" + c.address).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return c.dial() }).
		SetProtocolVersion(4). // explicit: paho would offer the password to 3.1 as well
		SetClientID(c.cfg.ClientID).
		SetUsername(c.cfg.User).
		SetPassword(c.cfg.Password).
		SetCleanSession(true). // see doc.go
		SetStore(noStore{}).
		SetAutoReconnect(false).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { c.fail(err) }).
		SetConnectTimeout(c.timing.connect).
		SetKeepAlive(c.timing.keepAlive).
		SetPingTimeout(c.timing.answer).
		SetWriteTimeout(handoverTimeout) // of the handover: guard has its own for writing
}

// dial replaces paho's, for the guard and to end with ctx.
func (c *conn) dial() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.timing.connect)
	defer cancel()
	dial := c.cfg.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	nc, err := dial(ctx, "tcp", c.address)
	if err != nil {
		return nil, err
	}
	if c.cfg.TLS != nil {
		t := tls.Client(nc, c.cfg.TLS)
		if err := t.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, err
		}
		nc = t
	}
	g := newGuard(nc)
	// A broker that owes an answer, to PINGREQ or to PUBLISH, for longer than
	// AnswerTimeout loses the connection: so "up" means an answer in the last
	// minute and a half.
	g.end, g.answered = c.fail, c.link.Answered
	c.guarding.Lock()
	defer c.guarding.Unlock()
	c.guard = g
	return g, nil
}

func (c *conn) socket() *guard {
	c.guarding.Lock()
	defer c.guarding.Unlock()
	return c.guard
}

// open connects. After an error paho has given up and cleaned up.
func (c *conn) open() error {
	token := c.client.Connect()
	select {
	case <-token.Done():
	case <-c.ctx.Done():
		if g := c.socket(); g != nil {
			g.Close() // dial ends with ctx, the wait for CONNACK with the socket
		}
		<-token.Done()
	}
	err := token.Error()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword), errors.Is(err, packets.ErrorRefusedNotAuthorised):
		return fmt.Errorf("connecting to %s: %w: check user, password_file and the broker's access list", c.address, err)
	case errors.Is(err, packets.ErrorRefusedIDRejected):
		return fmt.Errorf("connecting to %s: %w: check client_id", c.address, err)
	}
	return fmt.Errorf("connecting to %s: %w", c.address, err)
}
