package gossip

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"cistern/gossip/porttest"
)

const patience = 30 * time.Second

// childEnv makes the test binary run childMain instead, where a test needs a
// network namespace for itself.
const childEnv = "CISTERN_GOSSIP_TEST_CHILD"

var childMain func() int

// TestMain proves that no test leaves a goroutine behind.
func TestMain(m *testing.M) {
	if childMain != nil && os.Getenv(childEnv) != "" {
		os.Exit(childMain())
	}
	code := m.Run()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		os.Exit(code) // fuzzing has goroutines of its own
	}
	for end := time.Now().Add(patience); code == 0 && runtime.NumGoroutine() > 1; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			buf := make([]byte, 1<<16)
			fmt.Printf("goroutines are left:\n%s\n", buf[:runtime.Stack(buf, true)])
			code = 1
		}
	}
	os.Exit(code)
}

func TestJoinAndMeta(t *testing.T) {
	t.Parallel()
	all := site(t, 3, newKey(t), patient())
	a, c := all[0], all[2]
	if got := a.seesState("c", Alive).Meta; got != (Meta{Address: "127.0.0.1:3", Zone: "north"}) {
		t.Errorf("a thinks that c said %+v", got)
	}
	self := c.seesState("c", Alive)
	if self.Addr != c.Addr() || len(c.Members()) != 3 {
		t.Errorf("c sees itself as %+v among %d", self, len(c.Members()))
	}
	for i := range 5 {
		if err := c.UpdateMeta(func(m *Meta) { m.Incarnation = uint64(i + 1); m.Voter = true }); err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range all {
		x := g.sees("c", "say its incarnation", func(m Member) bool { return m.Meta.Incarnation == 5 })
		if !x.Meta.Voter || x.Meta.Zone != "north" {
			t.Errorf("%s got %+v", g.config.Name, x.Meta)
		}
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // all that may have come by TCP
		s, r := a.Packets()
		if s > 0 && r > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d packets sent, %d received", s, r)
		}
	}
	if h := a.HealthScore(); h < 0 || h > a.config.Profile.AwarenessMax {
		t.Errorf("health score %d", h)
	}
}

func TestLeave(t *testing.T) {
	t.Parallel()
	all := site(t, 4, newKey(t), patient())
	all[3].stop()
	for _, g := range all {
		g.seesState("d", Left) // d itself included
	}
	// Who left is not looked for: its name may come back, from elsewhere too.
	again := start(t, Config{Name: "d", Key: all[0].config.Key, Join: []string{all[1].Addr()}, Meta: Meta{Incarnation: 7}})
	for _, g := range all[:3] {
		x := g.sees("d", "back", func(m Member) bool { return m.State == Alive && m.Meta.Incarnation == 7 })
		if x.Addr != again.Addr() || x.Meta.Leaving {
			t.Errorf("%s sees %+v", g.config.Name, x)
		}
	}
}

