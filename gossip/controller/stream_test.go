package controller

import (
	"slices"
	"testing"

	"cistern/gossip/metadata"
)

func TestReplicasAndMinInsync(t *testing.T) {
	for _, x := range []struct{ asked, live, replicas, minInsync int }{
		{0, 1, 1, 1}, {0, 2, 2, 1}, {0, 3, 3, 2}, {0, 16, 3, 2}, {0, 0, 1, 1},
		{1, 16, 1, 1}, {2, 16, 2, 1}, {5, 3, 3, 2}, {5, 16, 5, 2},
	} {
		c := metadata.StreamConfig{Replicas: x.asked}
		n := Replicas(c, x.live)
		if m := MinInsync(c, n); n != x.replicas || m != x.minInsync {
			t.Errorf("%d asked of %d: %d, %d in sync; want %d, %d", x.asked, x.live, n, m, x.replicas, x.minInsync)
		}
	}
	if m := MinInsync(metadata.StreamConfig{Replicas: 3, MinInsync: 3}, 1); m != 3 {
		t.Errorf("a promise of 3 became %d with one gateway", m)
	}
	if m := MinInsync(metadata.StreamConfig{Replicas: 2}, 3); m != 1 {
		t.Errorf("a move raised min_insync to %d", m)
	}
}

func TestPutStream(t *testing.T) {
	s := newSite(t, "a", "b", "c")
	s.stream("s", 3, 0, 0)
	first := s.img.Streams["s"]
	s.stream("s", 3, 0, 0) // said again
	if s.img.Streams["s"] != first {
		t.Fatal("a repeated order made another stream")
	}
	leads := map[metadata.NodeID]int{}
	each(s.img, func(id metadata.PartitionID, p *metadata.PartitionState) {
		leads[p.Leader]++
		if len(p.Replicas) != 3 || !slices.Equal(p.Replicas, p.ISR) || p.Leader != p.Replicas[0] {
			t.Errorf("%s: %+v", id, p)
		}
	})
	if len(leads) != 3 {
		t.Errorf("3 partitions are led by %v", leads)
	}
	c := first.Config
	c.Partitions, c.RetentionBytes = 5, 1<<20
	s.do(metadata.Change{PutStream: &metadata.PutStream{Config: c, Alter: true}})
	if now := s.img.Streams["s"]; len(now.Partitions) != 5 || now.ID != first.ID || now.Config != c || !same(&now.Partitions[0], &first.Partitions[0]) {
		t.Fatalf("%+v", now)
	}

	s.do(metadata.Change{PutDrain: &metadata.PutDrain{Partition: s0, Cursor: []byte("here")}})
	s.do(metadata.Change{DeleteStream: &metadata.DeleteStream{Name: "s"}})
	if len(s.img.Streams)+len(s.img.Drains) != 0 {
		t.Fatalf("%+v", s.img)
	}
	s.stream("s", 1, 0, 0)
	if s.img.Streams["s"].ID == first.ID {
		t.Fatal("a stream that was made again is the old one")
	}
}

func TestDrainCursorIsFenced(t *testing.T) {
	s := three(t)
	put := func(epoch int32, cursor string) metadata.Change {
		return metadata.Change{PutDrain: &metadata.PutDrain{Partition: s0, LeaderEpoch: epoch, Cursor: []byte(cursor)}}
	}
	e := s.epoch()
	s.do(put(e, "one"))
	s.fence(1)
	s.refused(put(e, "zombie"), metadata.ErrFencedLeaderEpoch)
	s.do(put(e+1, "two"))
	if d := s.img.Drains[s0]; string(d.Cursor) != "two" || d.LeaderEpoch != e+1 {
		t.Fatalf("%+v", d)
	}
	s.fence(2)
	s.fence(3)
	s.refused(put(s.epoch(), "nobody's"), metadata.ErrFencedLeaderEpoch)
}

func TestReassignUnionThenTrim(t *testing.T) {
	s := newSite(t, "a", "b", "c", "d")
	s.stream("s", 1, 3, 0)
	s.reorder(s0, 1, 2, 3)
	to := func(n ...metadata.NodeID) metadata.Change {
		return metadata.Change{Reassign: &metadata.Reassign{Partition: s0, PartitionEpoch: s.img.Partition(s0).PartitionEpoch, Replicas: n}}
	}
	s.do(to(4, 2, 3))
	p := s.want(s0, "1/0 [4 2 3 1] [1 2 3]")
	if p.Settled() != 3 {
		t.Fatalf("%+v", p)
	}
	s.do(s.alter(s0, 1, 2, 3, 4))
	s.want(s0, "4/1 [4 2 3] [4 2 3]") // done: the old leader hands over

	// Another wish half-way: whoever came and is in sync is not dropped.
	s.do(to(1, 2, 3))
	s.fence(2)
	s.fence(3)
	s.do(s.alter(s0, 4, 1))
	s.want(s0, "4/1 [1 2 3 4] [1 4]") // a alone would be fewer than min_insync
	s.again("b")
	s.again("c")
	s.catchUp()
	s.want(s0, "1/2 [1 2 3] [1 2 3]")

	// Back to where it was: what came goes, nothing waits.
	s.do(to(1, 2, 4))
	s.do(to(1, 2, 3))
	if p := s.want(s0, "1/2 [1 2 3] [1 2 3]"); len(p.Adding)+len(p.Removing) != 0 {
		t.Fatalf("%+v", p)
	}

	// Fewer: at once.
	s.do(to(1, 2))
	s.want(s0, "1/2 [1 2] [1 2]")
}

func TestReassignWaitsForMinInsync(t *testing.T) {
	s := three(t) // min_insync 2
	s.start("d")
	s.do(s.alter(s0, 1, 3))
	s.do(metadata.Change{Reassign: &metadata.Reassign{Partition: s0, PartitionEpoch: AnyEpoch, Replicas: []metadata.NodeID{1, 2}}})
	if p := s.want(s0, "1/0 [1 2 3] [1 3]"); !slices.Equal(p.Removing, []metadata.NodeID{3}) {
		t.Fatalf("c leaves, and only one copy stays: %+v", p)
	}
	s.do(s.alter(s0, 1, 2, 3))
	s.want(s0, "1/0 [1 2] [1 2]")
}

// The last in sync is one that a reassignment brought in; the next one does
// not want it.
func TestReassignKeepsTheLastInSync(t *testing.T) {
	s := newSite(t, "a", "b", "c", "d")
	s.stream("s", 1, 1, 1)
	s.reorder(s0, 1)
	to := func(n ...metadata.NodeID) metadata.Change {
		return metadata.Change{Reassign: &metadata.Reassign{Partition: s0, PartitionEpoch: AnyEpoch, Replicas: n}}
	}
	s.do(to(2, 3))
	s.do(s.alter(s0, 1, 2))
	s.fence(1)
	s.want(s0, "2/1 [2 3 1] [2]")
	s.do(to(4))
	s.want(s0, "2/1 [4 2 1] [2]")
	s.do(s.alter(s0, 2, 4))
	s.want(s0, "4/2 [4] [4]")
}
