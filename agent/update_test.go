package agent

import (
	"context"
	"fmt"
	"os"
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
	"cistern/gossip/metadata"
)

// whole is a site of three, of which node 1 is all it should be.
func whole() *trial {
	site := metadata.NewImage()
	for n := metadata.NodeID(1); n <= 3; n++ {
		site.Members[n] = metadata.Member{ID: n, Incarnation: 7}
	}
	all := []metadata.NodeID{1, 2, 3}
	site.Streams["mqtt"] = &metadata.StreamState{Partitions: []metadata.PartitionState{
		{Replicas: all, ISR: all, Leader: 2}, {Replicas: all, ISR: all, Leader: 3}, {Replicas: []metadata.NodeID{2, 3}, ISR: []metadata.NodeID{2}, Leader: 2},
	}}
	return &trial{listening: true, member: true, site: site, node: 1, given: 7}
}

// What keeps an update from being called good.
func TestTrial(t *testing.T) {
	partition := func(t *trial, n int) *metadata.PartitionState { return &t.site.Streams["mqtt"].Partitions[n] }
	for name, test := range map[string]struct {
		change func(*trial)
		want   string // in what is missing; "" is good
	}{
		"well":               {func(*trial) {}, ""},
		"on its own":         {func(t *trial) { t.member, t.site, t.node, t.given = false, nil, 0, 0 }, ""},
		"deaf":               {func(t *trial) { t.listening = false }, "does not listen"},
		"alone and deaf":     {func(t *trial) { t.member, t.site, t.listening = false, nil, false }, "does not listen"},
		"not registered":     {func(t *trial) { t.given = 0 }, "not taken it in"},
		"removed":            {func(t *trial) { delete(t.site.Members, 1) }, "not taken it in"},
		"an old image":       {func(t *trial) { t.given = 8 }, "not taken it in"},
		"another came after": {func(t *trial) { t.given = 6 }, "not taken it in"},
		"fenced":             {func(t *trial) { t.site.Members[1] = metadata.Member{ID: 1, Incarnation: 7, Fenced: true} }, "for dead"},
		"behind":             {func(t *trial) { partition(t, 1).ISR = []metadata.NodeID{2, 3} }, "not in sync yet: mqtt/1"},
		"behind in both": {func(t *trial) {
			partition(t, 0).ISR, partition(t, 1).ISR = []metadata.NodeID{2}, nil
		}, "not in sync yet: mqtt/0, mqtt/1"},
		"on its way in": {func(t *trial) {
			partition(t, 1).ISR, partition(t, 1).Adding = []metadata.NodeID{2, 3}, []metadata.NodeID{1}
		}, ""},
		"on its way out": {func(t *trial) {
			partition(t, 1).ISR, partition(t, 1).Removing = []metadata.NodeID{2, 3}, []metadata.NodeID{1}
		}, ""},
		"nobody to copy from": {func(t *trial) {
			partition(t, 1).ISR, partition(t, 1).Leader = []metadata.NodeID{3}, metadata.NoNode
		}, ""},
		"another is behind": {func(t *trial) { partition(t, 1).ISR = []metadata.NodeID{1, 2} }, ""},
		"flash failed":      {func(t *trial) { t.active = []status.Active{{Warning: status.Warning{Code: status.StoreLatched}}} }, "STORE_LATCHED"},
		"flash full":        {func(t *trial) { t.active = []status.Active{{Warning: status.Warning{Code: status.DiskFullRefusing}}} }, ""},
	} {
		tr := whole()
		test.change(tr)
		got := strings.Join(tr.missing(), "; ")
		if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: missing %q, want %q", name, got, test.want)
		}
	}
}

func TestBehindIsShort(t *testing.T) {
	tr := whole()
	st := tr.site.Streams["mqtt"]
	for range 20 {
		st.Partitions = append(st.Partitions, metadata.PartitionState{Replicas: []metadata.NodeID{1, 2}, Leader: 2})
	}
	if got := tr.missing(); len(got) != 1 || !strings.Contains(got[0], "and 15 more") {
		t.Errorf("missing %q", got)
	}
}

// An update has to be well for a while, and what is missing starts it anew.
func TestTrialSettles(t *testing.T) {
	var w trialWatch
	a := newAgent(t, "")
	look := func(settle time.Duration, missing ...string) bool {
		return w.good(a.log, &status.Machine{Missing: missing}, settle)
	}
	for range 2 {
		if look(time.Hour) {
			t.Error("good at once")
		}
	}
	if !look(0) {
		t.Error("not good after long enough")
	}
	if look(0, "a partition") || !w.since.IsZero() {
		t.Error("good while something is missing")
	}
	if look(time.Hour) {
		t.Error("good at once after something was missing")
	}
}

const boardHere = slot.BoardQemu

