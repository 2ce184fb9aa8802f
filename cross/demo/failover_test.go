package main

import (
	"testing"

	"cistern/agent/status"
	"cistern/cross/rig"
)

// view is a site where partition i is led by the i-th of leaders, who says so
// itself unless the name has a question mark.
func view(quorum string, isr int, leaders ...string) *rig.View {
	v := &rig.View{Quorum: quorum}
	for i, name := range leaders {
		p := status.Partition{Partition: int32(i)}
		p.Role, p.Leader, p.ISR = status.RoleLeader, name, make([]string, isr)
		if name[len(name)-1] == '?' {
			p.Role, p.Leader = status.RoleFollower, name[:len(name)-1]
		}
		v.Partitions = append(v.Partitions, p)
	}
	return v
}

func TestWhoIsMissedMost(t *testing.T) {
	d := &demo{site: &rig.Site{Gateways: []*rig.Gateway{{Name: "a"}, {Name: "b"}, {Name: "c"}}}}
	for _, c := range []struct {
		view *rig.View
		want string
	}{
		{view("a", 3, "a", "b", "b", "c"), "b"},
		{view("c", 3, "a", "b", "c"), "c"},
		{view("", 3, "c", "c", "b"), "c"},
		{view("c", 3, "a", "a", "b", "c"), "a"},
	} {
		if got := d.mostMissed(c.view).Name; got != c.want {
			t.Errorf("%v and quorum %q: %s, want %s", c.view.Leaders(), c.view.Quorum, got, c.want)
		}
	}
}

func TestTakenOver(t *testing.T) {
	dead := &rig.Gateway{Name: "a"}
	for _, c := range []struct {
		view *rig.View
		want bool
	}{
		{view("", 2, "b", "c"), true},
		{view("", 2, "b", "a"), false},
		{view("", 2, "b", "c?"), false}, // the site says so, c does not know yet
	} {
		if got := led(c.view, dead); got != c.want {
			t.Errorf("%v: %v", c.view.Leaders(), got)
		}
	}
}

func TestInSync(t *testing.T) {
	if inSync(view("", gateways-1, "b", "c")) || inSync(view("", gateways, "b", "c?")) || !inSync(view("", gateways, "b", "c")) {
		t.Error("in sync is: every leader says that every copy is")
	}
}
