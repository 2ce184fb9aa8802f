package nats

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Info is what a server tells about itself.
type Info struct {
	ServerName  string `json:"server_name"`
	Version     string `json:"version"`
	Cluster     string `json:"cluster"`
	MaxPayload  int64  `json:"max_payload"` // headers and payload of a message
	Headers     bool   `json:"headers"`
	JetStream   bool   `json:"jetstream"`
	TLSRequired bool   `json:"tls_required"`
	TLSOffered  bool   `json:"tls_available"`
	Nonce       string `json:"nonce"`
}

// login is what a client tells.
type login struct {
	Verbose      bool   `json:"verbose"`
	Pedantic     bool   `json:"pedantic"`
	TLS          bool   `json:"tls_required"`
	Name         string `json:"name"`
	Lang         string `json:"lang"`
	Version      string `json:"version"`
	Protocol     int    `json:"protocol"`
	Headers      bool   `json:"headers"`
	NoResponders bool   `json:"no_responders"`
	Echo         bool   `json:"echo"`
	User         string `json:"user,omitempty"`
	Password     string `json:"pass,omitempty"`
	Token        string `json:"auth_token,omitempty"`
	JWT          string `json:"jwt,omitempty"`
	Signature    string `json:"sig,omitempty"`
}

// Connect connects to the first server that lets us in.
func Connect(ctx context.Context, cfg Config) (*Conn, error) {
	endpoints, err := cfg.endpoints()
	if err != nil {
		return nil, err
	}
	var failures []error
	for _, e := range endpoints {
		c, err := connect(ctx, &cfg, e)
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		failures = append(failures, fmt.Errorf("%s: %w", e.address, err))
	}
	return nil, errors.Join(failures...)
}

func connect(ctx context.Context, cfg *Config, e endpoint) (*Conn, error) {
	timeout := cfg.Timeout
	if timeout <= 0 {
		timeout = TimeoutDefault
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	dial := cfg.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	nc, err := dial(ctx, "tcp", e.address)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	nc.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	c, err := handshake(ctx, nc, cfg, e)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	c.start()
	return c, nil
}

// handshake greets the server: INFO, TLS, CONNECT, and a PING whose answer says
// that we are in.
func handshake(ctx context.Context, nc net.Conn, cfg *Config, e endpoint) (*Conn, error) {
	r := bufio.NewReaderSize(nc, LineBytesMax)
	line, err := readLine(r)
	if err != nil {
		return nil, err
	}
	verb, body, _ := strings.Cut(string(line), " ")
	var info Info
	if verb != "INFO" || json.Unmarshal([]byte(body), &info) != nil {
		return nil, fmt.Errorf("%w: its first line is no INFO: that is no NATS server, or one that begins with TLS", ErrProtocol)
	}
	switch {
	case !info.Headers:
		return nil, fmt.Errorf("%w: version %s has no headers, 2.2 has", ErrProtocol, info.Version)
	case e.tls && !info.TLSRequired && !info.TLSOffered:
		return nil, errors.New("the server does not offer TLS, and the configuration asks for it")
	}
	secure := e.tls || info.TLSRequired
	if secure {
		t := tls.Client(nc, cfg.tlsFor(e))
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		nc, r = t, bufio.NewReaderSize(t, LineBytesMax)
	}
	c := newConn(nc, r, info)
	hello, err := cfg.login(secure, info.Nonce)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(c.w, "CONNECT %s\r\nSUB %s* %s\r\nPING\r\n", hello, c.inbox, inboxID)
	if err := c.w.Flush(); err != nil {
		return nil, err
	}
	if err := c.welcome(); err != nil {
		return nil, err
	}
	return c, nc.SetDeadline(time.Time{})
}

func (cfg *Config) login(secure bool, nonce string) ([]byte, error) {
	l := login{
		TLS: secure, Name: cfg.Name, Lang: "go", Version: "cistern", Protocol: 1, Headers: true, NoResponders: true,
		User: cfg.User, Password: cfg.Password, Token: cfg.Token,
	}
	if cfg.Creds != nil {
		l.JWT, l.Signature = cfg.Creds.jwt, cfg.Creds.sign(nonce)
	}
	return json.Marshal(&l)
}

// welcome waits for the answer to the first PING.
func (c *Conn) welcome() error {
	for {
		line, err := readLine(c.r)
		if err != nil {
			return err
		}
		switch verb, rest, _ := strings.Cut(string(line), " "); verb {
		case "PONG":
			return nil
		case "PING", "+OK", "INFO":
		case "-ERR":
			return refusal(rest)
		default:
			return fmt.Errorf("%w: %.20q in answer to CONNECT", ErrProtocol, line)
		}
	}
}

// refusal gives a server's complaint its meaning.
func refusal(text string) error {
	text = strings.Trim(text, " '")
	lower := strings.ToLower(text)
	switch {
	case strings.Contains(lower, "permissions violation"):
		return fmt.Errorf("%w: %s", ErrPermission, text)
	case strings.Contains(lower, "authorization"), strings.Contains(lower, "authentication"), strings.Contains(lower, "auth"):
		return fmt.Errorf("%w: %s", ErrAuth, text)
	}
	return fmt.Errorf("nats: the server says: %s", text)
}
