package controller

import (
	"slices"
	"testing"
	"time"

	"cistern/gossip/metadata"
)

var s0 = part("s", 0)

// three returns gateways 1, 2, 3 that keep s/0, led by 1.
func three(t *testing.T) *site {
	s := newSite(t, "a", "b", "c")
	s.stream("s", 1, 3, 2)
	s.reorder(s0, 1, 2, 3)
	if p := s.img.Partition(s0); p.Leader != 1 || len(p.ISR) != 3 {
		t.Fatalf("%+v", p)
	}
	return s
}

func (s *site) epoch() int32 { return s.img.Partition(s0).LeaderEpoch }

// Scenario 7: the last in sync is gone for good. Nobody leads until an operator
// says so, and that is counted.
func TestScenario7LastReplicaStanding(t *testing.T) {
	s := three(t)
	s.fence(1)
	s.fence(2)
	e := s.epoch()
	s.fence(3)
	p := s.img.Partition(s0)
	if p.Leader != metadata.NoNode || !slices.Equal(p.ISR, []metadata.NodeID{3}) || p.LeaderEpoch != e+1 {
		t.Fatalf("%+v", p)
	}
	s.again("a") // it lacks what 3 alone confirmed
	if s.img.Partition(s0).Leader != metadata.NoNode {
		t.Fatal("a leads without what c confirmed")
	}
	for _, n := range []metadata.NodeID{1, 3, metadata.NoNode} {
		s.refused(metadata.Change{Elect: &metadata.Elect{Partition: s0, Node: n, PartitionEpoch: AnyEpoch}}, metadata.ErrIneligibleReplica)
	}
	if due := s.decide(time.Hour, 2, 3); len(due) != 0 {
		t.Fatalf("Decide gives records up: %+v", due)
	}
	r := s.do(metadata.Change{Elect: &metadata.Elect{Partition: s0, Node: metadata.NoNode, PartitionEpoch: p.PartitionEpoch, Unclean: true}})
	if p := r.Partition; p.Leader != 1 || p.Unclean != 1 || p.LeaderEpoch != e+2 || !slices.Equal(p.ISR, []metadata.NodeID{1}) {
		t.Fatalf("%+v", p)
	}
}

// KIP-966: the last in sync comes back with what it had, and leads on.
func TestLastReplicaStandingReturns(t *testing.T) {
	s := three(t)
	s.fence(2)
	s.fence(3)
	s.fence(1)
	e := s.epoch()
	s.again("b")
	s.start("a")
	if p := s.img.Partition(s0); p.Leader != 1 || p.LeaderEpoch != e+1 || p.Unclean != 0 || len(p.ISR) != 1 {
		t.Fatalf("%+v", p)
	}
}

// KIP-966: the last in sync comes back having lost what it confirmed. It may
// not lead, and only an operator may say that it shall.
func TestLastReplicaStandingLostItsRecords(t *testing.T) {
	for name, lost := range map[string]func(r *metadata.Register){
		"unclean":      func(r *metadata.Register) { r.Unclean = true },
		"another card": func(r *metadata.Register) { r.StoreID = "card-new" },
	} {
		t.Run(name, func(t *testing.T) {
			s := three(t)
			s.fence(2)
			s.fence(3)
			s.fence(1)
			r := s.hello("a")
			lost(r)
			s.do(metadata.Change{Register: r})
			p := s.img.Partition(s0)
			if p.Leader != metadata.NoNode || len(p.ISR) != 0 || !slices.Equal(p.LastISR, []metadata.NodeID{1}) || p.LastLost != (r.StoreID == "card-new") {
				t.Fatalf("%+v", p)
			}
			s.again("b")
			if s.img.Partition(s0).Leader != metadata.NoNode {
				t.Fatal("b leads")
			}
			// An unclean a has most; an a with an empty card has nothing.
			want := metadata.NodeID(1)
			if p.LastLost {
				want = 2
			}
			got := s.do(metadata.Change{Elect: &metadata.Elect{Partition: s0, Node: metadata.NoNode, PartitionEpoch: AnyEpoch, Unclean: true}}).Partition
			if got.Leader != want || got.LastISR != nil || got.LastLost {
				t.Fatalf("%+v", got)
			}
		})
	}
}

// Scenario 10: b catches up, a asks to add it, b loses its card and is back
// empty; the old request arrives (KIP-903).
func TestScenario10ReturnsEmpty(t *testing.T) {
	s := three(t)
	s.fence(2)
	s.again("b")
	old := s.alter(s0, 1, 2, 3)
	s.fence(2)
	r := s.hello("b")
	r.StoreID = "card-new"
	s.do(metadata.Change{Register: r})
	if p := s.img.Partition(s0); old.AlterPartition.PartitionEpoch != p.PartitionEpoch {
		t.Fatal("the partition epoch already tells: the incarnation is not tried")
	}
	s.refused(old, metadata.ErrStaleIncarnation)
	if p := s.img.Partition(s0); p.InISR(2) {
		t.Fatalf("an empty card is in sync: %+v", p)
	}
}

