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
// the uplink then, and the next record goes as if nothing had happened.
func TestIdleConnectionClosed(t *testing.T) {
	t.Parallel()
	c := newCentral(t)
	stream := c.name("idle")
	c.create(stream, 1)
	log := newLog(stream, 0).fill(t, 3, 10)
	var mu sync.Mutex
	var conns []net.Conn
	var s setup
	s.sink.Client.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, nc)
		return nc, err
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
	if s := g.drainer.Status(); s.Uplink.LastError != "" {
		t.Errorf("the uplink is blamed: %s", s.Uplink.LastError)
	}
	log.append(t, 5, metadata.CodecZstd)
	g.drained(log)
	g.stop()
	c.expect(stream, 0, log.id, offsets(0, 35))
}
