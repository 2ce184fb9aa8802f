package source

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
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

	mu    sync.Mutex
	guard *guard // set by dial, on paho's goroutine
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
	return mqtt.NewClientOptions().
		AddBroker("tcp://" + c.endpoint.address).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return c.dial(tlsConfig) }).
		SetProtocolVersion(4). // explicit: paho would offer the password to 3.1 as well
		SetClientID(c.config.ClientID).
		SetUsername(c.config.User).
		SetPassword(password).
		SetCleanSession(false).
		SetStore(noStore{}).
		SetAutoReconnect(false).
		SetAutoAckDisabled(true).
		SetOrderMatters(true).
		SetDefaultPublishHandler(c.handle). // before connecting: a resumed session sends at once
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { c.fail(err) }).
		SetConnectTimeout(c.timing.connect).
		SetKeepAlive(c.config.KeepAlive).
		SetPingTimeout(2 * c.timing.stall). // PINGRESP lies behind what a stall holds back
		SetWriteTimeout(c.timing.subscribe), nil
}

// dial replaces paho's, for the guard and to end with ctx.
func (c *connection) dial(tlsConfig *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.timing.connect)
	defer cancel()
	conn, err := c.dialNet(ctx, "tcp", c.endpoint.address)
	if err != nil {
		return nil, err
	}
	if tlsConfig != nil {
		t := tls.Client(conn, tlsConfig)
		if err := t.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		conn = t
	}
	g := newGuard(conn)
	g.end = c.fail
	g.drop = c.tooLarge
	c.mu.Lock()
	defer c.mu.Unlock()
	c.guard = g
	return g, nil
}

func (c *connection) socket() *guard {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.guard
}

// open connects. After an error paho has given up and cleaned up.
func (c *connection) open() error {
	token := c.client.Connect().(*mqtt.ConnectToken)
	select {
	case <-token.Done():
	case <-c.ctx.Done():
		if g := c.socket(); g != nil {
			g.Close() // dial ends with ctx, the wait for CONNACK with the socket
		}
		<-token.Done()
	}
	if err := token.Error(); err != nil {
		return fmt.Errorf("connect: %w%s", err, connectHint(err))
	}
	c.connected(token.SessionPresent())
	return nil
}

func connectHint(err error) string {
	switch {
	case errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword), errors.Is(err, packets.ErrorRefusedNotAuthorised):
		return ": check user, password_file and the broker's access list"
	case errors.Is(err, packets.ErrorRefusedIDRejected):
		return ": check client_id"
	}
	return ""
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
	g := c.socket()
	if clean {
		g.linger(c.timing.disconnect)
	}
	c.client.Disconnect(uint(2 * c.timing.disconnect.Milliseconds())) // returns when it is done
	g.Close()
}