// Scenario 11: the leader is back before anybody noticed; what it had not synced
// is gone and b may have it (KIP-380).
func TestScenario11FastReboot(t *testing.T) {
	s := three(t)
	e := s.epoch()
	if r := s.start("a"); r.Incarnation != 2 || r.Node != 1 {
		t.Fatalf("%+v", r)
	}
	p := s.img.Partition(s0)
	if p.Leader != 2 || p.LeaderEpoch != e+1 || len(p.ISR) != 3 {
		t.Fatalf("%+v", p)
	}
	version := p.PartitionEpoch
	s.start("c") // a follower's restart is nobody's business
	if p := s.img.Partition(s0); p.PartitionEpoch != version {
		t.Fatalf("%+v", p)
	}

	// Alone, it leads on, in another epoch.
	s.fence(1)
	s.fence(3)
	e = s.epoch()
	s.start("b")
	if p := s.img.Partition(s0); p.Leader != 2 || p.LeaderEpoch != e+1 {
		t.Fatalf("%+v", p)
	}
	s.again("b") // the same life says it twice: nothing
	if s.epoch() != e+1 {
		t.Fatal("a repeated registration costs an epoch")
	}
}

// Scenario 12: orders to an earlier incarnation.
func TestScenario12OldOrders(t *testing.T) {
	s := three(t)
	first := s.hello("a")
	first.StoreIncarnation = 1
	fence := metadata.Change{Fence: &metadata.Fence{Node: 1, Incarnation: s.img.Incarnation(1)}}
	alter := s.alter(s0, 1)
	s.start("a")
	now := s.img.Partition(s0)

	s.refused(fence, metadata.ErrStaleIncarnation)
	if r := s.refused(alter, metadata.ErrFencedLeaderEpoch); r.Partition == nil || r.Partition.LeaderEpoch != now.LeaderEpoch {
		t.Fatalf("a refused leader is not told the truth: %+v", r)
	}
	s.refused(metadata.Change{Register: first}, metadata.ErrStaleIncarnation)
	if !same(now, s.img.Partition(s0)) || s.img.Members[1].Fenced {
		t.Fatal("an old order did something")
	}
}

// Scenario 18: a cut that lets a flap. Its leadership goes once and returns
// only after it has been there for RebalanceAfter.
func TestScenario18NoPingPong(t *testing.T) {
	s := newSite(t, "a", "b", "c")
	s.stream("s", 12, 3, 2)
	leaders := func() (out []metadata.NodeID) {
		each(s.img, func(_ metadata.PartitionID, p *metadata.PartitionState) { out = append(out, p.Leader) })
		return out
	}
	s.fence(1)
	s.again("a")
	s.catchUp()
	after := leaders()
	if slices.Contains(after, 1) {
		t.Fatal("the flapping gateway leads again at once")
	}
	for range 30 {
		for _, c := range Decide(time.UnixMilli(0), s.img, s.alive(time.Second, 1), DefaultPolicy()) {
			s.do(c)
		}
		s.again("a")
		s.catchUp()
		s.decide(time.Minute)
		if now := leaders(); !slices.Equal(now, after) {
			t.Fatalf("leaders were %v and are %v", after, now)
		}
	}
	moved := s.decide(DefaultPolicy().RebalanceAfter)
	if n := len(moved); n != 4 {
		t.Fatalf("%d changes to give a its third of 12 back: %+v", n, moved)
	}
}

// Scenario 20: gateways are cut off, killed and removed in quick order.
func TestScenario20QuickChanges(t *testing.T) {
	s := newSite(t, "a", "b", "c", "d", "e")
	s.stream("s", 20, 3, 2)
	s.fence(1) // cut off
	s.fence(2) // killed
	s.do(metadata.Change{DrainNode: &metadata.DrainNode{Node: 4, On: true}})
	// d may have the only copy of some: it can't go before others have them.
	s.refused(metadata.Change{RemoveMember: &metadata.RemoveMember{Node: 4}}, metadata.ErrNotAllowed)
	s.again("a")
	s.start("b")
	s.catchUp()
	s.do(metadata.Change{RemoveMember: &metadata.RemoveMember{Node: 4}})
	s.catchUp()
	each(s.img, func(id metadata.PartitionID, p *metadata.PartitionState) {
		if p.Unclean != 0 || p.Leader == metadata.NoNode || len(p.ISR) != 3 || p.IsReplica(4) {
			t.Errorf("%s: %+v", id, p)
		}
	})
	if r := s.start("d"); r.Node != 6 {
		t.Fatalf("a removed gateway is back under node ID %d", r.Node)
	}
}

// A life that restarts within moments loses nothing by being fenced late.
func TestFenceThenReturnKeepsOthersLeading(t *testing.T) {
	s := three(t)
	s.fence(1)
	if p := s.img.Partition(s0); p.Leader != 2 || p.InISR(1) {
		t.Fatalf("%+v", p)
	}
	version := s.img.Partition(s0).PartitionEpoch
	s.fence(1)
	s.again("a")
	if p := s.img.Partition(s0); p.Leader != 2 || p.PartitionEpoch != version {
		t.Fatalf("%+v", p)
	}
}
