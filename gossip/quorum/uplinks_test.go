package quorum

import (
	"testing"
	"time"

	"cistern/gossip"
	"cistern/gossip/controller"
)

// An uplink's age counts from when it was heard of, and begins anew when the
// word changes or the gateway was away. Words that mean the same are the same.
func TestUplinks(t *testing.T) {
	u, now := uplinks{}, time.Now()
	member := func(state gossip.State, word string) []gossip.Member {
		return []gossip.Member{{Name: "a", State: state, Meta: gossip.Meta{Uplink: word}}}
	}
	for _, step := range []struct {
		what    string
		members []gossip.Member
		want    controller.Uplink
		age     time.Duration // in seconds: one passes before each step
	}{
		{"a gateway that has said nothing yet", member(gossip.Alive, ""), controller.UplinkUnknown, 0},
		{"none", member(gossip.Alive, "none"), controller.UplinkDown, 0},
		{"as bad as none", member(gossip.Alive, "connecting"), controller.UplinkDown, 1},
		{"up", member(gossip.Alive, "up"), controller.UplinkUp, 0},
		{"one that may be there", member(gossip.Suspect, "up"), controller.UplinkUp, 1},
		{"dead", member(gossip.Dead, "up"), controller.UplinkUnknown, 0},
		{"back", member(gossip.Alive, "up"), controller.UplinkUp, 0},
		{"gone", nil, controller.UplinkUnknown, 0},
		{"back again", member(gossip.Alive, "off"), controller.UplinkDown, 0},
	} {
		now = now.Add(time.Second)
		u.see(now, step.members)
		if state, age := u.of(now, "a"); state != step.want || age != step.age*time.Second {
			t.Errorf("%s: %v for %s, want %v for %d s", step.what, state, age, step.want, step.age)
		}
	}
	if len(u) != 1 {
		t.Errorf("%d gateways are remembered", len(u))
	}
}
