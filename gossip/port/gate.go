package port

import (
	"net/netip"
	"sync"
)

// gate holds the connections that have not shown yet who they are, longest
// wait first. There are never more than HandshakesMax.
type gate struct {
	mu      sync.Mutex
	waiting []*conn
}

// enter lets c in. If there is no room, somebody else has to go: the longest
// wait of the address that has most of them here. The caller closes it.
func (g *gate) enter(c *conn) (evicted *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(g.waiting, c)
	if len(g.waiting) <= HandshakesMax {
		return nil
	}
	count := map[netip.Addr]int{}
	most := 0
	for _, w := range g.waiting {
		count[w.host]++
		most = max(most, count[w.host])
	}
	for i, w := range g.waiting {
		if count[w.host] == most {
			g.waiting = append(g.waiting[:i], g.waiting[i+1:]...)
			return w
		}
	}
	return nil // not reached: some address has most
}

// leave takes c out, if it is still in.
func (g *gate) leave(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, w := range g.waiting {
		if w == c {
			g.waiting = append(g.waiting[:i], g.waiting[i+1:]...)
			return
		}
	}
}

// len returns how many are in.
func (g *gate) len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting)
}
