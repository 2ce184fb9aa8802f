package kafka

import (
	"context"
	"fmt"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Span is a range of versions of one request, both ends included.
type Span struct{ Min, Max int16 }

func (s Span) has(version int16) bool { return s.Min <= version && version <= s.Max }

// Open makes a Conn of an established connection, and asks the other side for
// its versions: of every request in speaks there must be a common one. It is
// for those who reach their brokers by other ways than a Client does. Of cfg,
// ClientID, DialTimeout and RequestTimeout count. nc is closed on failure.
func Open(ctx context.Context, nc net.Conn, node int32, addr string, cfg Config, speaks map[kmsg.Key]Span) (*Conn, error) {
	d := cfg.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, d.DialTimeout)
	defer cancel()
	conn := newConn(nc, node, addr, &d)
	v, err := agree(ctx, conn, speaks)
	if err != nil {
		conn.Close()
		<-conn.Done()
		return nil, fmt.Errorf("broker %s: %w", conn.name(), err)
	}
	conn.versions = v
	return conn, nil
}

func agree(ctx context.Context, c *Conn, speaks map[kmsg.Key]Span) (versions, error) {
	offered, err := askVersions(ctx, c)
	if err != nil {
		return nil, err
	}
	v := common(offered, speaks)
	for key, s := range speaks {
		if _, ok := v[key]; !ok {
			return nil, fmt.Errorf("%w: of %s we speak %d to %d", ErrVersions, key.Name(), s.Min, s.Max)
		}
	}
	return v, nil
}
