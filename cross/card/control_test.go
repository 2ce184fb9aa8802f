//go:build image

package card

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

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

// loses publishes, cuts the power and boots on an honest card. Confirmed
// messages have to be missing then; data that the gateway does not dare to use any
// more have lost them, too, and so have those of a partition that it does not dare
// to lead.
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
	if broken(t, g) {
		t.Log("the gateway refuses what the card gives it back: all is lost")
		return
	}
	if c.leaderless(t, g) {
		t.Log("the gateway knows that its card lost what was confirmed, and waits for an operator's word")
		return
	}
	if v := c.judge(t, g, l); v.Lost == 0 {
		t.Error("nothing was lost: these cuts cut nothing")
	}
}

// On the console when the gateway does not dare to use its data: init says so
// of the partition, and the agent, of its journal or of the site's log, ends. (A
// panic's status is 2.)
var refusals = []string{"can't go on: ", "cistern: agent: exit status 1 "}

// broken tells whether the gateway refuses its data; else its agent answers.
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
	if a, b := <-refused, <-refused; a || b {
		return true
	}
	must(t, err)
	return false
}
