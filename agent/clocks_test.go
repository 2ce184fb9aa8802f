package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"cistern/segstore"
	"cistern/segstore/batch"
)

// bootable is a board whose clock is in the test's hand.
type bootable struct {
	up     time.Duration
	wall   time.Time
	synced bool
	state  flashState
	log    bytes.Buffer
}

type flashState struct {
	values map[string][]byte
	writes int
	err    error
}

func (s *flashState) Get(key string) []byte { return s.values[key] }

func (s *flashState) PutSync(key string, value []byte) error {
	if s.err != nil {
		return s.err
	}
	s.values[key] = value
	s.writes++
	return nil
}

func newBootable() *bootable {
	return &bootable{wall: time.Unix(10, 0), state: flashState{values: map[string][]byte{}}}
}

func bootName(n int) string { return fmt.Sprintf("%032x", n) }

// process starts the agent's clocks in boot n.
func (m *bootable) process(n int, site bootSite) *clocks {
	c := &clock{now: func() time.Time { return m.wall }, kernel: func() bool { return m.synced }, uptime: func() time.Duration { return m.up }, boot: bootName(n)}
	c.check()
	return openClocks(c, &m.state, site, slog.New(slog.NewTextHandler(&m.log, nil)))
}

// reboot is a boot that knows nothing.
func (m *bootable) reboot() { m.up, m.wall, m.synced = 10*time.Second, time.Unix(10, 0), false }

func (m *bootable) pass(d time.Duration) { m.up, m.wall = m.up+d, m.wall.Add(d) }

func (m *bootable) setClock(t time.Time) { m.wall, m.synced = t, true }

