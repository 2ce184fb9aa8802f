package controller

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"cistern/gossip/metadata"
)

func TestDecideFences(t *testing.T) {
	s := newSite(t, "a", "b", "c", "d")
	s.stream("s", 1, 3, 2)
	p := DefaultPolicy()
	p.FenceAfter = time.Second
	live := []Liveness{
		{Name: "a", Alive: false, For: time.Second},
		{Name: "b", Alive: false, For: time.Second - 1},
		{Name: "c", Alive: true, For: time.Hour, Unregistered: p.RegisterWithin},
		// d is not in the list, and nobody is called x.
		{Name: "x", Alive: false, For: time.Hour},
	}
	due := Decide(time.UnixMilli(7), s.img, live, p)
	if len(due) != 2 || due[0].Fence == nil || due[0].Fence.Node != 1 || due[1].Fence == nil || due[1].Fence.Node != 3 || due[0].At != 7 {
		t.Fatalf("%+v", due)
	}
	for _, c := range due {
		s.do(c)
	}
	if s.img.Members[1].FencedAt != 7 {
		t.Fatalf("%+v", s.img.Members[1])
	}
	if due := Decide(time.UnixMilli(8), s.img, live, p); len(due) != 0 {
		t.Fatalf("%+v", due)
	}
}

// A gateway with another card is alive before its former life is fenced: it
// is let in all the same.
func TestDecideLetsAnotherCardIn(t *testing.T) {
	s := three(t)
	r := s.hello("a")
	r.StoreID = "card-new"
	s.refused(metadata.Change{Register: r}, metadata.ErrNotAllowed)
	live := s.alive(time.Hour)
	for i := range live {
		if live[i].Name == "a" {
			live[i].Unregistered = time.Minute
		}
	}
	for _, c := range Decide(time.UnixMilli(0), s.img, live, DefaultPolicy()) {
		s.do(c)
	}
	s.do(metadata.Change{Register: r})
}

// A site of one becomes a site of three: what asked for nothing gets copies,
// and confirmations go on with one until the others have caught up.
func TestDecideGrows(t *testing.T) {
	s := newSite(t, "a")
	s.stream("s", 2, 0, 0)
	s.stream("one", 1, 1, 0)
	s.start("b")
	s.start("c")
	for _, c := range Decide(time.UnixMilli(0), s.img, s.alive(0), DefaultPolicy()) {
		s.do(c)
	}
	config := s.img.Streams["s"].Config
	p := s.img.Partition(s0)
	if len(p.Replicas) != 3 || MinInsync(config, p.Settled()) != 1 {
		t.Fatalf("%+v", p)
	}
	s.decide(0)
	p = s.img.Partition(s0)
	if len(p.ISR) != 3 || MinInsync(config, p.Settled()) != 2 {
		t.Fatalf("%+v", p)
	}
	if p := s.img.Partition(part("one", 0)); len(p.Replicas) != 1 {
		t.Fatalf("%+v", p)
	}
	s.decide(time.Hour) // leaderships are shared
	s.balanced(7./3, 0.5, 0)
}

func TestDecideCarriesOutAlteredReplicas(t *testing.T) {
	s := newSite(t, "a", "b", "c", "d", "e")
	s.stream("s", 4, 5, 2)
	for _, n := range []int{2, 4, 1} {
		c := s.img.Streams["s"].Config
		c.Replicas, c.MinInsync = n, 1
		s.do(metadata.Change{PutStream: &metadata.PutStream{Config: c, Alter: true}})
		s.decide(time.Hour)
		each(s.img, func(id metadata.PartitionID, p *metadata.PartitionState) {
			if len(p.Replicas) != n || len(p.ISR) != n {
				t.Errorf("%s: %+v, want %d replicas", id, p, n)
			}
		})
	}
}

// A gateway is gone: nothing moves for as long as a reboot takes, then only
// what it kept.
func TestDecideReplaces(t *testing.T) {
	s := newSite(t, "a", "b", "c", "d", "e")
	s.stream("s", 20, 3, 2)
	s.decide(0, 1) // fenced
	before := deepClone(s.img)
	if due := s.decide(DefaultPolicy().ReplaceAfter-1, 1); slices.ContainsFunc(due, func(c metadata.Change) bool {
		return c.Reassign != nil && len(without(c.Reassign.Replicas, before.Partition(c.Reassign.Partition).Replicas...)) > 0
	}) {
		t.Fatalf("copied too early: %+v", due)
	}
	s.decide(DefaultPolicy().ReplaceAfter, 1)
	lost, copies := 0, 0
	each(s.img, func(id metadata.PartitionID, p *metadata.PartitionState) {
		old := before.Partition(id)
		if old.IsReplica(1) {
			lost++
		}
		copies += len(without(p.Replicas, old.Replicas...))
		if p.IsReplica(1) || len(p.ISR) != 3 {
			t.Errorf("%s: %+v", id, p)
		}
	})
	if copies < lost || copies > lost+2 { // one or two more make shares even
		t.Errorf("%d copies for %d that were lost", copies, lost)
	}
}

// Three gateways and three copies: nobody could take the place of the dead.
func TestDecideKeepsTheDeadWhenNobodyElseIsThere(t *testing.T) {
	s := three(t)
	s.decide(time.Hour, 3)
	if p := s.img.Partition(s0); len(p.Replicas) != 3 || MinInsync(s.img.Streams["s"].Config, p.Settled()) != 2 {
		t.Fatalf("%+v", p)
	}
}

