package peer

import (
	"sync"

	"cistern/bridge/kafka"
	"cistern/gossip/port"
)

// fence lets each gateway produce on its newest connection only. What a process
// wrote before it was killed, its kernel still delivers when a cut is mended: behind
// what the gateway's next process has sent by then, which would put a device's
// messages out of order. Whoever wrote it waits for no answer any more.
//
// The order of connections is that in which they were accepted: a handshake takes
// two that live.
type fence struct {
	mu     sync.Mutex
	newest map[string]*kafka.ServerConn // by the name in the certificate
}

// through runs f, which must not block, unless a newer connection of the same
// gateway has produced. It ends the one that is older.
func (g *fence) through(c *kafka.ServerConn, f func()) bool {
	name := port.PeerName(c.NetConn())
	g.mu.Lock()
	defer g.mu.Unlock()
	last := g.newest[name]
	switch {
	case name == "" || last == c: // "": no site port is between them
	case last == nil || last.Number() < c.Number():
		if last != nil {
			last.End()
		}
		g.remember(name, c)
	default:
		c.End()
		return false
	}
	f()
	return true
}

// remember bounds what is known: by then most of these gateways are gone.
func (g *fence) remember(name string, c *kafka.ServerConn) {
	if g.newest == nil || len(g.newest) >= connsMax {
		g.newest = map[string]*kafka.ServerConn{}
	}
	g.newest[name] = c
}