func look(t *testing.T, c *clocks) {
	t.Helper()
	c.clock.check()
	if err := c.look(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func mustKnow(t *testing.T, c *clocks, n int, want time.Time) {
	t.Helper()
	at, ok := c.BootAt(bootName(n))
	if ok != !want.IsZero() || ok && at != want.UnixMilli() {
		t.Errorf("boot %d: %s (%v), want %s", n, time.UnixMilli(at).UTC(), ok, want.UTC())
	}
}

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func TestBootIsLearned(t *testing.T) {
	m := newBootable()
	m.reboot()
	c := m.process(1, nil)
	look(t, c)
	if m.state.writes != 0 {
		t.Error("something was written before any record was marked")
	}
	m.pass(5 * time.Second)
	mark := string(c.clock.mark(nil, m.wall))
	if mark != "unset "+bootName(1)+" 15000" {
		t.Errorf("a record says %q", mark)
	}
	look(t, c)
	look(t, c)
	mustKnow(t, c, 1, time.Time{})
	if m.state.writes != 1 {
		t.Errorf("%d writes", m.state.writes)
	}
	m.pass(5 * time.Second)
	m.setClock(noon)
	look(t, c)
	look(t, c)
	mustKnow(t, c, 1, noon.Add(-20*time.Second))
	if mark := c.clock.mark(nil, m.wall); len(mark) > 0 || m.state.writes != 2 {
		t.Errorf("a record says %q after %d writes", mark, m.state.writes)
	}

	// Two boots later, both are known, and the boot between left nothing behind.
	m.reboot()
	m.setClock(noon.Add(time.Hour))
	c = m.process(2, nil)
	look(t, c)
	mustKnow(t, c, 1, noon.Add(-20*time.Second))
	mustKnow(t, c, 2, noon.Add(time.Hour-10*time.Second)) // it asks its own clock
	m.reboot()
	c = m.process(3, nil)
	mustKnow(t, c, 1, noon.Add(-20*time.Second))
	mustKnow(t, c, 2, time.Time{})
	mustKnow(t, c, 3, time.Time{})
	if m.state.writes != 2 {
		t.Errorf("%d writes", m.state.writes)
	}
}

// A process that starts when the clock is set learns for the one before it, of
// the same boot.
func TestBootIsLearnedByTheNextProcess(t *testing.T) {
	m := newBootable()
	m.reboot()
	c := m.process(1, nil)
	c.clock.mark(nil, m.wall)
	look(t, c)
	m.pass(time.Minute)
	m.setClock(noon)
	c = m.process(1, nil)
	look(t, c)
	want := noon.Add(-70 * time.Second)
	mustKnow(t, c, 1, want)
	m.reboot()
	mustKnow(t, m.process(2, nil), 1, want)
}

// A boot whose clock was never set stays unknown.
func TestBootIsNeverLearned(t *testing.T) {
	m := newBootable()
	m.reboot()
	c := m.process(1, nil)
	c.clock.mark(nil, m.wall)
	look(t, c)
	m.reboot()
	m.setClock(noon)
	c = m.process(2, nil)
	look(t, c)
	mustKnow(t, c, 1, time.Time{})
}

func TestBootsAreBounded(t *testing.T) {
	m := newBootable()
	const boots = bootsMax + 5
	for n := range boots {
		m.reboot()
		c := m.process(n, nil)
		c.clock.mark(nil, m.wall)
		m.setClock(noon.Add(time.Duration(n) * time.Hour))
		look(t, c)
	}
	if n := len(m.state.values[clocksKey]); n > segstore.StateValueMax {
		t.Errorf("%d bytes", n)
	}
	m.reboot()
	c := m.process(boots, nil)
	for n := range boots {
		want := time.Time{}
		if n >= boots-bootsMax {
			want = noon.Add(time.Duration(n)*time.Hour - 10*time.Second)
		}
		mustKnow(t, c, n, want)
	}
}

func TestStrangeBootsAreLeftOut(t *testing.T) {
	good := boot{name: bootName(7), at: 5, told: true}
	stored := "\n\nx 1 true\n" + bootName(1) + "\n" + bootName(2) + " x true\n" + strings.ToUpper(bootName(0xabc)) + " 4 true\n" +
		string(encodeBoots([]boot{good})) + strings.Repeat("\xff ", 100)
	if got := decodeBoots([]byte(stored)); len(got) != 1 || got[0] != good {
		t.Errorf("%+v", got)
	}
}

// fakeSite knows what it is told, when it is there.
type fakeSite struct {
	known map[string]int64
	told  int
	err   error
}

func (s *fakeSite) bootAt(name string) (int64, bool) { at, ok := s.known[name]; return at, ok }

func (s *fakeSite) tellBoot(_ context.Context, name string, at int64) error {
	if s.err == nil {
		s.known[name], s.told = at, s.told+1
	}
	return s.err
}

// Whoever drains a gateway's records has to know its boots.
func TestSiteIsTold(t *testing.T) {
	m, away := newBootable(), &fakeSite{known: map[string]int64{bootName(99): 42}, err: errors.New("no leader")}
	m.reboot()
	c := m.process(1, away)
	if at, ok := c.BootAt(bootName(99)); !ok || at != 42 {
		t.Errorf("another gateway's boot: %d, %v", at, ok)
	}
	c.clock.mark(nil, m.wall)
	m.setClock(noon)
	c.clock.check()
	if err := c.look(t.Context()); err != away.err {
		t.Fatalf("look: %v", err)
	}
	mustKnow(t, c, 1, noon.Add(-10*time.Second)) // even so

	// The site comes back when the gateway has booted again.
	m.reboot()
	site := &fakeSite{known: map[string]int64{}}
	c = m.process(2, site)
	look(t, c)
	if site.known[bootName(1)] != noon.Add(-10*time.Second).UnixMilli() || site.told != 1 {
		t.Fatalf("%+v", site)
	}
	// It forgets what is old, and is not reminded.
	clear(site.known)
	look(t, c)
	look(t, m.process(3, site))
	if site.told != 1 {
		t.Errorf("told %d times", site.told)
	}
}

// Nothing is believed that could not be written down.
func TestBootIsWrittenDownFirst(t *testing.T) {
	m := newBootable()
	m.reboot()
	c := m.process(1, nil)
	c.clock.mark(nil, m.wall)
	m.state.err = errors.New("read-only")
	if err := c.look(t.Context()); !errors.Is(err, m.state.err) {
		t.Fatal(err)
	}
	m.state.err = nil
	m.setClock(noon)
	look(t, c)
	m.reboot()
	mustKnow(t, m.process(2, nil), 1, noon.Add(-10*time.Second))
}

func TestMachineBoot(t *testing.T) {
	name, uptime := machineBoot()
	if !isBootName(name) {
		t.Errorf("boot %q", name)
	}
	if again, _ := processBoot(); !isBootName(again) || again == name {
		t.Errorf("boot %q", again)
	}
	first := uptime()
	if second := uptime(); first < 0 || second < first {
		t.Errorf("up %s, then %s", first, second)
	}
	c := newClock()
	c.kernel = func() bool { return false }
	c.state.Store(clockUnsynced)
	boot, monotonic, ok := batch.ParseClockMark(c.mark(nil, time.Now()))
	if up := c.uptime().Milliseconds(); !ok || string(boot) != c.boot || monotonic > up || monotonic < up-10_000 {
		t.Errorf("marked %q %d (%v), up %d", boot, monotonic, ok, up)
	}
}

func BenchmarkMark(b *testing.B) {
	c := newClock()
	c.state.Store(clockUnsynced)
	var buf [64]byte
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		c.mark(buf[:0], now)
	}
}
