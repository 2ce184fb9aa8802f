package mqttsink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"cistern/bridge/drain"
)

// Limits of the sink.
const (
	WindowDefault  = 64
	WindowMax      = 65535   // packet ids of a connection
	WindowBytesMax = 4 << 20 // payloads that are unacknowledged; one message always goes
	ClientIDMax    = 256     // bytes
	// WindowBatches is how many stored batches a partition may have here.
	WindowBatches = 64
	// DecodedBytesMax is what a batch may become when it is decompressed.
	DecodedBytesMax = 32 << 20
	// KeepAlive is how long the broker may be silent before it is asked whether
	// it is still there. A broker gives up a client of which it gets no whole
	// packet for one and a half times that: see doc.go.
	KeepAlive = 60 * time.Second
	// AnswerTimeout is how long the oldest message may be unacknowledged while
	// nothing moves; then the connection is given up.
	AnswerTimeout = 30 * time.Second
	// PoisonStrikes and PoisonTime are what it takes to call a message refused.
	PoisonStrikes = 5
	PoisonTime    = time.Minute
	// SuspectTime is how long after a lost connection messages go one at a time
	// at most.
	SuspectTime = 5 * time.Minute
)

// Config says where to drain to.
type Config struct {
	URL      string // mqtt://host[:1883], or mqtts://host[:8883], which needs TLS
	ClientID string // fixed, and this gateway's alone
	User     string
	Password string
	TLS      *tls.Config // how to encrypt; nil with mqtt://
	Prefix   string      // in front of every topic
	QoS      byte        // 1 or 2; 0: 1
	Window   int         // messages that may be unacknowledged; 0: WindowDefault

	// Dial replaces the dialer; nil: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	Logger *slog.Logger     // nil: slog.Default
	Now    func() time.Time // nil: time.Now
}

// Sink is an MQTT broker as a drain.Sink.
type Sink struct {
	cfg       Config
	address   string
	link      drain.Link[*conn]
	timing    timing
	suspicion suspicion
}

// timing holds what a test wants shorter.
type timing struct {
	connect, answer, backoffMin, backoffMax time.Duration
	keepAlive, suspect                      time.Duration
}

// New returns a sink. Nothing is dialed before Run.
func New(cfg Config) (*Sink, error) {
	address, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("uplink: %w", err)
	}
	s := &Sink{cfg: cfg, address: address, timing: timing{
		connect: 15 * time.Second, answer: AnswerTimeout, backoffMin: drain.BackoffMin, backoffMax: drain.BackoffMax,
		keepAlive: KeepAlive, suspect: suspectWait,
	}}
	s.link.Init(cfg.Now, cfg.Logger, drain.Uplink{Brokers: []string{cfg.URL},
		Mode: "at_least_once", ModeWhy: "MQTT 3.1.1 can't tell a repeat from a new message"})
	s.suspicion.init(cfg.Now)
	s.suspicion.poison = PoisonTime
	return s, nil
}

// complete fills in what is left out, and returns the broker's address.
func (c *Config) complete() (address string, err error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return "", fmt.Errorf("mqtt url: %w", err)
	}
	port := u.Port()
	switch {
	case u.Scheme != "mqtt" && u.Scheme != "mqtts" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "":
		return "", fmt.Errorf("mqtt url %q must look like mqtt://host:1883 or mqtts://host:8883", u.Redacted())
	case u.User != nil:
		return "", fmt.Errorf("mqtt url %q: user and password do not belong there", u.Redacted())
	case u.Scheme == "mqtt" && c.TLS != nil:
		return "", fmt.Errorf("mqtt url %q: TLS is configured, the scheme has to be mqtts", u.Redacted())
	case port == "" && u.Scheme == "mqtts":
		port = "8883"
	case port == "":
		port = "1883"
	}
	if u.Scheme == "mqtts" {
		if c.TLS == nil {
			c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		c.TLS = c.TLS.Clone()
		if c.TLS.ServerName == "" {
			c.TLS.ServerName = u.Hostname()
		}
	}
	if c.QoS == 0 {
		c.QoS = 1
	}
	if c.Window == 0 {
		c.Window = WindowDefault
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return net.JoinHostPort(u.Hostname(), port), c.check()
}

func (c *Config) check() error {
	switch {
	case c.ClientID == "" || len(c.ClientID) > ClientIDMax || !utf8.ValidString(c.ClientID) || strings.ContainsRune(c.ClientID, 0):
		return fmt.Errorf("mqtt client_id %q: needs 1 to %d bytes of UTF-8", c.ClientID, ClientIDMax)
	case c.Password != "" && c.User == "":
		return errors.New("mqtt: a password needs a user")
	case c.QoS > 2:
		return fmt.Errorf("mqtt qos is %d, allowed are 1 and 2: nothing is acknowledged with 0", c.QoS)
	case c.Window < 1 || c.Window > WindowMax:
		return fmt.Errorf("mqtt window is %d, allowed are 1 to %d", c.Window, WindowMax)
	case c.Prefix != "" && !validTopic(c.Prefix+"x"):
		return fmt.Errorf("mqtt prefix %q can't begin a topic", c.Prefix)
	}
	return nil
}

// Uplink tells the state of the way upstream.
func (s *Sink) Uplink() drain.Uplink { return s.link.Status() }

// Kick ends a back-off.
func (s *Sink) Kick() { s.link.Kick() }

// Run keeps the uplink alive until ctx ends: connection after connection, with a
// back-off between them that begins anew when one was good for something.
func (s *Sink) Run(ctx context.Context) error {
	backoff := drain.Backoff{Min: s.timing.backoffMin, Max: s.timing.backoffMax}
	s.link.Become(drain.UplinkConnecting, nil)
	for ctx.Err() == nil {
		c := newConn(ctx, s)
		err := c.run()
		if ctx.Err() != nil {
			break
		}
		if c.useful.Load() {
			backoff.Reset()
		}
		s.link.Become(drain.UplinkDown, err)
		s.rest(ctx, backoff.Next())
	}
	s.link.Become(drain.UplinkOff, nil)
	return nil
}

// rest waits for a back-off to end, or for a Kick.
func (s *Sink) rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-s.link.Wake():
	case <-timer.C:
	}
}
