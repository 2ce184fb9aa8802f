package controller

import (
	"slices"
	"strings"
	"testing"
	"time"

	"cistern/gossip/metadata"
)

func TestFormCountsOnce(t *testing.T) {
	s := newSite(t)
	s.do(metadata.Change{Form: &metadata.Form{Site: "one"}})
	s.do(metadata.Change{Form: &metadata.Form{Site: "two"}})
	if s.img.Site != "one" {
		t.Fatal(s.img.Site)
	}
}

func TestRegisterKeepsTheIDAndCountsLives(t *testing.T) {
	s := newSite(t, "a", "b")
	for _, x := range []struct {
		what        string
		do          func() metadata.Result
		node        metadata.NodeID
		incarnation uint64
	}{
		{"repeated", func() metadata.Result { return s.again("a") }, 1, 1},
		{"started", func() metadata.Result { return s.start("a") }, 1, 2},
		{"another", func() metadata.Result { return s.start("c") }, 3, 1},
		{"fenced and back", func() metadata.Result { s.fence(1); return s.again("a") }, 1, 3},
	} {
		if r := x.do(); r.Node != x.node || r.Incarnation != x.incarnation {
			t.Errorf("%s: %+v, want %d in %d", x.what, r, x.node, x.incarnation)
		}
	}
	m := s.img.Members[1]
	if m.Fenced || m.FencedAt != 0 || m.Address != "a:7072" || m.Weight != 1 {
		t.Fatalf("%+v", m)
	}
}

// A card is swapped. The name belongs to the former life until that is fenced;
// then the gateway leaves every ISR, since it has nothing.
func TestAnotherCard(t *testing.T) {
	s := three(t)
	r := s.hello("a")
	r.StoreID = "card-new"
	s.refused(metadata.Change{Register: r}, metadata.ErrNotAllowed)
	s.fence(1)
	s.do(metadata.Change{Register: r})
	s.want(s0, "2/1 [1 2 3] [2 3]")
	s.catchUp() // refilled
	s.want(s0, "2/1 [1 2 3] [1 2 3]")
}

// A registration that says unclean and is repeated, because its answer was
// lost, takes nothing away a second time.
func TestUncleanCountsOnce(t *testing.T) {
	s := three(t)
	r := s.hello("a")
	r.Unclean = true
	s.do(metadata.Change{Register: r})
	s.want(s0, "2/1 [1 2 3] [2 3]")
	s.catchUp()
	s.fence(2)
	s.fence(3)
	s.want(s0, "1/2 [1 2 3] [1]")
	if res := s.do(metadata.Change{Register: r}); res.Incarnation != 2 {
		t.Fatalf("%+v", res)
	}
	s.want(s0, "1/2 [1 2 3] [1]")

	// Flash that loses something later in the same life is another matter.
	s = three(t)
	r = s.hello("a")
	s.do(metadata.Change{Register: r})
	again := *r
	again.Unclean = true
	if res := s.do(metadata.Change{Register: &again}); res.Incarnation != 3 || s.img.Partition(s0).InISR(1) {
		t.Fatalf("%+v %+v", res, s.img.Partition(s0))
	}
}

// The last one, unclean, comes back later with another card as well.
func TestUncleanThenAnotherCard(t *testing.T) {
	s := newSite(t, "a")
	s.stream("s", 1, 1, 1)
	r := s.hello("a")
	r.Unclean = true
	s.do(metadata.Change{Register: r})
	s.fence(1)
	r = s.hello("a")
	r.StoreID = "card-new"
	s.do(metadata.Change{Register: r})
	if p := s.img.Partition(s0); !p.LastLost || p.Leader != metadata.NoNode {
		t.Fatalf("%+v", p)
	}
	s.do(metadata.Change{Elect: &metadata.Elect{Partition: s0, Node: 1, PartitionEpoch: AnyEpoch, Unclean: true}})
	s.want(s0, "1/2 [1] [1]")
}

