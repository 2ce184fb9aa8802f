package gossip

import (
	"context"
	"crypto/rand"
	"net/netip"
	"sync"

	"github.com/hashicorp/memberlist"

	"cistern/gossip/metadata"
)

// processMarkLen is the length of what a process answers probes with.
const processMarkLen = 8

// processes notices gateways that began anew before anybody missed them. To the
// others such a one was alive all the time, so they don't look for it; and it may
// know none of them, when its configuration names nobody that answers. So every
// answer to a probe says which process gives it, and whoever finds another one
// under a known name joins it.
type processes struct {
	own     [processMarkLen]byte
	renewed chan netip.AddrPort // full: there will be another probe

	mu   sync.Mutex
	seen map[string][processMarkLen]byte // by name
}

func newProcesses() *processes {
	p := &processes{renewed: make(chan netip.AddrPort, metadata.MembersMax), seen: map[string][processMarkLen]byte{}}
	rand.Read(p.own[:]) // never fails
	return p
}

// saw is told what a member answered. It does not block.
func (p *processes) saw(name, addr string, mark []byte) {
	if len(mark) != processMarkLen {
		return // of a version that says nothing
	}
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	before, known := p.seen[name]
	now := [processMarkLen]byte(mark)
	if known && before != now {
		select {
		case p.renewed <- at:
		default:
			return // not noted, so the next answer is news again
		}
	}
	if !known && len(p.seen) >= 2*metadata.MembersMax {
		clear(p.seen) // names of long ago; the others are learned again
	}
	p.seen[name] = now
}

// keepAcquainted joins who began anew.
func (m *Membership) keepAcquainted(ctx context.Context, list *memberlist.Memberlist) {
	for {
		select {
		case <-ctx.Done():
			return
		case at := <-m.processes.renewed:
			if _, err := list.Join([]string{at.String()}); err != nil && ctx.Err() == nil {
				m.config.Logger.Info("a gateway began anew and could not be told who else there is", "address", at, "error", err)
			}
		}
	}
}
