package kafkasink

import (
	"context"
	"net"
	"sync"
	"testing"

	"cistern/bridge/drain"
	"cistern/gossip/metadata"
)

// TestIdleConnectionClosed: brokers close what is idle. Nothing is wrong with
// the uplink then, and the next record goes as if nothing had happened. They are
// closed one after the other here: the uplink is blamed where it looks again over one
// whose turn comes just then.
func TestIdleConnectionClosed(t *testing.T) {
	t.Parallel()
	c := newCentral(t)
	const tries = 5
	blamed := ""
	for range tries {
		if blamed = c.closeIdle(t); blamed == "" {
			return
		}
		t.Logf("the uplink is blamed: %s", blamed)
	}
	t.Errorf("the uplink is blamed each time: %s", blamed)
}

// closeIdle says what the uplink is blamed for when its connections were closed.
func (c *central) closeIdle(t *testing.T) (blamed string) {
	stream := c.name("idle")
	c.create(stream, 1)
	log := newLog(stream, 0).fill(t, 3, 10)
	var mu sync.Mutex
	var conns []net.Conn
	var s setup
	s.sink.Client.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, nc)
		return nc, nil
	}
	g := c.gateway(s, log)
	g.drained(log)
	mu.Lock()
	before := len(conns)
	for _, nc := range conns {
		nc.Close()
	}
	mu.Unlock()
	g.until("it looked again", func(s drain.Status) bool {
		mu.Lock()
		defer mu.Unlock()
		return len(conns) > before && s.Uplink.State == drain.UplinkUp
	})
	blamed = g.drainer.Status().Uplink.LastError
	log.append(t, 5, metadata.CodecZstd)
	g.drained(log)
	g.stop()
	c.expect(stream, 0, log.id, offsets(0, 35))
	return blamed
}
