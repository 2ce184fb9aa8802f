package gossip

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"cistern/gossip/porttest"
	"cistern/gossip/sitekey"
)

// gateway is a running Membership.
type gateway struct {
	*Membership
	t    testing.TB
	stop func() // ends Run in good order, and waits
}

func newKey(t testing.TB) sitekey.Key {
	t.Helper()
	k, err := sitekey.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// start starts a gateway on loopback.
func start(t testing.TB, c Config) *gateway {
	t.Helper()
	if c.Bind == "" {
		c.Bind = porttest.Reserve(t) // another may start there in its place
	}
	if c.Profile == (Profile{}) {
		c.Profile = Wired()
	}
	if c.Profile.LeaveTimeout == Wired().LeaveTimeout {
		c.Profile.LeaveTimeout = patience
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	g := &gateway{Membership: m, t: t}
	g.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(g.stop)
	return g
}

// kill closes the sockets as a dying process does: without a word.
func (g *gateway) kill() {
	g.t.Helper()
	if err := g.transport.Shutdown(); err != nil {
		g.t.Fatal(err)
	}
}

// sees waits until g's view of the named member is as asked for.
func (g *gateway) sees(name, what string, ok func(Member) bool) Member {
	g.t.Helper()
	changed, stop := g.Watch()
	defer stop()
	timeout := time.After(patience)
	for {
		var x Member
		for _, m := range g.Members() {
			if m.Name == name {
				if x = m; ok(x) {
					return x
				}
			}
		}
		select {
		case <-changed:
		case <-timeout:
			g.t.Fatalf("%s never saw %s %s, but %+v", g.config.Name, name, what, x)
		}
	}
}

func (g *gateway) seesState(name string, s State) Member {
	g.t.Helper()
	return g.sees(name, s.String(), func(m Member) bool { return m.State == s })
}

// patient is a profile under which nobody dies within a test, however slow the
// machine is.
func patient() Profile {
	p := Wired()
	p.SuspicionMult, p.ProbeAttempts = 1000, 20
	return p
}

// site starts n gateways named a, b, c ... that know each other.
func site(t testing.TB, n int, k sitekey.Key, p Profile) []*gateway {
	t.Helper()
	var all []*gateway
	for i := range n {
		c := Config{Name: string(rune('a' + i)), Key: k, Profile: p, Meta: Meta{Address: fmt.Sprintf("127.0.0.1:%d", i+1), Zone: "north"}}
		if i > 0 {
			c.Join = []string{all[0].Addr()}
		}
		all = append(all, start(t, c))
	}
	for _, g := range all {
		for _, o := range all {
			g.seesState(o.config.Name, Alive)
		}
	}
	return all
}

// recorder passes on what is logged at Info and above.
type recorder struct{ found chan string }

func (r *recorder) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (r *recorder) WithAttrs([]slog.Attr) slog.Handler           { return r }
func (r *recorder) WithGroup(string) slog.Handler                { return r }
func (r *recorder) Handle(_ context.Context, rec slog.Record) error {
	line := rec.Level.String() + " " + rec.Message
	rec.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	select {
	case r.found <- line:
	default:
	}
	return nil
}

func (r *recorder) await(t testing.TB, part string) {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case line := <-r.found:
			if strings.Contains(line, part) {
				return
			}
		case <-timeout:
			t.Fatalf("never logged: %s", part)
		}
	}
}
