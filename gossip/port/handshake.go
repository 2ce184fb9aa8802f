package port

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"cistern/gossip/sitekey"
)

// admit lets a new connection in at the gate, or returns nil when the port has
// been closed meanwhile.
func (p *Port) admit(raw *net.TCPConn) *conn {
	c := newConn(raw)
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		raw.Close()
		return nil
	}
	p.conns[c] = struct{}{}
	c.forget = func() {
		p.mu.Lock()
		delete(p.conns, c)
		p.mu.Unlock()
	}
	p.mu.Unlock()

	if evicted := p.gate.enter(c); evicted != nil {
		p.stats.evicted.Add(1) // before: who sees its connection end finds it counted
		evicted.Close()
		p.say(slog.LevelWarn, "too many connections to the site port that don't say who they are", "address", evicted.host)
	}
	return c
}

// handshake finds out who c is and what for, and hands it to the listener.
func (p *Port) handshake(ctx context.Context, c *conn) {
	t, err := p.authenticate(ctx, c)
	p.gate.leave(c)
	if err == nil {
		err = p.deliver(t, c)
	}
	if err != nil {
		p.refused(ctx, c, err) // before: who sees the connection end finds it counted
		c.Close()
	}
}

func (p *Port) authenticate(ctx context.Context, c *conn) (*tls.Conn, error) {
	config := p.tls.Clone()
	config.NextProtos = p.protocols()
	t := tls.Server(c, config)
	if err := c.SetDeadline(time.Now().Add(HandshakeTime)); err != nil {
		return nil, err
	}
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, sitekey.Explain(err)
	}
	return t, c.SetDeadline(time.Time{})
}

func (p *Port) protocols() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	names := make([]string, 0, len(p.listeners))
	for name := range p.listeners {
		names = append(names, name)
	}
	return names
}

// deliver puts t where Accept finds it. A peer that names no protocol, or whose
// listener was closed during the handshake, is turned away here.
func (p *Port) deliver(t *tls.Conn, c *conn) error {
	p.mu.Lock()
	l := p.listeners[t.ConnectionState().NegotiatedProtocol]
	p.mu.Unlock()
	if l == nil {
		return ErrUnknownProtocol
	}
	return l.offer(t, c)
}

// refused counts and tells why c did not get in.
func (p *Port) refused(ctx context.Context, c *conn, err error) {
	switch {
	case ctx.Err() != nil, errors.Is(err, net.ErrClosed): // closing, or evicted and counted as such
	case errors.Is(err, io.EOF): // somebody looked whether the port is open
	case errors.Is(err, sitekey.ErrKeysDiffer):
		p.stats.otherKey.Add(1)
		p.say(slog.LevelWarn, "a peer was refused at the site port: it has another site key", "address", c.host, "error", err)
	case errors.Is(err, errFull):
		p.stats.full.Add(1)
		p.say(slog.LevelWarn, "a peer was refused at the site port", "address", c.host, "error", err)
	default:
		p.stats.invalid.Add(1)
		p.log().Debug("a connection to the site port failed", "address", c.host, "error", err)
	}
}
