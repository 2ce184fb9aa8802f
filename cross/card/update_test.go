//go:build image

package card

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cistern/agent/status"
	"cistern/cross/rig"
	"cistern/cross/vm"
	"cistern/firmware/machine"
	"cistern/firmware/slot"
)

const (
	cardBytes = 1 << 30
	// updateTime is for sending an update: an emulated processor verifies it.
	updateTime = 2 * time.Minute
	// badTrial is how long a bad update gets, in seconds.
	badTrial = 30
)

// Proves updates on the image that ships, from end to end: what is not signed
// with the site's key, or damaged, is refused and changes nothing; a good one is
// written to the other slot, tried, called good by the agent, and boots from then
// on; one whose agent can't run is given up, and the slot before it boots. Through
// all of that, on a card that is larger than the image and whose data partition
// grew on the first boot, no confirmed message is lost.
func TestUpdates(t *testing.T) {
	t.Parallel()
	c, l := startCentre(t), rig.NewLedger()
	g := insert(t, Options{Uplink: c.port, Bytes: cardBytes})
	good := update(t, "good.update", shared.site, Part{Version: "v2.0.0"})
	bad := update(t, "bad.update", shared.site, Part{Version: "v3.0.0", Binaries: binaries(t, "./cross/card/broken")})

	boot(t, g)
	// The file system keeps a few per cent of its partition for itself.
	if m := state(t, g); m.Data.Bytes < (cardBytes-slot.DataStart)*9/10 || m.Slot != "a" {
		t.Errorf("first boot: slot %s, %d bytes of data on a card of %d", m.Slot, m.Data.Bytes, cardBytes)
	}
	stop := publish(t, g, l)
	must(t, l.AwaitConfirmed(within(t, bootTime), confirmedFirst))
	stop()

	refuses(t, g, good)
	send(t, g, good)
	try(t, g, vm.Boot{Slot: slot.B, Try: true})
	must(t, g.Ready(within(t, bootTime)))
	settled(t, g, "v2.0.0", machine.Good)

	send(t, g, bad)
	g.board.Append = fmt.Sprintf("cistern.trial=%d", badTrial)
	try(t, g, vm.Boot{Slot: slot.A, Try: true})
	ends(t, g, vm.Reset)
	on(t, g, vm.Boot{Slot: slot.B})
	must(t, g.Ready(within(t, bootTime)))
	settled(t, g, "v3.0.0", machine.RolledBack)
	if m := state(t, g); m.Version != "v2.0.0" || m.Slot != "b" {
		t.Errorf("after the bad update version %s runs in slot %s", m.Version, m.Slot)
	}
	c.good(t, g, l)
}

// refuses sends what no gateway may take. Afterwards the other slot is as it was.
func refuses(t *testing.T, g *Gateway, good string) {
	t.Helper()
	before := state(t, g).Other
	stranger, err := NewSite(filepath.Join(t.TempDir(), "stranger"))
	must(t, err)
	bytes, err := os.ReadFile(good)
	must(t, err)
	bytes[len(bytes)/2] ^= 1
	corrupt := filepath.Join(t.TempDir(), "corrupt.update")
	must(t, os.WriteFile(corrupt, bytes, 0o600))

	foreign := update(t, "foreign.update", stranger, Part{Version: "v2.0.0"})
	if err := deliver(t, g, foreign); err == nil || !strings.Contains(err.Error(), slot.ErrSignature.Error()) {
		t.Errorf("an update that a stranger signed: %v", err)
	}
	if after := state(t, g).Other; after != before {
		t.Errorf("a stranger's update changed the other slot from %+v to %+v", before, after)
	}
	if err := deliver(t, g, corrupt); err == nil || !strings.Contains(err.Error(), slot.ErrDamaged.Error()) {
		t.Errorf("a damaged update: %v", err)
	}
	// It was found damaged while it was written: that slot must not boot now.
	if m := state(t, g); m.Other.Version != "" || m.Slot != "a" {
		t.Errorf("after a damaged update the other slot is %+v", m.Other)
	}
}

// Proves that a gateway whose agent hangs is reset by its hardware's watchdog,
// and comes back with the system that it had: the agent of this update says that
// it is ready, and nothing more.
func TestWatchdogResetsAHungGateway(t *testing.T) {
	t.Parallel()
	hangs := update(t, "hangs.update", shared.site,
		Part{Version: "v4.0.0", Binaries: binaries(t, "-ldflags=-X main.how=hang", "./cross/card/broken")})
	g := insert(t, Options{Watchdog: true})
	boot(t, g)
	send(t, g, hangs)
	g.board.Append = "cistern.trial=900" // it is not to be the one who is faster
	try(t, g, vm.Boot{Slot: slot.B, Try: true})
	ends(t, g, vm.Watchdog)
	on(t, g, vm.Boot{Slot: slot.A})
	must(t, g.Ready(within(t, bootTime)))
	settled(t, g, "v4.0.0", machine.RolledBack)
}

// deliver sends an update file.
func deliver(t *testing.T, g *Gateway, path string) error {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	info, err := f.Stat()
	must(t, err)
	_, err = g.Client.Update(within(t, updateTime), f, info.Size())
	return err
}

func send(t *testing.T, g *Gateway, path string) {
	t.Helper()
	start := time.Now()
	must(t, deliver(t, g, path))
	t.Logf("%s is written after %.1f s", filepath.Base(path), time.Since(start).Seconds())
}

// try has the gateway restart into the other slot, once.
func try(t *testing.T, g *Gateway, want vm.Boot) {
	t.Helper()
	must(t, g.Client.Reboot(within(t, bootTime), true))
	ends(t, g, vm.Reset)
	on(t, g, want)
}

func ends(t *testing.T, g *Gateway, want vm.End) {
	t.Helper()
	start := time.Now()
	end, err := g.AwaitEnd(within(t, 5*time.Minute))
	must(t, err)
	if end != want {
		t.Fatalf("the machine was %s, not %s\n%s", end, want, g.VM().Tail())
	}
	t.Logf("%s after %.1f s", end, time.Since(start).Seconds())
}

func on(t *testing.T, g *Gateway, want vm.Boot) {
	t.Helper()
	got, err := g.On(t.Context())
	must(t, err)
	t.Log(got)
	if got.Slot != want.Slot || got.Try != want.Try {
		t.Fatalf("the boot loader chose %v", got)
	}
}

// state asks the gateway what it runs on, until it answers.
func state(t *testing.T, g *Gateway) *status.Machine {
	t.Helper()
	return awaitMachine(t, g, "known", func(*status.Machine) bool { return true })
}

// settled waits until it is known what became of an update.
func settled(t *testing.T, g *Gateway, version, result string) {
	t.Helper()
	start := time.Now()
	m := awaitMachine(t, g, version+" and "+result, func(m *status.Machine) bool {
		return m.LastUpdate != nil && m.LastUpdate.Version == version && m.LastUpdate.Result == result
	})
	t.Logf("%s is %s after %.1f s %s", version, result, time.Since(start).Seconds(), m.LastUpdate.Why)
}

// awaitMachine returns what the gateway runs on, when it is as wanted.
func awaitMachine(t *testing.T, g *Gateway, want string, wanted func(*status.Machine) bool) (m *status.Machine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	var last error
	err := g.Await(ctx, func(*status.Document) bool {
		m, last = g.Client.Machine(ctx)
		return last == nil && wanted(m)
	})
	if err != nil {
		t.Fatalf("the machine is not %s: %v; it answered last %+v, %v", want, err, m, last)
	}
	return m
}