// A goodbye that was never on its way is no death: nothing takes the place of the
// word that says it.
func TestLeavingIsNotSuperseded(t *testing.T) {
	t.Parallel()
	k, p := newKey(t), patient()
	p.GossipInterval, p.ProbeInterval, p.PushPullInterval, p.JoinBackoffMin = time.Hour, time.Hour, time.Hour, time.Hour // nothing goes by itself
	p.LeaveTimeout = 20 * time.Millisecond
	a := start(t, Config{Name: "a", Key: k, Profile: p})
	b, err := New(Config{Name: "b", Bind: porttest.Reserve(t), Key: k, Profile: p, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	b.transport.start() // as Run does, which would end when it has left
	list, err := memberlist.Create(b.memberlistConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer list.Shutdown()
	for limit := time.Now().Add(patience); list.NumMembers() < 2; { // a may answer before it knows itself
		if _, err := list.Join([]string{a.Addr()}); err != nil || time.Now().After(limit) {
			t.Fatalf("b never sees a: %v", err)
		}
	}
	a.seesState("b", Alive)
	b.leave(list)
	if _, err := list.Join([]string{a.Addr()}); err != nil { // they compare what they know
		t.Fatal(err)
	}
	a.sees("b", "leaving", func(m Member) bool { return m.State != Dead && m.Meta.Leaving })
}

// Scenario 11's other half: the process is gone without a word, and comes back.
func TestDeathAndReturn(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	all := site(t, 3, k, Wired())
	a, b, c := all[0], all[1], all[2]
	c.kill()
	for _, g := range []*gateway{a, b} {
		g.seesState("c", Dead)
	}
	c.stop()
	a.seesState("c", Dead) // its goodbye has reached nobody

	back := start(t, Config{Name: "c", Bind: c.Addr(), Key: k, Join: []string{b.Addr()}, Meta: Meta{Incarnation: 2, Address: "127.0.0.1:33"}})
	for _, g := range []*gateway{a, b} {
		x := g.sees("c", "back", func(m Member) bool { return m.State == Alive })
		if x.Meta.Incarnation != 2 || x.Meta.Address != "127.0.0.1:33" {
			t.Errorf("%s: c is back with %+v", g.config.Name, x.Meta)
		}
	}
	back.seesState("a", Alive)
}

// A process that is back before anybody noticed has to be heard all the same.
func TestFastRestart(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	a := start(t, Config{Name: "a", Key: k, Profile: patient()})
	b := start(t, Config{Name: "b", Key: k, Profile: patient(), Join: []string{a.Addr()}, Meta: Meta{Incarnation: 1}})
	a.sees("b", "first", func(m Member) bool { return m.State == Alive && m.Meta.Incarnation == 1 })
	for i := range 3 { // some history, so that its old life has the higher number
		b.UpdateMeta(func(m *Meta) { m.Expect = i + 1 })
		a.sees("b", "new", func(m Member) bool { return m.Meta.Expect == i+1 })
	}
	b.kill()
	b.stop()
	start(t, Config{Name: "b", Bind: b.Addr(), Key: k, Profile: patient(), Join: []string{a.Addr()}, Meta: Meta{Incarnation: 2}})
	a.sees("b", "again", func(m Member) bool { return m.State == Alive && m.Meta.Incarnation == 2 && m.Meta.Expect == 0 })
}

// One with another address comes back under the name before the old one was
// given up. The others see two with one name, until they have given up the old.
func TestFastRestartElsewhere(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	all := site(t, 3, k, Wired())
	c := all[2]
	c.kill()
	c.stop()
	back := start(t, Config{Name: "c", Key: k, Join: []string{all[0].Addr()}, Meta: Meta{Incarnation: 2}})
	for _, g := range all[:2] {
		x := g.sees("c", "back", func(m Member) bool { return m.State == Alive && m.Meta.Incarnation == 2 })
		if x.Addr != back.Addr() {
			t.Errorf("%s sees c at %s, want %s", g.config.Name, x.Addr, back.Addr())
		}
	}
}

// As before, but the old one is suspected by then: nobody is told of two, and the one
// that is back does not know that it is seen by none.
func TestRestartElsewhereOfOneSuspected(t *testing.T) {
	t.Parallel()
	k, p := newKey(t), Wired()
	p.SuspicionMult = 10
	all := site(t, 3, k, p)
	c := all[2]
	c.kill()
	for _, g := range all[:2] {
		g.seesState("c", Suspect)
	}
	back := start(t, Config{Name: "c", Key: k, Join: []string{all[0].Addr()}, Meta: Meta{Incarnation: 2}})
	for _, g := range all[:2] {
		x := g.sees("c", "back", func(m Member) bool { return m.State == Alive && m.Meta.Incarnation == 2 })
		if x.Addr != back.Addr() {
			t.Errorf("%s sees c at %s, want %s", g.config.Name, x.Addr, back.Addr())
		}
	}
}

// Neither packets nor connections are answered, and memberlist takes its time.
func TestSuspectBeforeDead(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	a := start(t, Config{Name: "a", Key: k, Profile: patient()})
	b := start(t, Config{Name: "b", Key: k, Profile: patient(), Join: []string{a.Addr()}})
	a.seesState("b", Alive)
	b.kill()
	a.seesState("b", Suspect)
	b.stop()
}

func TestOtherKeyCantJoin(t *testing.T) {
	t.Parallel()
	a := start(t, Config{Name: "a", Key: newKey(t)})
	logged := &recorder{found: make(chan string, 100)}
	b := start(t, Config{Name: "b", Key: newKey(t), Join: []string{a.Addr()}, Logger: slog.New(logged)})
	logged.await(t, "the site keys differ")
	if len(a.Members()) != 1 || len(b.Members()) != 1 {
		t.Errorf("a sees %v, b sees %v", a.Members(), b.Members())
	}
}

func TestNameConflict(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	logged := &recorder{found: make(chan string, 100)}
	a := start(t, Config{Name: "a", Key: k, Profile: patient(), Logger: slog.New(logged)})
	first := start(t, Config{Name: "x", Key: k, Profile: patient(), Join: []string{a.Addr()}})
	a.seesState("x", Alive)
	second := start(t, Config{Name: "x", Key: k, Profile: patient(), Join: []string{a.Addr()}})
	logged.await(t, "two gateways have the same name")
	conflicts := a.Conflicts()
	if len(conflicts) != 1 || conflicts[0].Name != "x" || conflicts[0].Addr != first.Addr() || conflicts[0].Other != second.Addr() {
		t.Errorf("conflicts: %+v", conflicts)
	}
	if x := a.seesState("x", Alive); x.Addr != first.Addr() {
		t.Errorf("x is now at %s", x.Addr)
	}
	changed, stop := second.Watch()
	defer stop()
	for timeout := time.After(patience); len(second.Conflicts()) == 0; {
		select {
		case <-changed:
		case <-timeout:
			t.Fatal("the second one never learns that its name is taken")
		}
	}
}

// Everybody has the same list, and they start in any order.
func TestJoinListOfAll(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	p := Wired()
	p.ResolveTimeout = 100 * time.Millisecond // whatever asks for that name comes to
	list := []string{porttest.Reserve(t), porttest.Reserve(t), porttest.Reserve(t), "127.0.0.1:1", "no.such.host.invalid"}
	var all []*gateway
	for i, addr := range list[:3] {
		all = append(all, start(t, Config{Name: string(rune('a' + i)), Bind: addr, Key: k, Profile: p, Join: list}))
	}
	for _, g := range all {
		for _, name := range []string{"a", "b", "c"} {
			g.seesState(name, Alive)
		}
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	all := site(t, 3, k, patient())
	a, b, c := all[0], all[1], all[2]
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	dying := make(chan struct{}) // then it is open at the first look, gone at the next
	go func() {
		for {
			c, err := port.Accept()
			if err != nil {
				return
			}
			c.Close()
			select {
			case <-dying:
				port.Close()
			default:
			}
		}
	}()
	b.UpdateMeta(func(m *Meta) { m.Address = port.Addr().String() })
	a.sees("b", "say its address", func(m Member) bool { return m.Meta.Address == port.Addr().String() })

	if err := a.Probe(ctx, "b"); err != nil {
		t.Errorf("b: %v", err)
	}
	if err := a.Probe(ctx, "c"); err != nil { // its site port is refused, but it answers
		t.Errorf("c: %v", err)
	}
	if err := a.Probe(ctx, "a"); err != nil {
		t.Errorf("itself: %v", err)
	}
	if err := a.Probe(ctx, "x"); !errors.Is(err, ErrUnknownMember) {
		t.Errorf("x: %v", err)
	}
	c.kill()
	if err := a.Probe(ctx, "c"); !errors.Is(err, ErrRefused) {
		t.Errorf("c is gone: %v", err)
	}
	b.kill() // its site port still takes connections, as a stopped process does
	if err := a.Probe(ctx, "b"); !errors.Is(err, ErrSilent) {
		t.Errorf("b is silent: %v", err)
	}
	short, cancel := context.WithCancel(ctx)
	cancel()
	if err := a.Probe(short, "b"); !errors.Is(err, ErrSilent) || !errors.Is(err, context.Canceled) {
		t.Errorf("b, without patience: %v", err)
	}
	close(dying)
	if err := a.Probe(ctx, "b"); !errors.Is(err, ErrRefused) {
		t.Errorf("b was about to die: %v", err)
	}
	a.stop()
	if err := a.Probe(ctx, "b"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after Run: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for what, c := range map[string]Config{
		"no name":          {Bind: "127.0.0.1:0", Key: k},
		"no key":           {Name: "a", Bind: "0.0.0.0:0"},
		"a host name":      {Name: "a", Bind: "example.invalid:0", Key: k},
		"a bad port":       {Name: "a", Bind: "127.0.0.1:70000", Key: k},
		"a bad address":    {Name: "a", Bind: "127.0.0.1:0", Advertise: "here", Key: k},
		"too long a story": {Name: "a", Bind: "127.0.0.1:0", Key: k, Meta: Meta{Zone: strings.Repeat("z", MetaBytesMax)}},
		"a busy port":      {Name: "a", Bind: busy.Addr().String(), Key: k},
	} {
		if m, err := New(c); err == nil {
			m.Close()
			t.Errorf("%s: accepted", what)
		} else if !strings.HasPrefix(err.Error(), "gossip: ") {
			t.Errorf("%s: %v", what, err)
		}
	}
	m, err := New(Config{Name: "a", Bind: "127.0.0.1:0"}) // alone on loopback needs no key
	if err != nil {
		t.Fatal(err)
	}
	if err := m.UpdateMeta(func(meta *Meta) { meta.Zone = strings.Repeat("z", MetaBytesMax) }); err == nil || m.Members()[0].Meta.Zone != "" {
		t.Errorf("too long an update: %v", err)
	}
	m.Close()
	m.Close()
	if err := m.Run(context.Background()); err == nil {
		t.Error("Run after Close")
	}
}
