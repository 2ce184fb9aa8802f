package nats

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// Limits of a client.
const (
	// LineBytesMax is the longest line that a server may send. INFO is by far
	// the longest.
	LineBytesMax = 64 << 10
	// AnswerBytesMax is the largest message that is taken from a server.
	AnswerBytesMax = 4 << 20
	// PendingMax is how many requests may be unanswered.
	PendingMax = 4096
	// TimeoutDefault bounds dialing, TLS and CONNECT together.
	TimeoutDefault = 15 * time.Second

	writeTimeout = 30 * time.Second       // for one write of up to writeBytes
	lastWords    = 200 * time.Millisecond // that a server has for them, after a write has failed
	writeBytes   = 32 << 10
)

// Errors that callers tell apart.
var (
	ErrClosed       = errors.New("nats: connection closed")
	ErrAuth         = errors.New("nats: the server does not let us in")
	ErrNoResponders = errors.New("nats: nobody answers there")
	ErrPermission   = errors.New("nats: not permitted")
	ErrProtocol     = errors.New("nats: the server breaks the protocol")
)

// Config says which servers there are and who we are.
type Config struct {
	URLs []string // nats://host[:4222] or tls://host[:4222], tried in this order
	Name string   // for people who look at the server

	User     string
	Password string
	Token    string
	Creds    *Creds // nil: none

	// TLS is how to encrypt. With nil only servers that insist, or a tls:// URL,
	// are spoken to in TLS, with the system's certificates.
	TLS *tls.Config

	Timeout time.Duration // of connecting to one server; 0: TimeoutDefault

	// Dial replaces the dialer; nil: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// endpoint is one server to try.
type endpoint struct {
	host    string // for its certificate
	address string
	tls     bool
}

// Validate reports the first thing about c that can't be.
func (c *Config) Validate() error {
	_, err := c.endpoints()
	return err
}

func (c *Config) endpoints() ([]endpoint, error) {
	if len(c.URLs) == 0 {
		return nil, errors.New("nats: no server is named")
	}
	var all []endpoint
	for _, s := range c.URLs {
		u, err := url.Parse(s)
		if err != nil {
			return nil, fmt.Errorf("nats: url: %w", err)
		}
		switch {
		case u.Scheme != "nats" && u.Scheme != "tls", u.Hostname() == "", u.Opaque != "", strings.Trim(u.Path, "/") != "":
			return nil, fmt.Errorf("nats: url %q must look like nats://host:4222 or tls://host:4222", u.Redacted())
		case u.User != nil:
			return nil, fmt.Errorf("nats: url %q: user and password do not belong there", u.Redacted())
		}
		port := u.Port()
		if port == "" {
			port = "4222"
		}
		all = append(all, endpoint{host: u.Hostname(), address: net.JoinHostPort(u.Hostname(), port), tls: u.Scheme == "tls" || c.TLS != nil})
	}
	return all, nil
}

// tlsFor returns how to encrypt towards a server.
func (c *Config) tlsFor(e endpoint) *tls.Config {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS != nil {
		t = c.TLS.Clone()
	}
	if t.ServerName == "" {
		t.ServerName = e.host
	}
	return t
}
