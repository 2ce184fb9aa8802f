package status

import (
	"strings"
	"testing"
)

// TestMendingSaysWhy: a gateway that answered is not said to be silent, and nobody is
// waited for where this gateway's own flash is the reason.
func TestMendingSaysWhy(t *testing.T) {
	for _, c := range []struct {
		name string
		m    Mending
		want string
	}{
		{"silent", Mending{Awaits: []string{"b", "c"}, Reason: "r"}, "mqtt/0 offsets 20 to 29, from b or c"},
		{"unproven", Mending{Unproven: []string{"b", "c"}, Reason: "r"}, "mqtt/0 offsets 20 to 29: what b and c sent can't be proven to be the same"},
		{"both", Mending{Awaits: []string{"b"}, Unproven: []string{"c"}, Reason: "r"}, "mqtt/0 offsets 20 to 29, from b: what c sent can't be proven to be the same"},
		{"no room", Mending{Reason: "patches are full"}, "mqtt/0 offsets 20 to 29: patches are full"},
	} {
		c.m.Stream, c.m.First, c.m.Last = "mqtt", 20, 29
		s := Site{Mending: []Mending{c.m}}
		if got := s.awaited(); len(got) != 1 || got[0] != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	w, _ := Lookup(MendingWaits)
	if strings.Contains(w.Title, "another gateway") {
		t.Errorf("the title blames a gateway: %q", w.Title)
	}
	for _, way := range []string{"site remove", "site drain-node", "replace the card", "drain skip"} {
		if !strings.Contains(w.Advice, way) {
			t.Errorf("the advice has no %q", way)
		}
	}
}