func TestDrainNode(t *testing.T) {
	s := three(t)
	drain := func(n metadata.NodeID, on bool) {
		t.Helper()
		s.do(metadata.Change{DrainNode: &metadata.DrainNode{Node: n, On: on}})
	}
	drain(1, true)
	s.want(s0, "2/1 [1 2 3] [1 2 3]")
	drain(1, true)
	drain(2, true)
	s.want(s0, "3/2 [1 2 3] [1 2 3]")
	s.fence(3) // now only those who drain are left
	s.want(s0, "1/3 [1 2 3] [1 2]")
	s.again("c")
	s.catchUp()
	if due := s.decide(time.Second); len(due) != 1 || due[0].Elect == nil || due[0].Elect.Node != 3 {
		t.Fatalf("c is back and in sync, but %+v is due", due)
	}
	drain(1, false)
	drain(2, false)
	s.want(s0, "3/4 [1 2 3] [1 2 3]") // its leaderships come back calmly
}

func TestRemoveMember(t *testing.T) {
	s := newSite(t, "a", "b", "c", "d")
	s.stream("s", 8, 3, 2)
	s.do(metadata.Change{Register: func() *metadata.Register { r := s.hello("b"); r.Sources = []string{"mosquitto"}; return r }()})
	s.do(metadata.Change{AssignSource: &metadata.AssignSource{Source: "mosquitto", Node: 2}})
	s.fence(2)
	s.do(metadata.Change{RemoveMember: &metadata.RemoveMember{Node: 2}})
	each(s.img, func(id metadata.PartitionID, p *metadata.PartitionState) {
		if len(p.Replicas) != 3 || p.IsReplica(2) || MinInsync(s.img.Streams["s"].Config, p.Settled()) != 2 {
			t.Errorf("%s: %+v", id, p)
		}
	})
	if len(s.img.Sources) != 0 {
		t.Fatal("a gateway that is gone still reads")
	}
	s.catchUp()
	s.fence(3)
	s.do(metadata.Change{RemoveMember: &metadata.RemoveMember{Node: 3}}) // nobody is left to take its place
	each(s.img, func(id metadata.PartitionID, p *metadata.PartitionState) {
		if len(p.Replicas) != 2 || len(p.ISR) != 2 {
			t.Errorf("%s: %+v", id, p)
		}
	})
	s.fence(1)
	s.fence(4)
	r := s.refused(metadata.Change{RemoveMember: &metadata.RemoveMember{Node: 4}}, metadata.ErrNotAllowed)
	if !strings.Contains(r.Detail, "s/0, s/1") || !strings.Contains(r.Detail, "and others") {
		t.Fatal(r.Detail)
	}
}

// A gateway is removed whose place another was just taking.
func TestRemoveDuringReassignment(t *testing.T) {
	s := newSite(t, "a", "b", "c", "d")
	s.stream("s", 1, 2, 1)
	s.reorder(s0, 1, 2)
	s.do(metadata.Change{Reassign: &metadata.Reassign{Partition: s0, PartitionEpoch: AnyEpoch, Replicas: []metadata.NodeID{3, 4}}})
	s.want(s0, "1/0 [3 4 1 2] [1 2]")
	s.do(s.alter(s0, 1, 2, 3))
	s.fence(1)
	s.fence(2)
	for _, n := range []metadata.NodeID{1, 2} {
		s.do(metadata.Change{RemoveMember: &metadata.RemoveMember{Node: n}})
	}
	p := s.img.Partition(s0)
	if !slices.Equal(p.Replicas, []metadata.NodeID{3, 4}) || p.Leader != 3 || p.Settled() != 1 {
		t.Fatalf("%+v", p)
	}
	s.catchUp()
	if p := s.img.Partition(s0); len(p.ISR) != 2 || p.Settled() != 2 {
		t.Fatalf("%+v", p)
	}
}
