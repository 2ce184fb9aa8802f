package controller

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"cistern/gossip/metadata"
)

// links are the uplinks of a site under test, by node ID.
type links map[metadata.NodeID]Liveness

func (l links) set(state Uplink, since time.Duration, nodes ...metadata.NodeID) {
	for _, n := range nodes {
		l[n] = Liveness{Uplink: state, UplinkFor: since}
	}
}

// live is everybody who is not fenced, with their uplinks.
func (l links) live(img *metadata.Image) (out []Liveness) {
	for n, m := range img.Members {
		one := l[n]
		one.Name, one.Alive, one.For = m.Name, !m.Fenced, time.Minute
		out = append(out, one)
	}
	return out
}

// assignments are what Decide wants to change about who drains.
func assignments(s *site, l links) (due []metadata.Change) {
	for _, c := range Decide(time.UnixMilli(1), s.img, l.live(s.img), DefaultPolicy()) {
		if c.AssignDrain != nil {
			due = append(due, c)
		}
	}
	return due
}

// settleDrains makes what is due until nothing is.
func settleDrains(t *testing.T, s *site, l links) (made int) {
	t.Helper()
	for range 200 {
		due := assignments(s, l)
		if len(due) == 0 {
			return made
		}
		for _, c := range due {
			s.do(c)
			made++
		}
	}
	t.Fatal("who drains never comes to rest")
	return 0
}

func drains(s *site) map[metadata.NodeID]int {
	by := map[metadata.NodeID]int{}
	each(s.img, func(id metadata.PartitionID, _ *metadata.PartitionState) {
		n, _, _ := s.img.Drainer(id)
		by[n]++
	})
	return by
}

// One modem serves the site, another takes over, and leaders get back what is
// theirs, but only when their own uplink has lasted.
func TestDrainersFollowUplinks(t *testing.T) {
	s := newSite(t, "a", "b", "c")
	s.stream("s", 30, 3, 2)
	policy, l := DefaultPolicy(), links{}
	step := func(what string, moves int, want ...int) {
		t.Helper()
		made, by := settleDrains(t, s, l), drains(s)
		if made != moves {
			t.Errorf("%s: %d moves, want %d", what, made, moves)
		}
		for i, n := range want {
			if got := by[metadata.NodeID(i+1)]; got < n-1 || got > n+1 || n == 0 && got != 0 {
				t.Errorf("%s: drained by %v, want %v", what, by, want)
			}
		}
	}
	step("nobody has said anything", 0, 10, 10, 10)
	l.set(UplinkDown, time.Hour, 1, 2, 3)
	step("nobody has an uplink", 0, 10, 10, 10)
	l.set(UplinkUp, policy.DrainSteady-1, 1)
	step("one has answered just now", 0, 10, 10, 10)
	l.set(UplinkUp, time.Hour, 1)
	l.set(UplinkDown, policy.DrainAfter-1, 2)
	step("b's may come back", 10, 20, 10, 0)
	l.set(UplinkDown, policy.DrainAfter, 2)
	step("one modem", 10, 30, 0, 0)
	l.set(UplinkDown, time.Hour, 1)
	step("its cable is pulled", 0, 30, 0, 0)
	l.set(UplinkUp, policy.DrainSteady, 2, 3)
	step("two others are up", 30, 0, 15, 15)
	l.set(UplinkUp, policy.DrainBackAfter-1, 1, 2, 3)
	step("all are up", 0, 0, 15, 15)
	l.set(UplinkUp, policy.DrainBackAfter, 1, 2, 3)
	if by := drains(s); settleDrains(t, s, l) == 0 || by[1] != 0 {
		t.Errorf("before: %v", by)
	}
	step("for long", 0, 10, 10, 10)
}

// A gateway that will be switched off gives back what it drains for others.
func TestDrainersLeaveWhoIsSwitchedOff(t *testing.T) {
	s := newSite(t, "a", "b", "c")
	s.stream("s", 3, 3, 2)
	l := links{}
	l.set(UplinkDown, time.Hour, 1)
	l.set(UplinkUp, time.Hour, 2, 3)
	settleDrains(t, s, l)
	s.do(metadata.Change{DrainNode: &metadata.DrainNode{Node: 2, On: true}})
	settleDrains(t, s, l)
	if by := drains(s); by[3] != 3 {
		t.Fatalf("drained by %v", by)
	}
}

// TestDrainersRandomly lets uplinks come and go, gateways die, start again and
// fall out of sync, and believes gossip late. Whatever happens, no two gateways
// drain a partition in the same epochs, and what is assigned is in sync (Check and
// CheckStep, in site.apply, and stale proposals, here); few move at once; and
// when all is quiet, whoever drains has an uplink if anybody in sync has.
func TestDrainersRandomly(t *testing.T) {
	policy, moves, refused := DefaultPolicy(), 0, 0
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := newSite(t, "a", "b", "c", "d", "e")
		s.stream("s", 12, 3, 2)
		l := links{}
		var late []metadata.Change
		for range 120 {
			n := metadata.NodeID(r.IntN(5) + 1)
			l.set(Uplink(r.IntN(3)), time.Duration(r.Int64N(int64(2*policy.DrainBackAfter))), n)
			disturb(s, r, n)
			due := assignments(s, l)
			if len(due) > policy.DrainersMax {
				t.Fatalf("%d moves at once", len(due))
			}
			if r.IntN(4) == 0 { // a leader of the quorum whose word comes late
				late, due = due, late
			}
			for _, c := range due {
				if made := s.apply(c); made.Error == "" {
					moves++
				} else {
					refused++
				}
			}
		}
		quiet(t, seed, s, l)
	}
	if moves < 300 || refused < 50 {
		t.Fatalf("%d moves, %d of them too late: the walk is not worth much", moves, refused)
	}
}

// disturb makes one thing happen to a gateway or a partition.
func disturb(s *site, r *rand.Rand, n metadata.NodeID) {
	m := s.img.Members[n]
	id := part("s", int32(r.IntN(12)))
	switch p := s.img.Partition(id); r.IntN(5) {
	case 0:
		s.fence(n)
	case 1:
		s.start(m.Name)
	case 2:
		s.catchUp()
	case 3:
		if len(p.ISR) > 1 && p.Leader != metadata.NoNode {
			s.apply(s.alter(id, p.Leader))
		}
	case 4:
		s.apply(metadata.Change{Elect: &metadata.Elect{Partition: id, Node: n, PartitionEpoch: AnyEpoch}})
	}
}

// quiet lets everybody stay as they are for long.
func quiet(t *testing.T, seed uint64, s *site, l links) {
	t.Helper()
	for n, one := range l {
		one.UplinkFor = time.Hour
		l[n] = one
	}
	made := settleDrains(t, s, l)
	if n := partitions(s.img); made > n {
		t.Errorf("seed %d: %d moves to settle %d partitions", seed, made, n)
	}
	each(s.img, func(id metadata.PartitionID, p *metadata.PartitionState) {
		n, _, _ := s.img.Drainer(id)
		if l[p.Leader].Uplink == UplinkUp && n != p.Leader {
			t.Errorf("seed %d: %s is drained by %d, and its leader %d could", seed, id, n, p.Leader)
		}
		for _, other := range p.ISR {
			if l[n].Uplink == UplinkDown && l[other].Uplink == UplinkUp && !s.img.Members[other].Fenced {
				t.Errorf("seed %d: %s is drained by %d without an uplink, and %d has one: %s", seed, id, n, other, fmt.Sprintf("%+v", p))
			}
		}
	})
}
