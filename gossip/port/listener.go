package port

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
)

// errFull means that a part of this gateway has as many connections as it may.
var errFull = errors.New("too many connections")

// listener is one protocol's side of the port.
type listener struct {
	port     *Port
	protocol string
	queue    chan *tls.Conn // PendingMax; only offer sends, holding mu
	done     chan struct{}  // closed by end

	mu    sync.Mutex
	ended bool
	open  int // connections handed out or waiting in queue
}

// Listener returns where connections for that protocol come in. Asking again
// returns the same one until it is closed. Peers that ask for a protocol
// without a listener are refused.
func (p *Port) Listener(protocol string) net.Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.listeners[protocol]; l != nil {
		return l
	}
	l := &listener{port: p, protocol: protocol, queue: make(chan *tls.Conn, PendingMax), done: make(chan struct{})}
	if p.closed {
		l.end()
		return l
	}
	p.listeners[protocol] = l
	return l
}

// Accept waits for the next peer. What it returns is a *tls.Conn whose
// handshake is over.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.done: // rather than what may still be in the queue
		return nil, l.errClosed()
	default:
	}
	select {
	case t := <-l.queue:
		return t, nil
	case <-l.done:
		return nil, l.errClosed()
	}
}

func (l *listener) errClosed() error {
	return &net.OpError{Op: "accept", Net: l.protocol, Addr: l.Addr(), Err: net.ErrClosed}
}

// Addr returns the address of the site port.
func (l *listener) Addr() net.Addr { return l.port.Addr() }

// Close ends the listener with what waits in it. Connections that Accept has
// returned stay open.
func (l *listener) Close() error {
	l.port.mu.Lock()
	if l.port.listeners[l.protocol] == l {
		delete(l.port.listeners, l.protocol)
	}
	l.port.mu.Unlock()
	l.end()
	return nil
}

func (l *listener) end() {
	l.mu.Lock()
	ended := l.ended
	l.ended = true
	l.mu.Unlock()
	if ended {
		return
	}
	close(l.done)
	for { // nobody sends any more: offer looks at ended
		select {
		case t := <-l.queue:
			t.NetConn().Close() // without TLS's farewell, which could block
		default:
			return
		}
	}
}

// offer queues t for Accept, and counts c until it is closed.
func (l *listener) offer(t *tls.Conn, c *conn) error {
	l.mu.Lock()
	switch {
	case l.ended:
		defer l.mu.Unlock()
		return ErrUnknownProtocol
	case l.open == ConnectionsMax:
		defer l.mu.Unlock()
		return fmt.Errorf("%w for %s: %d are open", errFull, l.protocol, l.open)
	case len(l.queue) == PendingMax:
		defer l.mu.Unlock()
		return fmt.Errorf("%w for %s: %d wait to be accepted", errFull, l.protocol, PendingMax)
	}
	l.open++
	l.queue <- t // has room: senders hold mu
	l.mu.Unlock()
	c.onClose(l.released) // may call at once, so not under mu
	return nil
}

func (l *listener) released() {
	l.mu.Lock()
	l.open--
	l.mu.Unlock()
}
