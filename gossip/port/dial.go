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
	ctx, cancel := context.WithTimeout(ctx, HandshakeTime)
	defer cancel()
	t, err := p.dial(ctx, addr, protocol)
	if err != nil {
		return nil, fmt.Errorf("site port: %s at %s: %w", protocol, addr, err)
	}
	return t, nil
}

func (p *Port) dial(ctx context.Context, addr, protocol string) (*tls.Conn, error) {
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return nil, net.ErrClosed
	}
	raw, err := (&net.Dialer{KeepAliveConfig: keepAlive}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	limitSilence(raw.(*net.TCPConn))
	config := p.tls.Clone()
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
