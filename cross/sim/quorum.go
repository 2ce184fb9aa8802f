package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"cistern/gossip/controller"
	"cistern/gossip/metadata"
)

// quorum is the controller as gateways meet it: one order of changes, agreed on
// by a majority; requests and answers that get lost or come late; and gateways
// that hear of it at different times. What raft does inside is not simulated.
type quorum struct {
	images []*metadata.Image // by index
	dead   map[string]bool   // as the failure detector sees it
	since  map[string]time.Duration
}

var errNoAnswer = errors.New("no answer from the controller")

// propose brings a change to the quorum. done is called once, in this process,
// if it lives: with an error when the fate of the change is not known.
func (g *gateway) propose(c metadata.Change, done func(metadata.Result, error)) {
	s := g.s
	answered := false
	answer := func(r metadata.Result, err error) {
		if !answered {
			answered = true
			done(r, err)
		}
	}
	g.later(s.between(time.Second, 3*time.Second), func() { answer(metadata.Result{}, errNoAnswer) })
	if !s.reaches(g) || s.chance(s.Loss) {
		return
	}
	d := s.around(s.Delay) + 5*time.Millisecond
	if s.chance(s.Lost / 5) {
		d = s.between(0, 15*time.Second) // held up somewhere
		s.count("late proposals")
	}
	life := g.life
	s.after(d, func() {
		r := s.agree(c)
		if s.chance(s.Lost) {
			s.count("answers lost")
			return
		}
		s.after(s.around(s.Delay), func() {
			if s.reaches(g) {
				g.run(life, func() { answer(r, nil) })
			}
		})
	})
}

// agree applies a change.
func (s *Simulation) agree(c metadata.Change) metadata.Result {
	before := s.image()
	if a := c.AlterPartition; a != nil && s.mutant(WithoutIncarnations) {
		b := *a
		b.Incarnations = slices.Clone(a.Incarnations)
		for i, n := range b.ISR {
			b.Incarnations[i] = before.Incarnation(n)
		}
		c.AlterPartition = &b
	}
	after, r := controller.Apply(before, before.Index+1, c)
	s.quorum.images = append(s.quorum.images, after)
	if err := errors.Join(controller.Check(after), controller.CheckStep(before, after)); err != nil {
		s.violate("controller", "%+v: %v", c, err)
	}
	s.elected(before, after)
	index := len(s.quorum.images) - 1
	for _, g := range s.gateways {
		g.later(s.around(s.Image), func() { g.hear(index) })
	}
	if s.tracing() {
		s.trace("agreed %d: %s -> %s %s", after.Index, describe(c), r.Error, state(after))
	}
	return r
}

// image is the site's metadata as agreed now.
func (s *Simulation) image() *metadata.Image { return s.quorum.images[len(s.quorum.images)-1] }

// state is the partition as agreed now, nil when there is no stream yet.
func (s *Simulation) state() *metadata.PartitionState { return s.image().Partition(partition) }

// elected notes what the checker has to know of an agreement.
func (s *Simulation) elected(before, after *metadata.Image) {
	a, b := after.Partition(partition), before.Partition(partition)
	if a == nil || b == nil {
		return
	}
	if a.LeaderEpoch != b.LeaderEpoch {
		s.count("elections")
	}
	if a.Unclean != b.Unclean {
		s.count("unclean elections")
		s.check.unclean = true
	}
	if l := s.byID(b.Leader); len(a.ISR) > len(b.ISR) && s.hitWhenGrowing && l != nil && s.healed == 0 {
		s.hitWhenGrowing = false
		s.restart(l, true, s.between(50*time.Millisecond, 6*time.Second))
	}
}

// watch is the failure detector, and the leader of the quorum that acts on it.
func (s *Simulation) watch() {
	defer s.after(100*time.Millisecond, s.watch)
	var live []controller.Liveness
	alive := 0
	for _, g := range s.gateways {
		there := s.reaches(g) && g.slandered < s.now
		if there {
			alive++
		}
		if dead, known := s.quorum.dead[g.name]; !known || dead == there {
			s.quorum.dead[g.name], s.quorum.since[g.name] = !there, s.now
		}
		l := controller.Liveness{Name: g.name, Alive: there, For: s.now - s.quorum.since[g.name]}
		if m, ok := s.image().Member(g.name); ok && there && (m.StoreID != g.card.storeID || m.StoreIncarnation != g.card.starts) {
			l.Unregistered = s.now - g.started
		}
		live = append(live, l)
	}
	if 2*alive <= len(s.gateways) {
		return
	}
	p := controller.DefaultPolicy()
	p.FenceAfter, p.RegisterWithin, p.RebalanceAfter, p.ReplaceAfter = s.Detect, s.Detect, 5*time.Second, time.Hour
	if s.Replace > 0 {
		p.ReplaceAfter = s.Replace
	}
	for _, c := range controller.Decide(time.UnixMilli(s.now.Milliseconds()), s.image(), live, p) {
		s.agree(c)
	}
	s.operate()
}

// operate is the operator: who, in some runs, gives up waiting for the last
// replica that had everything.
func (s *Simulation) operate() {
	p := s.state()
	if p == nil || p.Leader != metadata.NoNode {
		s.leaderless = s.now
		return
	}
	patience := 2 * time.Second
	if s.healed > 0 {
		patience = 6 * time.Second
	}
	if (s.Unclean || s.cardsLost) && s.now-s.leaderless > patience {
		s.agree(metadata.Change{Elect: &metadata.Elect{Partition: partition, Node: metadata.NoNode, PartitionEpoch: p.PartitionEpoch, Unclean: true}})
	}
}

// hear gives a gateway the metadata of that index, if the quorum reaches it.
func (g *gateway) hear(index int) {
	if img := g.s.quorum.images[index]; img.Index > g.image.Index && g.s.reaches(g) {
		g.apply(img)
	}
}

func describe(c metadata.Change) string {
	switch {
	case c.Register != nil:
		return fmt.Sprintf("register %s %s/%d unclean=%v", c.Register.Name, c.Register.StoreID, c.Register.StoreIncarnation, c.Register.Unclean)
	case c.Fence != nil:
		return fmt.Sprintf("fence %+v", *c.Fence)
	case c.AlterPartition != nil:
		return fmt.Sprintf("alter %+v", *c.AlterPartition)
	case c.Elect != nil:
		return fmt.Sprintf("elect %+v", *c.Elect)
	case c.Reassign != nil:
		return fmt.Sprintf("reassign %+v", *c.Reassign)
	case c.DrainNode != nil:
		return fmt.Sprintf("drain %+v", *c.DrainNode)
	}
	return "change"
}

func state(img *metadata.Image) string {
	if p := img.Partition(partition); p != nil {
		return fmt.Sprintf("%+v", *p)
	}
	return ""
}
