package quorum

import (
	"context"
	"slices"
	"sync"
	"time"

	"cistern/gossip"
)

// removedAskEvery is how often a gateway without a raft leader asks the others
// whether it is one of them still.
const removedAskEvery = keeperTick

// Removed reports that this gateway's site has it no more: its raft leader said so.
//
// A gateway that was removed while it was away hears nothing of it when it comes
// back: raft's leader speaks to its servers only, and nobody answers a stranger's
// candidacy. It can't tell that from a site without a majority; so it asks.
func (q *Quorum) Removed() bool { return q.removed.Load() }

// askRemoved asks who is present and of this site, while no raft leader is known.
func (k *Keeper) askRemoved(ctx context.Context, members []gossip.Member, leader string) {
	q := k.Quorum
	if leader != "" {
		q.removed.Store(false)
		return
	}
	site := q.Site()
	if site == "" || time.Since(k.asked) < removedAskEvery {
		return
	}
	k.asked = time.Now()
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, m := range members {
		if m.Name == q.c.Name || !present(m) || m.Meta.Formed != site {
			continue
		}
		wg.Go(func() {
			a, err := q.client.ask(ctx, m.Name, request{Kind: kindAsk})
			if err == nil && a.Status == statusOK && a.Site == site && a.Removed {
				q.removed.Store(true)
				q.watch.wake()
			}
		})
	}
	wg.Wait()
}

// hasRemoved reports whether a gateway that thinks it is of this site is not. Only
// the raft leader says so, others may not have heard of it yet; and of a gateway
// that raft has as a server it is open until it registers.
func (q *Quorum) hasRemoved(name string) bool {
	if _, self := q.Leader(); !self || q.machine.behind.Load() != nil {
		return false
	}
	img := q.Image()
	if _, is := img.Member(name); is || img.Site == "" {
		return false
	}
	return !slices.ContainsFunc(q.Servers(), func(s Server) bool { return s.Name == name })
}
