package mqttsink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"cistern/bridge/drain"
	"cistern/bridge/mqtt/pahoconn"
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

	guard atomic.Pointer[guard] // nil: not dialed yet
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
	c.guard.Load().Conn.Close()
	c.client.Disconnect(0)
	group.Wait()
	c.queue.end(cause)
	return cause
}

func (c *conn) options() *mqtt.ClientOptions {
	settings := pahoconn.Config{
		Address:  c.address,
		ClientID: c.cfg.ClientID,
		User:     c.cfg.User,
		Password: c.cfg.Password,
		TLS:      c.cfg.TLS,
		Timeout:  c.timing.connect,
		Dial:     c.cfg.Dial,
		Guard:    c.watch,
		Lost:     c.fail,
	}
	return settings.Options(c.ctx).
		SetCleanSession(true). // see doc.go
		SetKeepAlive(c.timing.keepAlive).
		SetPingTimeout(c.timing.answer).
		SetWriteTimeout(handoverTimeout) // of the handover: guard has its own for writing
}

// watch puts the guard before a connection. A broker that owes an answer, to
// PINGREQ or to PUBLISH, for longer than AnswerTimeout loses the connection: so
// "up" means an answer in the last minute and a half.
func (c *conn) watch(nc net.Conn) net.Conn {
	g := newGuard(nc)
	g.end, g.answered = c.fail, c.link.Answered
	c.guard.Store(g)
	return g
}

// hangUp closes the socket, if there is one.
func (c *conn) hangUp() {
	if g := c.guard.Load(); g != nil {
		g.Close()
	}
}

// open connects. After an error paho has given up and cleaned up.
func (c *conn) open() error {
	if _, err := pahoconn.Connect(c.ctx, c.client, c.hangUp); err != nil {
		return fmt.Errorf("connecting to %s: %w%s", c.address, err, pahoconn.Hint(err))
	}
	return nil
}
