package agent

import (
	"context"
	"slices"
	"time"

	"cistern/gossip/metadata"
)

// stepAsideMax is how long others may take to lead what this gateway led.
const stepAsideMax = 30 * time.Second

// steppedAside is set in the store's state while the site was told, because of the
// button, that this gateway leads nothing. Such an order stands over restarts,
// but whoever pressed the button meant this one stop.
const steppedAside = "board/stepped-aside"

// giveWay hands over what this gateway leads while it still runs, so that no
// device waits for an election. When the power goes it has to do without.
func (a *Agent) giveWay() {
	a.log.Info("the button was held: handing over, then stopping")
	if a.site == nil || a.orders.power.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(a.orders.power, stepAsideMax)
	defer cancel()
	if err := a.site.stepAside(ctx); err != nil {
		a.log.Warn("not everything was handed over before the stop", "error", err)
	}
}

// stepAside orders what `cistern site drain-node` orders, for this gateway, and
// returns when it leads nothing that another could.
func (s *site) stepAside(ctx context.Context) error {
	s.mu.Lock()
	node := s.registered.node
	s.takeBack = false
	s.mu.Unlock()
	changed, cancel := s.quorum.Watch()
	defer cancel()
	m, ok := s.quorum.Image().Members[node]
	if !ok {
		return nil // nobody counts on it yet
	}
	if !m.Draining {
		if err := s.a.store.State().PutSync(steppedAside, []byte{1}); err != nil {
			return err
		}
		if _, err := s.propose(ctx, metadata.Change{DrainNode: &metadata.DrainNode{Node: node, On: true}}); err != nil {
			return err
		}
	}
	for leadsForOthers(s.quorum.Image(), node) {
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// leadsForOthers says whether the node leads a partition that another gateway
// has in full.
func leadsForOthers(image *metadata.Image, node metadata.NodeID) bool {
	for _, stream := range image.Streams {
		for i := range stream.Partitions {
			p := &stream.Partitions[i]
			if p.Leader == node && slices.ContainsFunc(p.ISR, func(n metadata.NodeID) bool {
				m, ok := image.Members[n]
				return ok && n != node && !m.Fenced && !m.Draining
			}) {
				return true
			}
		}
	}
	return false
}

// comeBack withdraws what stepAside ordered in the life before this one.
func (s *site) comeBack(ctx context.Context) error {
	if !s.isAside() {
		return nil
	}
	s.mu.Lock()
	r := s.registered
	s.mu.Unlock()
	m := s.quorum.Image().Members[r.node]
	if r.given == 0 || m.Incarnation < r.given {
		return nil // what is known here of the site may be older than the order; the next look is soon
	}
	if m.Draining {
		if _, err := s.propose(ctx, metadata.Change{DrainNode: &metadata.DrainNode{Node: r.node}}); err != nil {
			return err
		}
		s.a.log.Info("back after a stop by the button: this gateway may lead again")
	}
	if err := s.a.store.State().PutSync(steppedAside, nil); err != nil {
		return err
	}
	s.mu.Lock()
	s.takeBack = false
	s.mu.Unlock()
	return nil
}

func (s *site) isAside() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.takeBack
}

// wasAside says whether the process before this one stepped aside.
func (a *Agent) wasAside() bool { return len(a.store.State().Get(steppedAside)) > 0 }
