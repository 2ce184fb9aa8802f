package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/replica"
)

// Fault is a mutant of what stands around the protocol: a rule that is not
// the Partition's alone.
type Fault int

// WithoutIncarnations: a restart is not counted, and requests for another ISR
// name no life of a follower (before KIP-380, KIP-903).
const WithoutIncarnations Fault = 1

// Bounds of the end of a run, when all is well again.
const (
	insyncWithin = 20 * time.Second // everybody is in the ISR, and batches are confirmed
	quietWithin  = 40 * time.Second // everything that waited is in the logs, or at least more of it
	quietMax     = 10 * time.Minute // all of it, however much that was
)

// Simulation is one run.
type Simulation struct {
	loop
	Options
	Report

	gateways  []*gateway
	cut       [][]bool          // from, to
	line      [][]time.Duration // likewise: when the last message arrives
	quorum    quorum
	check     *checker
	uids      int64
	producers int64

	producing      bool
	healed         time.Duration // when the trouble ended, 0: not yet
	leaderless     time.Duration // since when
	cardsLost      bool
	hitWhenGrowing bool
	traced         func(string)
}

// Report is what a run was like.
type Report struct {
	Seed      uint64
	Violation *Violation
	Acts      [nemeses]int
	Counts    map[string]int
	Healing   time.Duration // from the last repair until all were in sync
	Quiet     time.Duration // likewise until everything was confirmed
	Events    int
}

// Run runs the simulation of a seed. traced, if not nil, is told what happens.
func Run(seed uint64, o Options, traced func(string)) Report {
	s := &Simulation{Options: o, Report: Report{Seed: seed, Counts: map[string]int{}}, traced: traced, producing: true}
	s.random = rand.New(rand.NewPCG(seed, 0x51a7e))
	s.check = newChecker(s)
	wrong := func() bool { return s.Violation != nil }
	s.begin()
	for n := range nemesis(nemeses) {
		s.trouble(n)
	}
	s.until(s.now+o.Trouble, wrong)
	if !wrong() {
		s.end()
	}
	s.Events = s.loop.count
	return s.Report
}

// begin makes the site, in peace.
func (s *Simulation) begin() {
	trouble := s.Options
	s.calm()
	s.quorum = quorum{images: []*metadata.Image{metadata.NewImage()}, dead: map[string]bool{}, since: map[string]time.Duration{}}
	for n := range s.Gateways {
		g := &gateway{s: s, n: n, name: string(rune('A' + n))}
		g.newCard()
		s.gateways = append(s.gateways, g)
		s.cut = append(s.cut, make([]bool, s.Gateways))
		s.line = append(s.line, make([]time.Duration, s.Gateways))
	}
	for _, g := range s.gateways {
		g.boot()
	}
	s.watch()
	s.makeStream()
	s.until(10*time.Second, func() bool { return s.Violation != nil || s.insync() })
	s.Options = trouble
}

// calm makes the network and the cards good.
func (s *Simulation) calm() {
	s.Loss, s.Duplicate, s.Late, s.Lost = 0, 0, 0, 0
	s.Sync, s.Delay, s.Image = min(s.Sync, 10*time.Millisecond), min(s.Delay, 5*time.Millisecond), min(s.Image, 20*time.Millisecond)
}

// makeStream waits until enough gateways are there.
func (s *Simulation) makeStream() {
	if len(s.image().Members) < s.Gateways {
		s.after(10*time.Millisecond, s.makeStream)
		return
	}
	c := metadata.DefaultStreamConfig(stream)
	c.Replicas, c.MinInsync = s.Replicas, s.MinInsync
	if r := s.agree(metadata.Change{PutStream: &metadata.PutStream{Config: c}}); r.Error != "" {
		s.violate("setup", "%s: %s", r.Error, r.Detail)
	}
}

// end heals everything, and waits until nothing is left to do.
func (s *Simulation) end() {
	s.heal()
	settled := s.until(s.now+insyncWithin, func() bool { return s.Violation != nil || s.insync() })
	if s.Healing = s.now - s.healed; !settled && s.Violation == nil {
		s.violate("L", "%v after the last repair: %s", s.Healing, s.unsettled())
	}
	s.producing = false
	s.awaitQuiet()
	s.Quiet = s.now - s.healed
	if s.Violation == nil {
		s.check.finish()
	}
	s.Counts["records given up uncleanly"] += int(s.check.lostOffsets)
}

// awaitQuiet waits as long as the logs grow: a gateway that parked for half
// a minute over a slow network has a lot to hand over.
func (s *Simulation) awaitQuiet() {
	for start := s.now; s.Violation == nil; {
		before := len(s.check.truth)
		if s.until(s.now+quietWithin, func() bool { return s.Violation != nil || s.quiet() }) {
			return
		}
		if len(s.check.truth) == before || s.now-start > quietMax {
			s.violate("L", "not everything was confirmed: %s", s.unsettled())
		}
	}
}

// insync: every replica is in the ISR, somebody leads.
func (s *Simulation) insync() bool {
	p := s.state()
	if p == nil || p.Leader == metadata.NoNode || len(p.ISR) != len(p.Replicas) || len(p.Adding)+len(p.Removing) > 0 {
		return false
	}
	l := s.byID(p.Leader)
	return l.part != nil && l.part.Role() == replica.RoleLeader && l.part.LeaderEpoch() == p.LeaderEpoch
}

// quiet: nothing waits anywhere, and all logs are as long as the longest.
func (s *Simulation) quiet() bool {
	if !s.insync() {
		return false
	}
	for _, g := range s.gateways {
		if !g.ingress.queue.Idle() || g.committing {
			return false
		}
		if g.part != nil && s.state().IsReplica(g.id) && g.part.HighWatermark() != int64(len(s.check.truth)) {
			return false
		}
		if g.card.log.PlacedOffset() != int64(len(s.check.truth)) && s.state().IsReplica(g.id) {
			return false
		}
	}
	return true
}

func (s *Simulation) unsettled() string {
	out := fmt.Sprintf("%s; confirmed up to %d", state(s.image()), len(s.check.truth))
	for _, g := range s.gateways {
		out += fmt.Sprintf("\n%s: node %d incarnation %d, %s, queue idle %v", g.name, g.id, g.incarnation, show(&g.card.log), g.ingress.queue.Idle())
		if g.part != nil {
			out += fmt.Sprintf(", %+v", g.part.Status())
		}
	}
	return out
}

// leader is the gateway that the site has agreed on, nil when there is none.
func (s *Simulation) leader() *gateway {
	if p := s.state(); p != nil {
		return s.byID(p.Leader)
	}
	return nil
}

// byID returns the gateway that has a node ID, nil when there is none.
func (s *Simulation) byID(n metadata.NodeID) *gateway {
	m, ok := s.image().Members[n]
	if !ok {
		return nil
	}
	i := slices.IndexFunc(s.gateways, func(g *gateway) bool { return g.name == m.Name })
	return s.gateways[i]
}

func (s *Simulation) nodeID(g *gateway) metadata.NodeID {
	m, _ := s.image().Member(g.name)
	return m.ID
}

func (s *Simulation) mutant(f Fault) bool { return s.Only == f }

func (s *Simulation) count(what string) { s.Counts[what]++ }

func (s *Simulation) tracing() bool { return s.traced != nil }

func (s *Simulation) trace(format string, args ...any) {
	if s.traced != nil {
		s.traced(fmt.Sprintf("%12v ", s.now) + fmt.Sprintf(format, args...))
	}
}