func TestDecideMovesFewAtOnce(t *testing.T) {
	s := newSite(t, "a", "b", "c")
	s.stream("s", 30, 3, 2)
	s.start("d")
	for range 5 { // followers don't catch up: nothing more is begun
		for _, c := range Decide(time.UnixMilli(0), s.img, s.alive(time.Hour), DefaultPolicy()) {
			s.do(c)
		}
	}
	moving := 0
	each(s.img, func(_ metadata.PartitionID, p *metadata.PartitionState) { moving += len(p.Adding) })
	if moving != DefaultPolicy().MovesMax {
		t.Fatalf("%d copies are being made", moving)
	}
	p := DefaultPolicy()
	p.ChangesMax = 1
	if n := len(Decide(time.UnixMilli(0), newcomer(t).img, newcomer(t).alive(time.Hour), p)); n != 1 {
		t.Fatalf("%d changes", n)
	}
}

func newcomer(t *testing.T) *site {
	s := newSite(t, "a", "b", "c")
	s.stream("s", 30, 3, 2)
	s.start("d")
	return s
}

// A gateway joins: it gets its share and its leaderships, nothing moves between
// the others, and then it is quiet.
func TestDecideGivesANewGatewayItsShare(t *testing.T) {
	s := newcomer(t)
	if due := s.decide(time.Minute); len(due) != 0 {
		t.Fatalf("not calm: %+v", due)
	}
	before := deepClone(s.img)
	s.decide(time.Hour)
	copies := 0
	each(s.img, func(id metadata.PartitionID, p *metadata.PartitionState) {
		came := without(p.Replicas, before.Partition(id).Replicas...)
		if copies += len(came); len(came) > 1 || len(came) == 1 && came[0] != 4 {
			t.Errorf("%s: %v came", id, came)
		}
	})
	if share := 90 / 4; copies > share || copies < share*9/10 {
		t.Fatalf("%d copies, a share is %d", copies, share)
	}
	s.balanced(90./4, 0.13, 1)
}

func TestDecideUsesANewZone(t *testing.T) {
	s := newSite(t, "a@hall", "b@hall", "c@hall")
	s.stream("s", 6, 2, 1)
	s.start("d@roof")
	s.decide(time.Hour)
	each(s.img, func(id metadata.PartitionID, p *metadata.PartitionState) {
		if !p.IsReplica(4) || len(p.ISR) != 2 {
			t.Errorf("%s is in one hall: %+v", id, p)
		}
	})
}

func TestDecideSources(t *testing.T) {
	s := newSite(t, "a")
	reader := func(name string) {
		r := s.hello(name)
		r.Sources = []string{"mosquitto"}
		s.do(metadata.Change{Register: r})
	}
	reader("b")
	s.decide(0)
	if s.img.Sources["mosquitto"] != 2 {
		t.Fatalf("%v", s.img.Sources)
	}
	for i := range 6 {
		reader(fmt.Sprint("r", i))
	}
	if due := s.decide(0); len(due) != 0 {
		t.Fatalf("a living reader loses its source: %+v", due)
	}
	s.decide(0, 2)
	next := s.img.Sources["mosquitto"]
	if next < 3 {
		t.Fatalf("%v", s.img.Sources)
	}
	s.again("b") // back, and not in the way; its list of sources is empty now
	s.do(metadata.Change{DrainNode: &metadata.DrainNode{Node: next, On: true}})
	s.decide(0)
	if n := s.img.Sources["mosquitto"]; n == next || n < 3 {
		t.Fatalf("%d reads, %d drained", n, next)
	}
	for i := range 6 {
		s.start(fmt.Sprint("r", i)) // nobody is configured for it any more
	}
	s.decide(0)
	if len(s.img.Sources) != 0 {
		t.Fatalf("%v", s.img.Sources)
	}
}

// Sixteen gateways: one leaves for good, one joins, and the rest keeps what it
// has but for its part of the difference.
func TestSixteenGateways(t *testing.T) {
	var names []string
	for i := range 16 {
		names = append(names, fmt.Sprintf("gw-%d@zone-%d", i, i%4))
	}
	s := newSite(t, names...)
	s.stream("s", 64, 3, 2)
	kept := 0
	each(s.img, func(_ metadata.PartitionID, p *metadata.PartitionState) {
		if p.IsReplica(5) {
			kept++
		}
	})
	before := deepClone(s.img)
	s.decide(time.Hour, 5)
	copies := func() (n int) {
		each(s.img, func(id metadata.PartitionID, p *metadata.PartitionState) {
			n += len(without(p.Replicas, before.Partition(id).Replicas...))
		})
		return n
	}
	if n := copies(); n < kept || n > kept+3 {
		t.Fatalf("%d copies for %d that were lost", n, kept)
	}
	s.do(metadata.Change{RemoveMember: &metadata.RemoveMember{Node: 5}})
	before = deepClone(s.img)
	s.start("gw-16@zone-0")
	s.decide(time.Hour)
	if n := copies(); n < 9 || n > 14 {
		t.Fatalf("%d copies for a newcomer whose share is 12", n)
	}
	s.balanced(12, 0.15, 1)
}
