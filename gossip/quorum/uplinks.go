package quorum

import (
	"time"

	"cistern/gossip"
	"cistern/gossip/controller"
)

// uplinks remembers since when each gateway says the same of its way to the
// centre. Every gateway watches, whoever leads: the next leader of the quorum
// has seen it all.
type uplinks map[string]uplink

type uplink struct {
	state controller.Uplink
	since time.Time
}

// uplinkUp is the word in gossip.Meta.Uplink for one that has answered lately;
// "" says that the gateway has not looked yet, every other word that it does
// not work.
const uplinkUp = "up"

// see takes in what gossip shows now. Who is not there is forgotten: what it
// said last is old when it comes back.
func (u uplinks) see(now time.Time, members []gossip.Member) {
	here := map[string]bool{}
	for _, m := range members {
		if !present(m) || m.Meta.Uplink == "" {
			continue
		}
		here[m.Name] = true
		state := controller.UplinkDown
		if m.Meta.Uplink == uplinkUp {
			state = controller.UplinkUp
		}
		if u[m.Name].state != state {
			u[m.Name] = uplink{state, now}
		}
	}
	for name := range u {
		if !here[name] {
			delete(u, name)
		}
	}
}

// of returns what a gateway says of its uplink, and for how long.
func (u uplinks) of(now time.Time, name string) (controller.Uplink, time.Duration) {
	one, ok := u[name]
	if !ok {
		return controller.UplinkUnknown, 0
	}
	return one.state, now.Sub(one.since)
}
