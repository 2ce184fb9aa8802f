package quorum

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"cistern/gossip"
	"cistern/gossip/port"
	"cistern/gossip/sitekey"
)

// Three gateways over real site ports, with TLS. Once all is settled nothing is
// written. QUORUM_IDLE=10s measures what idling costs.
func TestIdleSite(t *testing.T) {
	if os.Getenv("QUORUM_IDLE") == "" {
		t.Parallel()
	}
	key, err := sitekey.Generate()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	s := newSite(t, 3)
	for _, name := range names(3) {
		p, err := port.Listen("127.0.0.1:0", key, name)
		if err != nil {
			t.Fatal(err)
		}
		q, err := Open(Config{Dir: t.TempDir(), Name: name, Address: p.Addr().String(), Port: p, Profile: Wired(), Logger: slog.New(slog.DiscardHandler), stop: patientStop})
		if err != nil {
			t.Fatal(err)
		}
		k := &Keeper{Quorum: q, Members: s.list, Changed: s.events.watch, Expect: 3,
			OnSite: func(site string) { s.set(name, func(m *gossip.Member) { m.Meta.Formed = site }) }}
		n := &node{site: s, name: name, addr: p.Addr().String(), q: q}
		s.nodes[name] = n
		s.set(name, func(m *gossip.Member) { m.Meta = gossip.Meta{Address: n.addr, Expect: 3} })
		n.cancel, n.done = cancel, make(chan struct{})
		running.Go(func() { p.Run(ctx) })
		running.Go(func() { q.Run(ctx); close(n.done) })
		running.Go(func() { k.Run(ctx) })
		running.Go(func() { n.register(ctx) })
	}
	s.formed(names(3)...)
	s.propose("g2", putStream("x"))

	idle := time.Second
	if d, err := time.ParseDuration(os.Getenv("QUORUM_IDLE")); err == nil {
		idle = d
	}
	writes := func() (n int64) {
		for _, x := range s.nodes {
			st := x.q.store.db.Stats()
			n += st.TxStats.GetWrite()
		}
		return n
	}
	// On a loaded machine an election may come in between; then again.
	for end := time.Now().Add(patience); ; {
		before, cpu, began := writes(), cpuTime(t), time.Now()
		time.Sleep(idle)
		wrote, used := writes()-before, cpuTime(t)-cpu
		t.Logf("%v idle: %d pages written, %v CPU (%.1f %% of a core for each gateway)", time.Since(began).Round(time.Millisecond),
			wrote, used.Round(time.Millisecond), 100*used.Seconds()/idle.Seconds()/3)
		if wrote == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("an idle site writes")
		}
	}
}

func cpuTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
