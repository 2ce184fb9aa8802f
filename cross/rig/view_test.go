package rig

import (
	"slices"
	"testing"

	"cistern/agent/status"
)

// says is what one gateway says of a stream's partitions.
func says(name string, parked int64, partitions ...status.Partition) *status.Document {
	d := &status.Document{Site: &status.Site{}, Streams: []status.Stream{{Name: "mqtt", Parked: &status.Parked{Records: parked}}}}
	for i, p := range partitions {
		p.Partition = int32(i)
		p.Backlog.Records = p.HighWatermark
		if p.Role == status.RoleLeader {
			p.Leader, p.Backlog.Records = name, p.HighWatermark-p.Drained
		}
		d.Streams[0].Partitions = append(d.Streams[0].Partitions, p)
	}
	return d
}

func copyOf(role, leader string, epoch int32, hw, drained int64) status.Partition {
	p := status.Partition{HighWatermark: hw, EndOffset: hw, Drained: drained}
	p.Role, p.Leader, p.LeaderEpoch = role, leader, epoch
	return p
}

// Each partition is as its leader says; one that only thinks it leads is not
// believed, and where nobody leads the longest copy speaks.
func TestView(t *testing.T) {
	v := &View{}
	v.add(says("a", 2, copyOf(status.RoleLeader, "", 1, 90, 90), copyOf(status.RoleFollower, "b", 3, 50, -1), copyOf(status.RoleFollower, "", 4, 7, -1)))
	v.add(says("b", 3, copyOf(status.RoleLeader, "", 2, 100, 40), copyOf(status.RoleLeader, "", 3, 50, 50), copyOf(status.RoleFollower, "", 4, 9, -1)))
	for i, want := range []int64{60, 0, 9} {
		if got := v.Partitions[i].Backlog.Records; got != want {
			t.Errorf("partition %d: backlog %d, want %d", i, got, want)
		}
	}
	if got := v.Leaders(); !slices.Equal(got, []string{"b", "b", ""}) || v.Running != 2 || v.Backlog() != 69 || v.Parked.Records != 5 {
		t.Errorf("led by %v, %d running, backlog %d, parked %v", got, v.Running, v.Backlog(), v.Parked)
	}
	if v.Drained() {
		t.Error("drained, with a backlog and a partition that nobody leads")
	}
}

func TestDrained(t *testing.T) {
	for _, c := range []struct {
		parked, drained, end int64
		want                 bool
	}{{0, 9, 9, true}, {1, 9, 9, false}, {0, 8, 9, false}, {0, 9, 10, false}} {
		p := copyOf(status.RoleLeader, "", 1, 9, c.drained)
		p.EndOffset = c.end
		v := &View{}
		v.add(says("a", c.parked, p))
		if v.Drained() != c.want {
			t.Errorf("parked %d, drained %d of 9, end %d: %v", c.parked, c.drained, c.end, !c.want)
		}
	}
}
