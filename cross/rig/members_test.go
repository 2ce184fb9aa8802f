package rig

import (
	"testing"

	"cistern/agent/status"
)

// What a gateway remembers of its life before is not a site that it is in.
func TestWhoRemembersIsNotRegistered(t *testing.T) {
	known := func(id int32, incarnation uint64) *status.Document {
		return &status.Document{Site: &status.Site{Quorum: status.Quorum{HasQuorum: true},
			Members: []status.Member{{Self: true, ID: id, Incarnation: incarnation}}}}
	}
	g := &Gateway{}
	if g.isRegistered(&status.Document{}) || g.isRegistered(&status.Document{Site: &status.Site{}}) || g.isRegistered(known(0, 0)) {
		t.Error("registered, though its site does not know it")
	}
	for life := uint64(1); life < 4; life++ {
		g.begin()
		remembered := known(1, life-1)
		if g.see(remembered); g.isRegistered(remembered) {
			t.Errorf("life %d: registered by what it remembers", life)
		}
		if !g.isRegistered(known(1, life)) || !g.isRegistered(known(2, 1)) && life > 1 {
			t.Errorf("life %d: not registered", life)
		}
		fenced, alone := known(1, life), known(1, life)
		fenced.Site.Members[0].Fenced, alone.Site.Quorum.HasQuorum = true, false
		if g.isRegistered(fenced) || g.isRegistered(alone) {
			t.Errorf("life %d: registered, though it was fenced, or hears of no quorum", life)
		}
		g.see(known(1, life))
	}
}
