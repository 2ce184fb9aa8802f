package quorum

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"cistern/gossip"
	"cistern/gossip/metadata"
)

// Scenario: a voter lost its card. It must not vote for one that lacks what it
// may have confirmed.
func TestEmptyVoterDoesNotVote(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.start("a", "b", "c")
	s.formed("a", "b", "c")
	leader := s.leader()
	rest := []string{}
	for name := range s.nodes {
		if name != leader {
			rest = append(rest, name)
		}
	}
	lost, other := s.nodes[rest[0]], rest[1]
	lost.crash()
	gone := s.nodes[leader]
	gone.port.kill()
	delete(s.nodes, leader)
	s.boot(lost.name, lost.addr, t.TempDir()) // a new card
	// The other one stands for election, again and again.
	stood := s.nodes[other].q
	s.await("candidacy", func() bool { return stood.Status().State == "candidate" })
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if r, err := stood.Propose(ctx, putStream("x")); err == nil {
		t.Errorf("a majority of one log: %+v", r)
	}
	gone.crash()
	s.boot(leader, gone.addr, gone.dir)
	s.propose(other, putStream("y"))
	s.await("the new card has all", func() bool { return s.hasStream(lost.name, "y") })
}

// An operator removes a gateway: it is taken out of raft and stays out. It learns
// of it, also when it was away and has an old log.
func TestRemovedGateway(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.start("a", "b", "c")
	s.formed("a", "b", "c")
	s.await("gossip knows who registered", func() bool {
		for _, m := range s.list() {
			if m.Meta.Incarnation == 0 || m.Meta.Formed == "" {
				return false
			}
		}
		return true
	})
	gone := s.leader()
	m, _ := s.nodes[gone].q.Image().Member(gone)
	s.propose(gone, metadata.Change{DrainNode: &metadata.DrainNode{Node: m.ID, On: true}})
	s.propose(gone, metadata.Change{RemoveMember: &metadata.RemoveMember{Node: m.ID}})
	var rest []string
	for name := range s.nodes {
		if name != gone {
			rest = append(rest, name)
		}
	}
	s.await("raft has two servers", func() bool {
		return len(s.nodes[rest[0]].q.Servers()) == 2 && len(s.nodes[rest[1]].q.Servers()) == 2
	})
	s.propose(rest[0], putStream("after"))
	s.await("it knows", func() bool { return s.nodes[gone].q.Removed() })
	s.nodes[gone].stop()
	again := s.boot(gone, s.nodes[gone].addr, s.nodes[gone].dir)
	s.await("it knows when it comes back", func() bool { return again.q.Removed() })
	if a, b := s.nodes[rest[0]].q, s.nodes[rest[1]].q; a.Removed() || b.Removed() || len(a.Servers()) != 2 {
		t.Errorf("the others: %v, %v, %d servers", a.Removed(), b.Removed(), len(a.Servers()))
	}
}

// Without a majority nobody is told that they were removed.
func TestNoMajorityIsNoRemoval(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.start("a", "b", "c")
	s.formed("a", "b", "c")
	leader := s.leader()
	for name, n := range s.nodes {
		if name != leader {
			n.crash()
			delete(s.nodes, name)
		}
	}
	q := s.nodes[leader].q
	s.await("it leads no more", func() bool { name, _ := q.Leader(); return name == "" })
	if q.hasRemoved("nobody") {
		t.Error("who does not lead says who was removed")
	}
	if q.Removed() {
		t.Error("it takes itself for removed")
	}
}

// Gateways that can't see each other may form two sites; they are not merged.
func TestTwoSitesMeet(t *testing.T) {
	t.Parallel()
	one, two := newSite(t, 1), newSite(t, 1)
	one.start("a")
	two.start("b")
	one.formed("a")
	two.formed("b")
	two.await("gossip knows", func() bool { return two.list()[0].Meta.Formed != "" })
	for _, m := range two.list() {
		one.set(m.Name, func(x *gossip.Member) { *x = m })
	}
	one.await("the conflict is told", func() bool { return strings.Contains(one.nodes["a"].q.Status().Conflict, "[b]") })
	one.propose("a", putStream("x"))
	if n := len(one.nodes["a"].q.Servers()); n != 1 {
		t.Errorf("%d servers", n)
	}
	one.set("b", func(m *gossip.Member) { m.Meta.Formed = "" })
	one.await("there is one site again", func() bool { return one.nodes["a"].q.Status().Conflict == "" })
}

func TestProposeWithoutASite(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	s.start("a")
	s.await("raft runs", func() bool { return s.nodes["a"].q.Status().State == "unformed" })
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.nodes["a"].q.Propose(ctx, putStream("x")); !errors.Is(err, ErrNoLeader) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if s.nodes["a"].q.Bootstrapped() {
		t.Error("it has a site")
	}
}

// The leader's connection breaks while a change is under way.
func TestUnknownFate(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.start("a", "b", "c")
	s.formed("a", "b", "c")
	for range 10 {
		leader := s.leader()
		s.net.isolate(leader, true) // it can't commit
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		_, err := s.nodes[leader].q.Propose(ctx, putStream("x"))
		cancel()
		if errors.Is(err, ErrUnknownFate) {
			return
		}
		if !errors.Is(err, ErrNoLeader) { // it may have stepped down before
			t.Fatalf("cut off: %v", err)
		}
		s.net.isolate(leader, false)
	}
	t.Error("no leader took the change before it stepped down")
}
