//go:build image

package card

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cistern/agent/status"
	"cistern/cross/rig"
	"cistern/firmware/slot"
)

// confirmedByLiar takes twelve commits at least: the devices have 320 messages in
// flight. A cut keeps one block in four by chance, so of two commits both are
// there too often.
const confirmedByLiar = 4000

// A control: a card that says it has written what it has not. No gateway can
// keep a promise on one, so if nothing is lost here TestPowerCuts proves nothing.
func TestLyingCardLoses(t *testing.T) {
	t.Parallel()
	c, l := startCentre(t), rig.NewLedger()
	g := insert(t, Options{Uplink: c.port})
	boot(t, g)
	g.Card.Lie(true)
	loses(t, c, g, l, confirmedByLiar)
}

// A control: the agent that ships, but for fdatasync, which does nothing. What
// it confirms is in the memory of the gateway; if nothing is lost here,
// TestPowerCuts does not see what it is there to see.
func TestAgentThatDoesNotSyncLoses(t *testing.T) {
	t.Parallel()
	c, l := startCentre(t), rig.NewLedger()
	g := insert(t, Options{Uplink: c.port, Image: unsynced(t)})
	boot(t, g)
	loses(t, c, g, l, confirmedFirst)
}

// unsynced makes the image of the agent that does not sync.
func unsynced(t *testing.T) string {
	t.Helper()
	file := filepath.Join(shared.shop.Source.Root, "segstore", "vfs", "os.go")
	text, err := os.ReadFile(file)
	must(t, err)
	const syncs = "unix.Fdatasync(f.fd)"
	if n := strings.Count(string(text), syncs); n != 1 {
		t.Fatalf("%s has %s %d times: this control has to be told where the journal is synced now", file, syncs, n)
	}
	list := overlay(t, file, strings.Replace(string(text), syncs, "error(nil)", 1))
	path := filepath.Join(t.TempDir(), "unsynced.img")
	p := Part{Version: "v0-unsynced", Binaries: binaries(t, "-overlay", list, "./agent/cistern")}
	must(t, shared.shop.Image(t.Context(), path, slot.BoardQemu, shared.site, p))
	return path
}

// loses publishes, cuts the power and boots on an honest card. There are many ways
// for a gateway to react to what it finds then: it does not come back, it refuses
// its data, it leads nothing, it delivers a part. All of them show that confirmed
// messages are gone; that all are delivered shows that nothing was lost.
func loses(t *testing.T, c *centre, g *Gateway, l *rig.Ledger, confirmed int64) {
	t.Helper()
	stop := publish(t, g, l)
	must(t, l.AwaitConfirmed(within(t, bootTime), confirmed))
	cut, err := g.CutPower(1)
	must(t, err)
	stop()
	t.Logf("power cut with %d messages confirmed: %v", l.Tally().Confirmed, cut)
	g.Card.Lie(false)
	_, err = g.On(t.Context())
	must(t, err)
	defer func() {
		if g.VM().Said(panicked) {
			t.Error("the agent ended by a panic: whatever a card gives back, it has to say what is wrong")
		}
	}()
	if broken(t, g) {
		return
	}
	c.mend()
	switch leaderless, err := leadsNothing(t, g); {
	case leaderless:
		t.Log("the gateway knows that its card lost what was confirmed, and waits for an operator's word")
		return
	case err != nil:
		t.Logf("the gateway answers, and drains not all that it has: %v", err)
	}
	if v := c.compare(t, l); v.Lost == 0 {
		t.Error("nothing was lost: these cuts cut nothing")
	}
}

// On the console when the gateway does not dare to use its data: init says so
// of the partition, and the agent, of its journal or of the site's log, ends.
var refusals = []string{"can't go on: ", "cistern: agent: exit status 1 "}

// panicked is what init says of an agent that ended by a panic. (Or for its
// configuration, which here is right.)
const panicked = "cistern: agent: exit status 2: "

// broken tells whether the gateway refuses its data, or does not come back for
// another reason; else its agent answers.
func broken(t *testing.T, g *Gateway) bool {
	t.Helper()
	ctx, cancel := context.WithCancel(within(t, bootTime))
	defer cancel()
	refused := make(chan bool, len(refusals))
	for _, text := range refusals {
		go func() {
			_, err := g.VM().Await(ctx, text)
			refused <- err == nil
			cancel()
		}()
	}
	err := g.Ready(ctx)
	cancel()
	switch a, b := <-refused, <-refused; {
	case a || b:
		t.Log("the gateway refuses what the card gives it back: all is lost")
	case err != nil:
		t.Logf("the gateway does not come back with what the card gives it: all is lost: %v", err)
	default:
		return false
	}
	return true
}

// leadsNothing waits until all that a gateway has is drained, and tells whether it
// says instead that it leads nothing.
func leadsNothing(t *testing.T, g *Gateway) (so bool, err error) {
	t.Helper()
	err = g.Await(within(t, drain), func(d *status.Document) bool {
		so = slices.ContainsFunc(d.Health, func(a status.Active) bool { return a.Code == status.PartitionLeaderless })
		return so || drained(d)
	})
	return so, err
}
