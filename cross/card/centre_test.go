//go:build image

package card

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"cistern/agent/status"
	"cistern/cross/rig"
	"cistern/cross/vm"
	"cistern/gossip/metadata"
)

const (
	stream  = metadata.DefaultStream
	devices = 5
	// pace of each device: an emulated processor is not to be what is tested.
	pace = 4 * time.Millisecond
)

// centre is the central cluster on this computer, and the uplink to it that a
// gateway in the emulator finds under the emulator's name for this computer.
type centre struct {
	*rig.Centre
	uplink *rig.Uplink
	port   string
}

func startCentre(t *testing.T) *centre {
	t.Helper()
	uplink, err := rig.NewUplink()
	must(t, err)
	t.Cleanup(uplink.Close)
	_, port, err := net.SplitHostPort(uplink.Address())
	must(t, err)
	c := &centre{rig.NewCentre(shared.programs.Centre, filepath.Join(t.TempDir(), "centre"), net.JoinHostPort(vm.Host, port)), uplink, port}
	must(t, c.Start())
	t.Cleanup(c.Kill)
	return c
}

// mend lets the gateway reach the centre.
func (c *centre) mend() { c.uplink.Mend(c.Address()) }

func drained(d *status.Document) bool { return d.BacklogTotal().Records == 0 }

// judge drains all that a gateway has and compares with the ledger.
func (c *centre) judge(t *testing.T, g *Gateway, l *rig.Ledger) rig.Verdict {
	t.Helper()
	c.mend()
	must(t, g.Await(within(t, drain), drained))
	return c.compare(t, l)
}

// compare holds what is at the centre against the ledger.
func (c *centre) compare(t *testing.T, l *rig.Ledger) rig.Verdict {
	t.Helper()
	v, err := c.Judge(within(t, drain), l, stream)
	must(t, err)
	t.Logf("confirmed %d, given up %d (%d of them stored), at the centre %d in %d topics; lost %d, duplicated %d, out of order %d, invented %d %s",
		v.Confirmed, v.Abandoned, v.Surplus, v.Arrived, v.Topics, v.Lost, v.Duplicated, v.Disordered, v.Invented, v.Example)
	return v
}

// good fails the test unless what was confirmed is at the centre, once and in order.
func (c *centre) good(t *testing.T, g *Gateway, l *rig.Ledger) {
	t.Helper()
	if v := c.judge(t, g, l); !v.Good() {
		t.Errorf("lost %d, duplicated %d, out of order %d, invented %d: %s", v.Lost, v.Duplicated, v.Disordered, v.Invented, v.Example)
	}
}

// patient devices wait for what they have in flight as long as for a boot: an
// emulator that gets no processor confirms late.
func patient(d *rig.Device) { d.AckWait = bootTime }

// publish has devices publish until stop is called, which waits for what they
// have in flight.
func publish(t *testing.T, g *Gateway, l *rig.Ledger) (stop func()) {
	t.Helper()
	fleet := rig.StartFleet(t.Context(), g.Address, l, devices, pace, patient)
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			if err := fleet.Stop(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}
