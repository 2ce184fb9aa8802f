package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cistern/agent/status"
	"cistern/firmware/machine"
	"cistern/firmware/machine/machinetest"
	"cistern/firmware/slot"
)

// walked is a site of gateways that have nothing but their status servers.
type walked struct {
	status.SiteAdmin // of which only DrainNode is called

	mu       sync.Mutex
	doc      *status.Document
	machines []*machinetest.Machine
	sockets  []string
	cut      string // a gateway that can't reach the others when it is to undo an order
}

// walkedFrom is the site as one of its gateways has it.
type walkedFrom struct {
	*walked
	name string
}

// DrainNode implements status.SiteAdmin.
func (s walkedFrom) DrainNode(ctx context.Context, name string, on bool) error {
	if s.name == s.cut && !on {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.walked.DrainNode(ctx, name, on)
}

// Status implements status.Gatherer.
func (w *walked) Status() *status.Document {
	w.mu.Lock()
	defer w.mu.Unlock()
	d, site := *w.doc, *w.doc.Site
	site.Members = slices.Clone(site.Members)
	d.Site = &site
	d.Streams = slices.Clone(d.Streams)
	for i := range d.Streams {
		d.Streams[i].Partitions = slices.Clone(d.Streams[i].Partitions)
	}
	return &d
}

// Tail implements status.Gatherer.
func (w *walked) Tail(context.Context, status.TailQuery, func(*status.TailRecord) error) error {
	return nil
}

// DrainNode gives what a gateway leads to another that has it, as a site does.
func (w *walked) DrainNode(_ context.Context, name string, on bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.doc.Site.Member(name)
	m.Draining, m.Leads = on, 0
	for i := range w.doc.Streams[0].Partitions {
		p := &w.doc.Streams[0].Partitions[i]
		for _, n := range p.ISR {
			if other := w.doc.Site.Member(n); on && p.Leader == name && !other.Draining {
				p.Leader = n
			}
		}
		if p.Leader == name {
			m.Leads++
		}
	}
	return nil
}

func (w *walked) change(f func(d *status.Document)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w.doc)
}

// startWalk is a site of a, b and so on, each with a partition that it leads and
// the next one copies, and the walk through it.
func startWalk(t *testing.T, gateways int, out io.Writer) (*walked, *walk) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "good.update")
	if _, err := machinetest.WriteUpdate(path, slot.Release{Version: "1.1", Commit: "c0ffee", Board: slot.BoardQemu, Build: "build-1.1"}, 1<<20); err != nil {
		t.Fatal(err)
	}
	file, err := readUpdate(path)
	if err != nil {
		t.Fatal(err)
	}
	site := &walked{doc: &status.Document{Site: &status.Site{Formed: true, Quorum: status.Quorum{HasQuorum: true}}, Streams: []status.Stream{{Name: "mqtt"}}}}
	w := &walk{file: file, progress: &progress{out: out, meter: io.Discard}}
	name := func(n int) string { return string(rune('a' + n%gateways)) }
	for n := range gateways {
		both := slices.Compact([]string{name(n), name(n + 1)})
		site.doc.Site.Members = append(site.doc.Site.Members, status.Member{Name: name(n), ID: int32(n + 1), State: status.MemberAlive, Leads: 1})
		site.doc.Streams[0].Partitions = append(site.doc.Streams[0].Partitions,
			status.Partition{Partition: int32(n), Replication: status.Replication{Leader: name(n), Replicas: both, ISR: both}})
		m := &machinetest.Machine{Release: slot.Release{Version: "1.0", Board: slot.BoardQemu, Build: "build-1.0"}}
		m.Up = func(machine.State) { _ = machine.NewClient(m.Socket()).Good(context.Background()) }
		if err := m.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Stop)
		server := &status.Server{Socket: filepath.Join(dir, name(n)), Gatherer: site, Site: walkedFrom{site, name(n)}, Machine: pretendedImage{machine.NewClient(m.Socket())}}
		if err := server.Listen(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = server.Run(ctx)
		}()
		t.Cleanup(func() { cancel(); <-ended })
		site.machines, site.sockets = append(site.machines, m), append(site.sockets, server.Socket)
		w.stops = append(w.stops, &stop{name: name(n), agent: status.NewClient(server.Socket)})
	}
	return site, w
}

// hearer hears each line of a walk.
type hearer func(line string)