// startMachine is an image under the agent, which has release 1.0.
func startMachine(t *testing.T, m *machinetest.Machine) *machine.Client {
	t.Helper()
	m.Release = slot.Release{Version: "1.0", Commit: "c0", Board: boardHere, Build: "build-1.0"}
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	t.Setenv(machine.Env, m.Socket())
	return machine.NewClient(m.Socket())
}

// updateFile returns the path of an update to that version.
func updateFile(t *testing.T, version string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), version+".update")
	if _, err := machinetest.WriteUpdate(path, slot.Release{Version: version, Commit: "c1", Board: boardHere, Build: "build-" + version}, 1<<20); err != nil {
		t.Fatal(err)
	}
	return path
}

// bootUpdate writes that update and boots it, as it was before the agent of this boot
// started.
func bootUpdate(t *testing.T, c *machine.Client, version string) {
	t.Helper()
	f, err := os.Open(updateFile(t, version))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := c.Update(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if err := c.Reboot(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if s, err := c.State(t.Context()); err == nil && s.LastUpdate.Result != machine.Written {
			return
		}
		if time.Now().After(end) {
			t.Fatal("it does not boot")
		}
	}
}

// running starts an agent and returns a client for it.
func running(t *testing.T, a *Agent) *status.Client {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	socket, err := a.config.SocketPath()
	if err != nil {
		t.Fatal(err)
	}
	return status.NewClient(socket)
}

// awaitMachine returns when the gateway says that of its machine.
func awaitMachine(t *testing.T, c *status.Client, wanted func(*status.Document) bool) *status.Document {
	t.Helper()
	var last *status.Document
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if d, err := c.Status(t.Context()); err == nil {
			if last = d; d.Machine != nil && wanted(d) {
				return d
			}
		}
	}
	if last != nil {
		t.Fatalf("the machine does not get there: %+v, health %+v", last.Machine, last.Health)
	}
	t.Fatal("the agent does not answer")
	return nil
}

func has(d *status.Document, code status.Code) bool {
	return slices.ContainsFunc(d.Health, func(a status.Active) bool { return a.Code == code })
}

// On trial the agent says once that it is good, and only after it has been for a
// while; the status tells of the trial.
func TestAgentEndsTrial(t *testing.T) {
	seen := make(chan struct{})
	m := &machinetest.Machine{BeforeGood: func() { <-seen }}
	c := startMachine(t, m)
	saw := sync.OnceFunc(func() { close(seen) })
	t.Cleanup(saw)
	bootUpdate(t, c, "1.1")
	a := newAgent(t, "")
	client := running(t, a)
	d := awaitMachine(t, client, func(d *status.Document) bool { return d.Machine.Trial && has(d, status.UpdateOnTrial) })
	saw()
	if d.Machine.Version != "1.1" || d.Machine.LastUpdate.Result != machine.Trying {
		t.Errorf("%+v", d.Machine)
	}
	d = awaitMachine(t, client, func(d *status.Document) bool { return !d.Machine.Trial && !has(d, status.UpdateOnTrial) })
	if d.Machine.LastUpdate.Result != machine.Good || has(d, status.UpdateRolledBack) {
		t.Errorf("%+v, %+v", d.Machine, d.Health)
	}
	if took := d.Machine.LastUpdate.At.Sub(a.started); took < trialSettle {
		t.Errorf("called good after %s", took)
	}
	if got := fmt.Sprint(m.Asked()); got != "[update 1.1 reboot try good]" {
		t.Errorf("asked %s", got)
	}
}

// An update that was rolled back is a warning with its reason.
func TestRolledBackIsAWarning(t *testing.T) {
	m := &machinetest.Machine{Bad: func(string) string { return "the agent ended 5 times" }}
	c := startMachine(t, m)
	bootUpdate(t, c, "1.1")
	client := running(t, newAgent(t, ""))
	d := awaitMachine(t, client, func(d *status.Document) bool { return has(d, status.UpdateRolledBack) })
	i := slices.IndexFunc(d.Health, func(a status.Active) bool { return a.Code == status.UpdateRolledBack })
	if want := "version 1.1: the agent ended 5 times"; d.Health[i].Detail != want || d.Machine.Version != "1.0" || !status.Healthy(d.Health) {
		t.Errorf("%+v, %+v", d.Health[i], d.Machine)
	}
	if got := fmt.Sprint(m.Asked()); got != "[update 1.1 reboot try]" {
		t.Errorf("asked %s", got)
	}
}

// A gateway that does not run from an image says so, and nothing else changes.
func TestNoMachine(t *testing.T) {
	t.Setenv(machine.Env, "")
	client := running(t, newAgent(t, ""))
	for {
		d, err := client.Status(t.Context())
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if d.Machine != nil {
			t.Errorf("%+v", d.Machine)
		}
		break
	}
	_, machineErr := client.Machine(t.Context())
	_, updateErr := client.Update(t.Context(), strings.NewReader("x"), 1)
	for _, err := range []error{machineErr, updateErr, client.Reboot(t.Context(), true)} {
		if err != machine.ErrNoMachine {
			t.Errorf("%v", err)
		}
	}
}
