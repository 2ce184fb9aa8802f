//go:build e2e

package site

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cistern/agent/status"
	"cistern/firmware/machine"
	"cistern/firmware/machine/machinetest"
	"cistern/firmware/slot"
)

// images are the machines under the gateways of a site, and what was seen at each
// boot.
type images struct {
	site     *Site
	machines []*machinetest.Machine

	mu    sync.Mutex
	boots []string // gateway and version, in order
	wrong []string
	bad   map[string]int // gateway → trials that go wrong before one goes well
}

// startImages starts a site of three gateways in two zones that run version 1.0
// from images. A reboot ends the agent's process and starts it anew.
func startImages(t *testing.T) *images {
	t.Helper()
	if err := Needs(); err != nil {
		t.Skip(err)
	}
	im := &images{bad: map[string]int{}, site: &Site{more: Stream(3, 2)}}
	watched(t, im.site)
	must(t, im.site.prepare(programs))
	ctx := within(t, 10*time.Minute)
	for i, zone := range []string{"north", "south", "north"} {
		g, err := im.site.Add(3, fmt.Sprintf("zone = %q", zone))
		must(t, err)
		m := &machinetest.Machine{
			Release: slot.Release{Version: "1.0", Commit: "c0", Board: slot.BoardQemu, Build: "build-1.0"},
			Bad:     func(string) string { return im.verdict(g) },
			Down:    func() { im.down(ctx, i) },
			Up:      func(s machine.State) { im.up(ctx, i, s) },
		}
		must(t, m.Start())
		t.Cleanup(m.Stop)
		im.machines = append(im.machines, m)
		g.Within = append(g.Within, "env", machine.Env+"="+m.Socket())
	}
	for _, g := range im.site.Gateways {
		must(t, g.Start(ctx))
	}
	must(t, im.site.AwaitInSync(ctx))
	return im
}

func (im *images) verdict(g *Gateway) string {
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.bad[g.Gateway.Name] == 0 {
		return ""
	}
	im.bad[g.Gateway.Name]--
	return "the agent ended 5 times"
}

// down looks at the site at the moment when a gateway goes out, which has to be
// the only one, and ends its process.
func (im *images) down(ctx context.Context, i int) {
	wrong := im.outAlone(ctx, i)
	if err := im.site.Gateways[i].Terminate(); err != nil {
		wrong = append(wrong, err.Error())
	}
	im.note(i, wrong...)
}

