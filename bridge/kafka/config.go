package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// Limits of the client. Sizes are checked before anything is allocated.
const (
	DialTimeoutDefault    = 10 * time.Second // TCP, TLS, versions and SASL together
	RequestTimeoutDefault = 30 * time.Second // from the write of a request to its answer

	SeedsMax      = 64      // bootstrap addresses
	BrokersMax    = 4096    // brokers that a cluster may name
	PartitionsMax = 100_000 // partitions that a topic may have

	// ResponseBytesMax bounds every answer but a Fetch's. Decoding can take
	// many times the size of an answer, so it is kept well below the budget
	// of a small gateway.
	ResponseBytesMax = 1 << 20
	// FetchBytesMax is what one Fetch asks for; a broker may exceed it by one
	// batch, FetchResponseBytesMax bounds what is accepted.
	FetchBytesMax         = 1 << 20
	FetchResponseBytesMax = 16 << 20

	// ThrottleMax caps what a broker may ask us to wait. Its quota window is
	// seconds; more than this is a mistake that must not silence an uplink.
	ThrottleMax = 30 * time.Second
)

// Config says how to reach a cluster.
type Config struct {
	Brokers  []string // bootstrap addresses, host:port
	ClientID string

	TLS  *tls.Config // nil: plain TCP; see TLS.Load
	SASL *SASL       // nil: no authentication

	DialTimeout    time.Duration // 0: DialTimeoutDefault
	RequestTimeout time.Duration // 0: RequestTimeoutDefault

	// Dial opens the TCP connection, nil for net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Validate reports the first thing about c that can't be.
func (c *Config) Validate() error {
	if len(c.Brokers) == 0 {
		return errors.New("brokers is empty: name at least one host:port")
	}
	if len(c.Brokers) > SeedsMax {
		return fmt.Errorf("brokers has %d addresses, at most %d are used", len(c.Brokers), SeedsMax)
	}
	for _, addr := range c.Brokers {
		if err := validateAddress(addr); err != nil {
			return err
		}
	}
	if c.DialTimeout < 0 || c.RequestTimeout < 0 {
		return errors.New("timeouts can't be negative")
	}
	if c.SASL != nil {
		return c.SASL.Validate()
	}
	return nil
}

func validateAddress(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("broker %q: want host:port: %w", addr, err)
	}
	if n, err := strconv.Atoi(port); host == "" || err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("broker %q: want host:port with a port of 1 to 65535", addr)
	}
	return nil
}

func (c *Config) withDefaults() Config {
	d := *c
	if d.DialTimeout == 0 {
		d.DialTimeout = DialTimeoutDefault
	}
	if d.RequestTimeout == 0 {
		d.RequestTimeout = RequestTimeoutDefault
	}
	if d.Dial == nil {
		d.Dial = (&net.Dialer{}).DialContext
	}
	return d
}
