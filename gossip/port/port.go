// Package port is the one door for everything that gateways say to each other.
//
// A gateway listens on one TCP port, the site port. What comes in is TLS 1.3
// with certificates of the site key on both sides (see gossip/sitekey), and the
// application protocol that TLS negotiates (ALPN) says which part of the gateway
// a connection is for: one port in the firewall, one place that decides who may
// speak, and no protocol that could forget to ask.
//
//	           ┌───────────────┐ cistern-raft    ┌──────────┐
//	peer ─TCP─▶│ gate ─ TLS 1.3│────────────────▶│ Listener │──▶ Accept
//	           │  who, and what│ cistern-kafka   ├──────────┤
//	           │  for?         │────────────────▶│ Listener │──▶ Accept
//	           └───────────────┘ anything else   └──────────┘
//	                                 refused
//
// A part asks for its Listener by protocol and gets connections whose handshake
// is over: *tls.Conn, the peer's name by PeerName. To reach another gateway it
// calls Dial with the protocol; an operator's machine, which has no port of its
// own, calls that of a Dialer.
//
// Strangers can connect too, so everything before authentication is limited:
// handshakes run beside the accept loop, HandshakesMax at a time and
// HandshakeTime each. When there are too many, the one that has waited longest
// gives way, of the address that has most of them: a good peer is done within
// milliseconds and gets in through any flood from elsewhere.
//
// A peer that falls silent (cable, power) is noticed within SilenceMax, by TCP
// itself, whether or not there was anything to say.
package port

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"cistern/gossip/sitekey"
)

// Limits of a site port.
const (
	HandshakesMax  = 32              // that have not shown yet who they are
	HandshakeTime  = 5 * time.Second // for one of them, and for Dial
	ConnectionsMax = 256             // of one protocol, open at once
	PendingMax     = 64              // of one protocol, waiting for Accept
)

// How the accept loop waits when the process has run out of file descriptors.
const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// ErrUnknownProtocol means that nobody serves this protocol at the other end:
// not yet, no longer, or not in its version of the software.
var ErrUnknownProtocol = errors.New("protocol is not served there")

// Port is a gateway's site port. It is open from Listen on, and serves while
// Run runs.
type Port struct {
	Logger *slog.Logger // set before Run; nil is slog.Default

	tls   *tls.Config
	ln    *net.TCPListener
	gate  gate
	tell  teller
	stats stats

	mu        sync.Mutex
	closed    bool
	listeners map[string]*listener
	conns     map[*conn]struct{} // accepted and not closed yet
}

// Listen opens the site port of the gateway with that name. End it by Close or
// by the end of Run.
func Listen(addr string, key sitekey.Key, name string) (*Port, error) {
	config, err := key.TLS(name)
	if err != nil {
		return nil, fmt.Errorf("site port: %w", err)
	}
	ln, err := (&net.ListenConfig{KeepAliveConfig: keepAlive}).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("site port: %w", err)
	}
	return &Port{tls: config, ln: ln.(*net.TCPListener),
		listeners: map[string]*listener{}, conns: map[*conn]struct{}{}}, nil
}

// Addr returns the address that the port listens on.
func (p *Port) Addr() net.Addr { return p.ln.Addr() }

// Run serves until ctx ends. Then it closes the port with its listeners and
// every connection that came by it, and returns nil when nothing runs any more.
func (p *Port) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, p.Close)
	defer stop()
	var handshakes sync.WaitGroup
	defer handshakes.Wait()
	defer p.Close()

	pause := acceptPauseMin
	for {
		raw, err := p.ln.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			p.say(slog.LevelWarn, "the site port can't take connections", "error", err)
			if sleep(ctx, pause) != nil {
				return nil
			}
			pause = min(2*pause, acceptPauseMax)
			continue
		}
		pause = acceptPauseMin
		if c := p.admit(raw); c != nil {
			handshakes.Go(func() { p.handshake(ctx, c) })
		}
	}
}

// Close ends the port: its listeners, what waits in them, and every connection
// that came by it. Connections that were dialed belong to who dialed them.
func (p *Port) Close() {
	p.mu.Lock()
	p.closed = true
	listeners, conns := p.listeners, p.conns
	p.listeners, p.conns = map[string]*listener{}, map[*conn]struct{}{}
	p.mu.Unlock()

	p.ln.Close()
	for _, l := range listeners {
		l.end()
	}
	for c := range conns {
		c.Close()
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
