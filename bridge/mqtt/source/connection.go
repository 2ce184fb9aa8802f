package source

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"cistern/bridge/mqtt/pahoconn"
)

// connection is one connection to the broker with everything that must not
// outlive it: paho's client, the window, and two goroutines (feed.go).
//
// A paho client per connection, not paho's own reconnect: packet ids mean
// something else on the next connection, and this way nothing that knows the
// old ones is left by then.
type connection struct {
	*Source
	window *window
	client mqtt.Client

	// ctx ends with the connection; its cause says why. Nothing is put into
	// the window or appended after that.
	ctx  context.Context
	fail context.CancelCauseFunc

	guard atomic.Pointer[guard] // nil: not dialed yet
}

func newConnection(ctx context.Context, s *Source) *connection {
	c := &connection{Source: s, window: newWindow(s.config.Window)}
	c.ctx, c.fail = context.WithCancelCause(ctx)
	c.window.stored = func() { s.state.committed.Add(1) }
	c.window.lost = func(error) { s.state.dropped.Add(1) }
	c.window.failed = func(err error) { c.fail(fmt.Errorf("commit: %w", err)) }
	s.state.setWindow(c.window)
	return c
}

// run connects, serves until the connection or ctx ends, and cleans up. The
// error says why a connection ended that ctx did not end.
func (c *connection) run(ctx context.Context) error {
	options, err := c.options()
	if err != nil {
		c.fail(err)
		return err
	}
	c.client = mqtt.NewClient(options)

	var fed, acked sync.WaitGroup
	ackCtx, stopAcks := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAcks()
	fed.Go(c.feed)
	acked.Go(func() { c.acknowledge(ackCtx) })

	err = c.open()
	opened := err == nil
	if opened {
		err = c.serve()
	}
	c.fail(err) // if nothing else has
	fed.Wait()
	// Only a clean stop has a broker to acknowledge to.
	if ctx.Err() != nil {
		time.AfterFunc(c.timing.drain, stopAcks)
	} else {
		stopAcks()
	}
	c.window.drain()
	acked.Wait()
	if opened {
		c.close(ctx.Err() != nil)
	}
	return err
}

func (c *connection) options() (*mqtt.ClientOptions, error) {
	tlsConfig, err := c.config.tlsConfig(c.endpoint)
	if err != nil {
		return nil, err
	}
	password, err := c.config.password()
	if err != nil {
		return nil, err
	}
	settings := pahoconn.Config{
		Address:  c.endpoint.address,
		ClientID: c.config.ClientID,
		User:     c.config.User,
		Password: password,
		TLS:      tlsConfig,
		Timeout:  c.timing.connect,
		Dial:     c.dialNet,
		Guard:    c.watch,
		Lost:     c.fail,
	}
	return settings.Options(c.ctx).
		SetCleanSession(false).
		SetAutoAckDisabled(true).
		SetOrderMatters(true).
		SetDefaultPublishHandler(c.handle). // before connecting: a resumed session sends at once
		SetKeepAlive(c.config.KeepAlive).
		SetPingTimeout(2 * c.timing.stall). // PINGRESP lies behind what a stall holds back
		SetWriteTimeout(c.timing.subscribe), nil
}

// watch puts the guard before a connection.
func (c *connection) watch(conn net.Conn) net.Conn {
	g := newGuard(conn)
	g.end = c.fail
	g.drop = c.tooLarge
	c.guard.Store(g)
	return g
}

// hangUp closes the socket, if there is one.
func (c *connection) hangUp() {
	if g := c.guard.Load(); g != nil {
		g.Close()
	}
}

// open connects. After an error paho has given up and cleaned up.
func (c *connection) open() error {
	present, err := pahoconn.Connect(c.ctx, c.client, c.hangUp)
	if err != nil {
		return fmt.Errorf("connect: %w%s", err, pahoconn.Hint(err))
	}
	c.connected(present)
	return nil
}

func (c *connection) connected(present bool) {
	lost := c.known && !present
	c.known = true
	c.state.set(func(s *Status) {
		s.ConnectedSince, s.SessionPresent = time.Now(), present
		if lost {
			s.SessionsLost++
		}
	})
	c.log.Info("connected to external broker", "client_id", c.config.ClientID, "session_present", present)
	if lost {
		c.log.Warn("the broker has forgotten our session: what it had queued for us is lost; check its persistence, autosave_interval and session expiry")
	}
}

// close ends paho's goroutines. With c.ctx over its handler no longer waits, so
// they can end.
func (c *connection) close(clean bool) {
	g := c.guard.Load()
	if clean {
		g.linger(c.timing.disconnect)
	}
	c.client.Disconnect(uint(2 * c.timing.disconnect.Milliseconds())) // returns when it is done
	g.Close()
}