func (l hearer) Write(b []byte) (int, error) {
	l(strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}

// planned plans the walk anew, by way of the last gateway.
func planned(t *testing.T, site *walked, w *walk, waitMax time.Duration) error {
	t.Helper()
	site.change(func(d *status.Document) {
		for i := range d.Site.Members {
			d.Site.Members[i].Address, d.Site.Members[i].Self = fmt.Sprint(i), i == len(d.Site.Members)-1
		}
	})
	sockets := site.sockets
	return w.plan(t.Context(), status.NewClient(sockets[len(sockets)-1]), func(ctx context.Context, address, _ string) (net.Conn, error) {
		i, err := strconv.Atoi(address)
		if err != nil {
			return nil, err
		}
		return new(net.Dialer).DialContext(ctx, "unix", sockets[i])
	}, waitMax)
}

// What is over in a moment does not keep a walk from beginning, and is said once. What
// a moment does not end is not waited for, nor anything for ever.
func TestPlanWaitsAMoment(t *testing.T) {
	suspect := func(d *status.Document) { d.Site.Member("a").State = status.MemberSuspect }
	behind := func(d *status.Document) { d.Streams[0].Partitions[1].ISR = []string{"b"} }
	for name, test := range map[string]struct {
		change  func(d *status.Document)
		waitMax time.Duration
		over    bool // when it is heard that it is waited for
		said    int
		want    string
	}{
		"well":     {func(*status.Document) {}, time.Hour, false, 0, ""},
		"suspect":  {suspect, time.Hour, true, 1, ""},
		"behind":   {behind, time.Hour, true, 1, ""},
		"for ever": {behind, 2*askEvery - askEvery/2, false, 1, "mqtt/1 has 1 of 2 copies in sync"},
		"dead":     {func(d *status.Document) { d.Site.Member("a").State = status.MemberDead }, time.Hour, false, 0, "a is dead"},
		"left":     {func(d *status.Document) { d.Site.Member("a").State = status.MemberLeft }, time.Hour, false, 0, "a is left"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var site *walked
			said := 0
			site, w := startWalk(t, 3, hearer(func(line string) {
				if said++; !strings.HasPrefix(line, "waiting up to ") {
					t.Errorf("%q", line)
				}
				if test.over {
					site.change(func(d *status.Document) {
						d.Site.Member("a").State, d.Streams[0].Partitions[1].ISR = status.MemberAlive, d.Streams[0].Partitions[1].Replicas
					})
				}
			}))
			site.change(test.change)
			err := planned(t, site, w, test.waitMax)
			if err != nil || w.trouble != test.want || said != test.said || len(w.stops) != 3 || w.stops[2].name != "c" {
				t.Errorf("%v, %q, said %d times, %d stops", err, w.trouble, said, len(w.stops))
			}
		})
	}
}

// An update takes its time to be written. A gateway that went away meanwhile is
// waited for before another one is taken out.
func TestWalkLooksAgainBeforeItBoots(t *testing.T) {
	var site *walked
	waited := false
	site, w := startWalk(t, 3, hearer(func(line string) {
		if line != "waiting: c is dead" {
			return
		}
		waited = true
		if asked := site.machines[0].Asked(); slices.Contains(asked, "reboot try") {
			t.Errorf("a was booted while c was out: %q", asked)
		}
		site.change(func(d *status.Document) { d.Site.Member("c").State = status.MemberAlive })
	}))
	site.machines[0].Refuse = func(slot.Manifest) error {
		site.change(func(d *status.Document) { d.Site.Member("c").State = status.MemberDead })
		return nil
	}
	if err := w.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !waited {
		t.Error("nobody waited for c")
	}
	site.change(func(d *status.Document) {
		for _, m := range d.Site.Members {
			if m.Draining {
				t.Errorf("%s may not lead", m.Name)
			}
		}
	})
}

// So is a gateway that somebody else takes out at the same time.
func TestWalkMeetsAnother(t *testing.T) {
	var site *walked
	waited := false
	site, w := startWalk(t, 3, hearer(func(line string) {
		if strings.HasPrefix(line, "waiting: b ") {
			waited = true
			site.change(func(d *status.Document) { d.Site.Member("b").Draining = false })
		}
	}))
	site.machines[0].Refuse = func(slot.Manifest) error {
		site.change(func(d *status.Document) { d.Site.Member("b").Draining = true })
		return nil
	}
	if err := w.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !waited {
		t.Error("nobody waited for b")
	}
}

// The right to lead is given back by whoever can: the walk is called off here, and the
// gateway that it talks through is cut off.
func TestWalkTakesItsOrderBack(t *testing.T) {
	site, w := startWalk(t, 3, io.Discard)
	ctx, cancel := context.WithCancel(t.Context())
	site.cut = "c"
	up := site.machines[0].Up
	site.machines[0].Up = func(s machine.State) { cancel(); up(s) }
	err := w.run(ctx)
	if err == nil || strings.Contains(err.Error(), "not given back") {
		t.Errorf("%v", err)
	}
	if site.Status().Site.Member("a").Draining {
		t.Error("a may not lead")
	}
}

// What a gateway keeps alone nobody else can lead: that does not stop the walk, nor
// does it in a site of one.
func TestWalkPastWhatNobodyElseHas(t *testing.T) {
	for _, gateways := range []int{1, 2} {
		t.Run(fmt.Sprint(gateways), func(t *testing.T) {
			site, w := startWalk(t, gateways, io.Discard)
			site.change(func(d *status.Document) {
				p := &d.Streams[0].Partitions[0]
				p.Replicas, p.ISR = []string{"a"}, []string{"a"}
			})
			if err := w.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			for i, m := range site.machines {
				if s := m.State(); s.Version != "1.1" || s.Trial {
					t.Errorf("gateway %d: %+v", i, s)
				}
			}
		})
	}
}
