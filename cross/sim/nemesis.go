package sim

import (
	"fmt"
	"time"

	"cistern/gossip/metadata"
)

// nemesis is one kind of trouble.
type nemesis int

const (
	kill      nemesis = iota // the process ends and comes back
	power                    // the same, and what was not synced is gone
	reboot                   // the same, faster than anybody notices
	blackout                 // all lose power at one moment
	pause                    // SIGSTOP, SIGCONT
	newCard                  // the card dies, another is put in
	isolate                  // one gateway hears nobody, and nobody hears it
	oneWay                   // one direction between two
	pair                     // both directions between two
	split                    // two halves
	exile                    // one gateway and the quorum do not hear each other
	slander                  // the failure detector is wrong
	syncError                // a sync fails
	retention                // old batches are dropped here
	drainNode                // an operator empties a gateway, and lets it be used again
	handOver                 // an operator moves the leadership
	leaderHit                // the leader loses power the moment the ISR grows (scenario 8)
	nemeses   = iota
)

var nemesisNames = [nemeses]string{"kill", "power cut", "fast reboot", "blackout", "pause", "new card", "isolation", "one-way cut",
	"pair cut", "split", "exile", "slander", "sync error", "retention", "drained gateway", "leader moved", "leader hit"}

func (n nemesis) String() string { return nemesisNames[n] }

// trouble lets a nemesis act until the trouble ends.
func (s *Simulation) trouble(n nemesis) {
	every := s.Every[n]
	if every == 0 {
		return
	}
	s.after(s.around(every), func() {
		if s.healed > 0 {
			return
		}
		if s.act(n) {
			s.Acts[n]++
		}
		s.trouble(n)
	})
}

// act reports whether there was anything to do.
func (s *Simulation) act(n nemesis) bool {
	g := s.gateways[s.random.IntN(len(s.gateways))]
	o := s.gateways[s.random.IntN(len(s.gateways))]
	if l := s.leader(); l != nil && s.chance(0.4) {
		g = l // where it hurts
	}
	s.trace("nemesis: %s %s", n, g.name)
	switch n {
	case kill:
		return s.restart(g, false, s.between(50*time.Millisecond, 6*time.Second))
	case power:
		return s.restart(g, true, s.between(50*time.Millisecond, 6*time.Second))
	case reboot:
		return s.restart(g, true, s.between(time.Millisecond, 250*time.Millisecond))
	case blackout:
		for _, g := range s.gateways {
			s.restart(g, true, s.between(10*time.Millisecond, 3*time.Second))
		}
	case pause:
		return g.pause(s.around(1500 * time.Millisecond))
	case newCard:
		return s.replaceCard(g)
	case isolate:
		s.cutFor(func(a, b int) bool { return a == g.n || b == g.n })
	case oneWay:
		s.cutFor(func(a, b int) bool { return a == g.n && b == o.n })
	case pair:
		s.cutFor(func(a, b int) bool { return a == g.n && b == o.n || a == o.n && b == g.n })
	case split:
		half := s.random.IntN(1 << len(s.gateways))
		s.cutFor(func(a, b int) bool { return half>>a&1 != half>>b&1 })
	case exile:
		g.exiled = true
		s.after(s.around(4*time.Second), func() { g.exiled = false })
	case slander:
		g.slandered = s.now + s.around(3*time.Second)
	case syncError:
		g.failing = g.up
		return g.up
	case retention:
		return g.expire()
	case drainNode:
		s.drain(g)
	case handOver:
		if p := s.state(); p != nil {
			s.agree(metadata.Change{Elect: &metadata.Elect{Partition: partition, Node: s.nodeID(g), PartitionEpoch: p.PartitionEpoch}})
		}
	case leaderHit:
		s.hitWhenGrowing = true
	}
	return true
}

// restart ends the process, and begins the next after a while.
func (s *Simulation) restart(g *gateway, power bool, down time.Duration) bool {
	if !g.up {
		return false
	}
	g.die(power)
	life := g.life
	s.after(down, func() {
		if g.life == life && !g.up {
			g.boot()
		}
	})
	return true
}

func (g *gateway) pause(d time.Duration) bool {
	if !g.up || g.paused {
		return false
	}
	g.paused = true
	life := g.life
	g.s.after(d, func() {
		if g.life == life {
			g.resume()
		}
	})
	return true
}

// resume handles what piled up, in order.
func (g *gateway) resume() {
	if !g.up || !g.paused {
		return
	}
	g.paused = false
	inbox, life := g.inbox, g.life
	g.inbox = nil
	for _, do := range inbox {
		g.run(life, do)
	}
}

// replaceCard takes the card out for good. One at a time: as long as another
// is being filled nobody does that.
func (s *Simulation) replaceCard(g *gateway) bool {
	p := s.state()
	if !g.up || p == nil || s.MinInsync > 1 && len(p.ISR) < 2 && s.chance(0.8) {
		return false
	}
	g.die(true)
	s.check.lostCard(g)
	s.cardsLost = true
	g.newCard()
	life := g.life
	s.after(s.between(100*time.Millisecond, 5*time.Second), func() {
		if g.life == life && !g.up {
			g.boot()
		}
	})
	return true
}

func (g *gateway) newCard() {
	g.cards++
	g.card = &card{storeID: fmt.Sprintf("%s-%d", g.name, g.cards)}
	g.image = nil
}

// cutFor cuts links for a while.
func (s *Simulation) cutFor(cut func(a, b int) bool) {
	var links [][2]int
	for a := range s.gateways {
		for b := range s.gateways {
			if a != b && cut(a, b) && !s.cut[a][b] {
				s.cut[a][b] = true
				links = append(links, [2]int{a, b})
			}
		}
	}
	s.after(s.around(4*time.Second), func() {
		for _, l := range links {
			s.cut[l[0]][l[1]] = false
		}
	})
}

// expire drops what is old here: never what was not confirmed, or what the
// stored table of producers does not cover, or what is so young that its sender
// may send it again.
func (g *gateway) expire() bool {
	if g.part == nil || !g.up || g.card.log.before != nil {
		return false
	}
	log := &g.card.log
	before := log.start
	if to := min(g.part.HighWatermark(), g.card.covered, g.s.check.settled()); to > log.start {
		log.expire(log.start + g.s.random.Int64N(to-log.start+1))
	}
	return log.start > before
}

func (s *Simulation) drain(g *gateway) {
	id := s.nodeID(g)
	s.agree(metadata.Change{DrainNode: &metadata.DrainNode{Node: id, On: true}})
	s.after(s.around(3*time.Second), func() {
		s.agree(metadata.Change{DrainNode: &metadata.DrainNode{Node: id}})
	})
}

// heal ends all trouble.
func (s *Simulation) heal() {
	s.healed = s.now
	s.calm()
	for a := range s.cut {
		clear(s.cut[a])
	}
	for _, g := range s.gateways {
		g.exiled, g.slandered, g.failing = false, 0, false
		if m, ok := s.image().Member(g.name); ok && m.Draining {
			s.agree(metadata.Change{DrainNode: &metadata.DrainNode{Node: m.ID}})
		}
		if g.paused {
			g.resume()
		}
		if !g.up {
			g.boot()
		}
	}
	s.trace("healed: %s", state(s.image()))
}
