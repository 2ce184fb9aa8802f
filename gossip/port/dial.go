package port

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"

	"cistern/gossip/sitekey"
)

// Dial connects to another gateway's site port for that protocol. It takes
// HandshakeTime at most. The error says whether the process is not there
// (syscall.ECONNREFUSED), has another key (sitekey.ErrKeysDiffer) or does not
// serve the protocol (ErrUnknownProtocol).
//
// The address says who ought to answer; PeerName says who has.
func (p *Port) Dial(ctx context.Context, addr, protocol string) (net.Conn, error) {
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return nil, fmt.Errorf("site port: %s at %s: %w", protocol, addr, net.ErrClosed)
	}
	return (&Dialer{p.tls}).Dial(ctx, addr, protocol)
}

// Dialer connects to site ports for somebody who has none: an operator's machine.
type Dialer struct{ tls *tls.Config }

// NewDialer returns a dialer that shows that name, which should be no gateway's.
func NewDialer(key sitekey.Key, name string) (*Dialer, error) {
	config, err := key.TLS(name)
	if err != nil {
		return nil, fmt.Errorf("site port: %w", err)
	}
	return &Dialer{config}, nil
}

// Dial is as that of Port.
func (d *Dialer) Dial(ctx context.Context, addr, protocol string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, HandshakeTime)
	defer cancel()
	t, err := d.dial(ctx, addr, protocol)
	if err != nil {
		return nil, fmt.Errorf("site port: %s at %s: %w", protocol, addr, err)
	}
	return t, nil
}

func (d *Dialer) dial(ctx context.Context, addr, protocol string) (*tls.Conn, error) {
	raw, err := (&net.Dialer{KeepAliveConfig: keepAlive}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	limitSilence(raw.(*net.TCPConn))
	config := d.tls.Clone()
	config.NextProtos = []string{protocol}
	t := tls.Client(raw, config)
	err = t.HandshakeContext(ctx)
	if err == nil && t.ConnectionState().NegotiatedProtocol != protocol || isRemoteALPN(err) {
		err = ErrUnknownProtocol
	}
	if err != nil {
		raw.Close()
		return nil, sitekey.Explain(err)
	}
	return t, nil
}

// isRemoteALPN recognises TLS's alert for it, whose type is not exported.
func isRemoteALPN(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" && strings.HasSuffix(op.Err.Error(), "no application protocol")
}

// PeerName returns the name in the certificate of the gateway at the other end
// of c, "" when c has not come from a Port.
func PeerName(c net.Conn) string {
	for {
		switch x := c.(type) {
		case interface{ ConnectionState() tls.ConnectionState }:
			return sitekey.PeerName(x.ConnectionState())
		case interface{ NetConn() net.Conn }: // something around a connection
			c = x.NetConn()
		default:
			return ""
		}
	}
}
