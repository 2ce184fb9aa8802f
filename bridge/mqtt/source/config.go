package source

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of a source.
const (
	WindowDefault  = 1000
	WindowMax      = 65535   // packet ids of one MQTT connection
	WindowBytesMax = 4 << 20 // payloads and topics waiting for their commit
	PacketBytesMax = 1 << 20 // a larger PUBLISH can't fit a batch and is rejected
	TopicsMax      = 256     // filters of one source; they go out in one SUBSCRIBE
	ClientIDMax    = 256

	KeepAliveDefault = 30 * time.Second
	KeepAliveMin     = 5 * time.Second
	KeepAliveMax     = 10 * time.Minute
)

// Retained says what happens to messages the broker repeats on subscription.
type Retained string

// What a source can do with retained messages. Empty is RetainedSkip.
const (
	RetainedSkip   Retained = "skip"   // acknowledged, not stored
	RetainedIngest Retained = "ingest" // stored at every connect
)

// Config says which broker to read and how.
type Config struct {
	URL      string // mqtt://host[:1883] or mqtts://host[:8883]
	ClientID string // names the session at the broker: fixed, and this gateway's alone

	User         string
	PasswordFile string // read at every connect; a line end at its end is cut

	Topics    []string // filters, all subscribed at QoS
	QoS       byte
	Retained  Retained
	Window    int           // messages between arrival and acknowledgement; 0 is WindowDefault
	KeepAlive time.Duration // 0 is KeepAliveDefault

	TLS TLS

	// Now is the clock that certificates are checked against; nil is time.Now.
	// A gateway that boots without a clock has a better one.
	Now func() time.Time
}

// TLS is the client's side of an encrypted connection. Files are read at every
// connect, so that renewed certificates need no restart.
type TLS struct {
	Enabled    bool   // also set by an mqtts URL
	CAFile     string // empty: the system's certificates
	CertFile   string // client certificate, with KeyFile
	KeyFile    string
	ServerName string // empty: the host of the URL
}

// Validate reports the first thing about c that can't be.
func (c Config) Validate() error {
	if _, err := c.endpoint(); err != nil {
		return err
	}
	switch {
	case c.ClientID == "":
		return errors.New("mqtt source: client_id is empty; it names the session that keeps messages while the gateway is away, so it has to be fixed")
	case len(c.ClientID) > ClientIDMax || !validText(c.ClientID):
		return fmt.Errorf("mqtt source: client_id %q: needs 1 to %d bytes of UTF-8", c.ClientID, ClientIDMax)
	case c.PasswordFile != "" && c.User == "":
		return errors.New("mqtt source: password_file needs user: MQTT 3.1.1 has no password without a user")
	case c.QoS > 2:
		return fmt.Errorf("mqtt source: qos is %d, allowed are 0 to 2", c.QoS)
	case c.Retained != "" && c.Retained != RetainedSkip && c.Retained != RetainedIngest:
		return fmt.Errorf("mqtt source: retained is %q, allowed are %q and %q", c.Retained, RetainedSkip, RetainedIngest)
	case c.Window < 0 || c.Window > WindowMax:
		return fmt.Errorf("mqtt source: window is %d, allowed are 1 to %d", c.Window, WindowMax)
	case c.KeepAlive != 0 && (c.KeepAlive < KeepAliveMin || c.KeepAlive > KeepAliveMax):
		return fmt.Errorf("mqtt source: keep_alive is %s, allowed are %s to %s", c.KeepAlive, KeepAliveMin, KeepAliveMax)
	case (c.TLS.CertFile == "") != (c.TLS.KeyFile == ""):
		return errors.New("mqtt source: a client certificate needs both cert_file and key_file")
	}
	return validateTopics(c.Topics)
}

func validateTopics(topics []string) error {
	if len(topics) == 0 || len(topics) > TopicsMax {
		return fmt.Errorf("mqtt source: %d topics, allowed are 1 to %d", len(topics), TopicsMax)
	}
	seen := make(map[string]bool, len(topics))
	for _, t := range topics {
		if err := validateFilter(t); err != nil {
			return fmt.Errorf("mqtt source: topic %q: %w", t, err)
		}
		if seen[t] {
			return fmt.Errorf("mqtt source: topic %q is there twice", t)
		}
		seen[t] = true
	}
	return nil
}

func validateFilter(filter string) error {
	if filter == "" || len(filter) > 65535 || !validText(filter) {
		return errors.New("needs 1 to 65535 bytes of UTF-8 without NUL")
	}
	if strings.HasPrefix(filter, "$share/") || strings.HasPrefix(filter, "$queue/") {
		return errors.New("shared subscriptions are not supported: messages of a gateway that is away would wait in its session; let one gateway read the broker")
	}
	levels := strings.Split(filter, "/")
	for i, l := range levels {
		switch {
		case l == "#" && i != len(levels)-1:
			return errors.New("# has to be the last level")
		case len(l) > 1 && strings.ContainsAny(l, "+#"):
			return errors.New("+ and # have to be a level of their own")
		}
	}
	return nil
}

func validText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// endpoint is where to connect to, taken from the URL.
type endpoint struct {
	host    string // for the certificate
	address string // host:port
	tls     bool
}

func (c Config) endpoint() (endpoint, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return endpoint{}, fmt.Errorf("mqtt source: url: %w", err)
	}
	e := endpoint{host: u.Hostname(), tls: c.TLS.Enabled}
	port := u.Port()
	switch {
	case u.Scheme == "mqtts":
		e.tls = true
	case u.Scheme != "mqtt":
		return endpoint{}, fmt.Errorf("mqtt source: url %q: the scheme has to be mqtt or mqtts", u.Redacted())
	}
	switch {
	case e.host == "" || u.Opaque != "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
		return endpoint{}, fmt.Errorf("mqtt source: url %q: should look like mqtt://host:1883", u.Redacted())
	case u.User != nil:
		return endpoint{}, fmt.Errorf("mqtt source: url %q: put the user into user and the password into password_file", u.Redacted())
	case port == "" && e.tls:
		port = "8883"
	case port == "":
		port = "1883"
	}
	e.address = net.JoinHostPort(e.host, port)
	return e, nil
}

func (c Config) withDefaults() Config {
	if c.Window == 0 {
		c.Window = WindowDefault
	}
	if c.KeepAlive == 0 {
		c.KeepAlive = KeepAliveDefault
	}
	if c.Retained == "" {
		c.Retained = RetainedSkip
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}