// up starts its process anew.
func (im *images) up(ctx context.Context, i int, s machine.State) {
	g := im.site.Gateways[i]
	if err := g.Start(ctx); err != nil {
		im.note(i, err.Error())
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	im.boots = append(im.boots, g.Gateway.Name+" "+s.Version)
}

func (im *images) note(i int, wrong ...string) {
	im.mu.Lock()
	defer im.mu.Unlock()
	for _, w := range wrong {
		im.wrong = append(im.wrong, fmt.Sprintf("boot of %s: %s", im.site.Gateways[i].Gateway.Name, w))
	}
}

// outAlone says what is wrong when gateway i goes out: every other one has to be
// there and not on trial, every copy in sync, and itself without leaderships.
func (im *images) outAlone(ctx context.Context, i int) (wrong []string) {
	for k, other := range im.site.Gateways {
		if k == i {
			continue
		}
		if im.machines[k].State().Trial {
			wrong = append(wrong, other.Gateway.Name+" is on trial")
		}
		d, err := other.seen(ctx)
		if err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		for _, m := range d.Site.Members {
			// A machine with other things to do makes one suspect that runs.
			there := m.State == status.MemberAlive || m.State == status.MemberSuspect && im.site.named(m.Name).Running()
			if !there || m.Fenced {
				wrong = append(wrong, fmt.Sprintf("%s sees %s as %s, fenced %v", other.Gateway.Name, m.Name, m.State, m.Fenced))
			}
		}
		for _, p := range Partitions(d) {
			if len(p.ISR) != len(p.Replicas) || p.Leader == im.site.Gateways[i].Gateway.Name {
				wrong = append(wrong, fmt.Sprintf("%s sees partition %d led by %s, in sync %v", other.Gateway.Name, p.Partition, p.Leader, p.ISR))
			}
		}
	}
	return wrong
}

// told returns what was seen so far, and clears it.
func (im *images) told() (boots, wrong []string) {
	im.mu.Lock()
	defer im.mu.Unlock()
	boots, wrong = im.boots, im.wrong
	im.boots, im.wrong = nil, nil
	return boots, wrong
}

// walk runs "cistern site update" from where devices are, through gateway-1.
func (im *images) walk(t *testing.T, file string, more ...string) (string, int) {
	t.Helper()
	s := im.site
	line := append(s.World.within(), s.programs.Cistern, "site", "update", file, "--gateway", s.Gateways[0].IP, "--key-file", s.key())
	line = append(line, more...)
	out, err := exec.CommandContext(t.Context(), line[0], line[1:]...).CombinedOutput()
	t.Logf("%s", out)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	code := 0
	if exit != nil {
		code = exit.ExitCode()
	}
	return string(out), code
}

func wantBoots(t *testing.T, im *images, want ...string) {
	t.Helper()
	boots, wrong := im.told()
	if !slices.Equal(boots, want) {
		t.Errorf("booted %q, want %q", boots, want)
	}
	for _, w := range wrong {
		t.Error(w)
	}
}

// An update goes through a site one gateway at a time while devices publish, and
// not one record is lost. At a gateway that rolls back it stops; it goes on when
// called again. (35 s)
func TestUpdateWalksTheSite(t *testing.T) {
	im := startImages(t)
	s := im.site
	file := filepath.Join(t.TempDir(), "cistern-1.1-qemu.update")
	_, err := machinetest.WriteUpdate(file, slot.Release{Version: "1.1", Commit: "c1", Board: slot.BoardQemu, Build: "build-1.1"}, 4<<20)
	must(t, err)
	f := s.StartFleet(within(t, 10*time.Minute), 6, interval, true, s.Gateways...)
	must(t, s.Ledger.AwaitConfirmed(within(t, stepMax), 300))

	out, code := im.walk(t, file, "--dry-run")
	if order := []string{"gateway-2", "gateway-3", "gateway-1"}; code != 0 || !inThisOrder(out, order) {
		t.Errorf("exit code %d, want the order %v", code, order)
	}
	wantBoots(t, im)

	im.mu.Lock()
	im.bad["gateway-3"] = 1
	im.mu.Unlock()
	out, code = im.walk(t, file)
	if code != 1 || !strings.Contains(out, "gateway-3 went back to version 1.0: version 1.1: rolled back: the agent ended 5 times") ||
		!strings.Contains(out, "updated: gateway-2; not touched: gateway-1") {
		t.Errorf("exit code %d, and it does not say what went wrong", code)
	}
	wantBoots(t, im, "gateway-2 1.1", "gateway-3 1.0")
	must(t, s.AwaitInSync(within(t, healedMax)))
	nobodyDrains(t, s)

	out, code = im.walk(t, file)
	if code != 0 || !strings.Contains(out, "2 gateways updated to version 1.1; every copy is in sync") {
		t.Errorf("exit code %d", code)
	}
	wantBoots(t, im, "gateway-3 1.1", "gateway-1 1.1")
	nobodyDrains(t, s)
	for i, m := range im.machines {
		if now := m.State(); now.Version != "1.1" || now.Trial || now.LastUpdate.Result != machine.Good {
			t.Errorf("gateway-%d: %+v", i+1, now)
		}
	}
	if out, code = im.walk(t, file); code != 0 || !strings.Contains(out, "nothing to do") {
		t.Errorf("once more: exit code %d", code)
	}
	wantBoots(t, im)
	must(t, s.Ledger.AwaitConfirmed(within(t, stepMax), 300))
	finish(t, s, f)
}

// inThisOrder reports whether the words stand in the text one after the other.
func inThisOrder(text string, words []string) bool {
	for _, w := range words {
		_, rest, found := strings.Cut(text, w)
		if !found {
			return false
		}
		text = rest
	}
	return true
}

// nobodyDrains wants every order to hand over leaderships taken back, at every gateway
// once it has heard.
func nobodyDrains(t *testing.T, s *Site) {
	t.Helper()
	for _, g := range s.Gateways {
		awaitSeen(t, g, "told that everybody may lead", func(d *status.Document) bool {
			return !slices.ContainsFunc(d.Site.Members, func(m status.Member) bool { return m.Draining })
		})
	}
}
