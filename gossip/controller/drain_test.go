package controller

import (
	"fmt"
	"strings"
	"testing"

	"cistern/gossip/metadata"
)

func (s *site) assign(id metadata.PartitionID, n metadata.NodeID) metadata.Change {
	return metadata.Change{AssignDrain: &metadata.AssignDrain{Partition: id, Node: n, Epoch: s.img.Drains[id].Epoch}}
}

func (s *site) drainer(t *testing.T, want metadata.NodeID, epoch int32) {
	t.Helper()
	if n, _, e := s.img.Drainer(s0); n != want || e != epoch {
		t.Fatalf("%d drains in epoch %d, want %d in %d", n, e, want, epoch)
	}
}

// Whoever was assigned drains until it leads, leaves the ISR, or starts again,
// and what it says afterwards counts no more.
func TestAssignDrain(t *testing.T) {
	s := three(t)
	put := func(cursor string) metadata.Change {
		_, term, epoch := s.img.Drainer(s0)
		return metadata.Change{PutDrain: &metadata.PutDrain{Partition: s0, LeaderEpoch: term, Epoch: epoch, Cursor: []byte(cursor)}}
	}
	s.drainer(t, 1, 0)
	s.do(put("leader"))
	leaders := put("late")
	s.do(s.assign(s0, 1)) // it does already
	s.drainer(t, 1, 0)
	s.do(s.assign(s0, 2))
	s.drainer(t, 2, 1)
	s.refused(leaders, metadata.ErrFencedLeaderEpoch)
	s.do(put("second"))
	s.do(s.assign(s0, metadata.NoNode))
	s.drainer(t, 1, 2)
	if c := string(s.img.Drains[s0].Cursor); c != "second" {
		t.Fatalf("the cursor is %q", c)
	}

	s.refused(s.assign(s0, 4), metadata.ErrIneligibleReplica)
	s.refused(s.assign(s0, 0), metadata.ErrIneligibleReplica)
	s.refused(s.assign(part("x", 0), 1), metadata.ErrUnknownPartition)
	stale := s.assign(s0, 2)
	s.do(s.assign(s0, 3))
	s.refused(stale, metadata.ErrInvalidUpdateVersion)
	s.do(s.alter(s0, 1, 2))
	s.drainer(t, 1, 4)
	s.refused(s.assign(s0, 3), metadata.ErrIneligibleReplica)

	s.do(s.assign(s0, 2))
	s.start("b") // a process that has just begun: its uplink is not known
	s.drainer(t, 1, 6)
	s.do(s.assign(s0, 2))
	s.fence(1)
	s.drainer(t, 2, 8) // it leads
	if d := s.img.Drains[s0]; d.Node != 0 {
		t.Fatalf("%+v", d)
	}
	s.fence(2)
	s.drainer(t, metadata.NoNode, 8)
	s.refused(s.assign(s0, 2), metadata.ErrIneligibleReplica)
}

// A cursor that was overtaken on its way brings nothing back, and one that was
// sent twice is no mistake.
func TestPutDrainOvertaken(t *testing.T) {
	s := three(t)
	put := func(seq int64, cursor string) metadata.Change {
		_, term, epoch := s.img.Drainer(s0)
		return metadata.Change{PutDrain: &metadata.PutDrain{Partition: s0, LeaderEpoch: term, Epoch: epoch, Seq: seq, Cursor: []byte(cursor)}}
	}
	s.do(put(2, "two"))
	s.do(put(2, "two"))
	s.refused(put(1, "one"), metadata.ErrInvalidUpdateVersion)
	s.refused(put(2, "other"), metadata.ErrInvalidUpdateVersion)
	s.do(s.assign(s0, 2)) // who counts anew
	s.do(put(1, "its first"))
	s.fence(1) // 2 leads now
	s.do(put(1, "in its next epoch"))
	s.do(put(0, "by one that does not count"))
	s.do(put(1, "counted"))
}

// One cursor of many that is refused holds the others up no more than it must.
func TestPutDrains(t *testing.T) {
	s := three(t)
	s.stream("u", 4, 3, 2)
	many := func(n int) metadata.Change {
		c := &metadata.PutDrains{}
		for i := range n {
			c.Drains = append(c.Drains, metadata.PutDrain{Partition: part("u", int32(i)), Cursor: []byte{1}})
		}
		return metadata.Change{PutDrains: c}
	}
	if r := s.do(many(4)); r.Detail != "" {
		t.Fatalf("%+v", r)
	}
	c := many(6)
	c.PutDrains.Drains[1].LeaderEpoch = 5
	c.PutDrains.Drains[2].Epoch = 5
	c.PutDrains.Drains[3].Cursor = []byte{3}
	if r := s.do(c); !strings.HasPrefix(r.Detail, "4 of 6 cursors were refused") {
		t.Fatalf("%+v", r)
	}
	for i, want := range []byte{1, 1, 1, 3} {
		if got := s.img.Drains[part("u", int32(i))].Cursor; got[0] != want {
			t.Errorf("%d: %v, want %d", i, got, want)
		}
	}
	s.refused(many(0), metadata.ErrInvalid)
	s.refused(many(metadata.DrainsMax+1), metadata.ErrInvalid)
}

// Clocks are kept in the order in which they were told first.
func TestPutClock(t *testing.T) {
	s := three(t)
	put := func(boot string, at int64) metadata.Change {
		return metadata.Change{PutClock: &metadata.PutClock{Boot: boot, Node: 1, BootAt: at}}
	}
	for i := range metadata.ClocksMax {
		s.do(put(fmt.Sprint("boot-", i), int64(i)))
	}
	s.do(put("boot-0", 7)) // corrected, and as old as before
	if c := s.img.Clocks["boot-0"]; c.BootAt != 7 || len(s.img.Clocks) != metadata.ClocksMax {
		t.Fatalf("%+v of %d", c, len(s.img.Clocks))
	}
	s.do(put("one more", 8))
	_, first := s.img.Clocks["boot-0"]
	_, second := s.img.Clocks["boot-1"]
	if first || !second || len(s.img.Clocks) != metadata.ClocksMax {
		t.Fatalf("the first is kept: %v, the second: %v, of %d", first, second, len(s.img.Clocks))
	}
	s.refused(put("", 1), metadata.ErrInvalid)
	s.refused(metadata.Change{PutClock: &metadata.PutClock{Boot: "x", Node: 9}}, metadata.ErrUnknownMember)
}
