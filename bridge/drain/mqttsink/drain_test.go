package mqttsink

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"cistern/bridge/drain"
	"cistern/bridge/drain/sinktest"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// Ten thousand records, while the broker is killed, connections are cut, and
// answers are lost.
func TestBrokerKilledAndConnectionsCut(t *testing.T) {
	m := startMosquitto(t, "")
	l := newListener(t)
	l.connect(m)
	a, b := sinktest.NewLog("a", 0), sinktest.NewLog("b", 0)
	a.Key, b.Key = sensors, func(int64) []byte { return []byte("other") }
	g := newGate()
	cfg := m.config()
	cfg.Dial = g.dial
	s := sink(t, cfg)
	s.timing.answer = 200 * time.Millisecond
	gw := sinktest.Start(t, s, sinktest.Setup{}, a, b)
	const rounds = 16
	for round := range rounds {
		a.Fill(t, 10, 50)
		b.Fill(t, 10, 125/10)
		goal := a.HighWatermark() - 400
		gw.Until("it has come that far", func(drain.Status) bool { return gw.Cursor(a) >= goal })
		switch round % 4 {
		case 0, 2:
			g.Cut()
		case 1:
			g.Deafen() // until the answer is overdue
		case 3:
			g.shut()
			m.kill()
			m.start()
			l.connect(m) // before anything is published there
			g.release()
		}
	}
	for a.HighWatermark() < 8000 {
		a.Append(t, 100)
	}
	for b.HighWatermark() < 2000 {
		b.Append(t, 40)
	}
	gw.Drained(nil, a, b)
	f := l.all("plant/", a, b)
	t.Logf("%d records, %d broker deaths, %d cuts, %d times deaf: %+v", a.HighWatermark()+b.HighWatermark(), rounds/4, rounds/2, rounds/4, f)
	if f.lost != 0 || f.early != 0 || f.foreign != 0 {
		t.Errorf("%+v", f)
	}
	// The machine may fail besides, when an answer is overdue because it stood still.
	if n := g.reconnects(); f.repeated > n*(WindowDefault+1) {
		t.Errorf("%d repeats: more than the window for each of %d failures", f.repeated, n)
	}
	if q := gw.Quarantine.Names(); len(q) != 0 {
		t.Errorf("set aside: %v", q)
	}
}

// A gateway that is killed goes on from its saved cursor.
func TestGatewayKilled(t *testing.T) {
	m := startMosquitto(t, "")
	l := newListener(t)
	l.connect(m)
	a := sinktest.NewLog("a", 0).Fill(t, 20, 10)
	points := 0
	step := 20
	if os.Getenv("CISTERN_THOROUGH") != "" {
		step = 1
	}
	for at := 1; ; at += step {
		crash := sinktest.NewCrash(at)
		state := sinktest.NewState()
		state.Step = crash.Step
		prefix := fmt.Sprintf("killed%d/", at) // repeats of one must not count for the next
		cfg := m.config()
		cfg.Prefix = prefix
		again := cfg
		cfg.Dial = crash.Dial
		g := sinktest.Start(t, sink(t, cfg), sinktest.Setup{State: state}, a)
		g.Drained(crash.Dead, a)
		g.Stop()
		g = sinktest.Start(t, sink(t, again), sinktest.Setup{State: state.Survive(at%2 == 0)}, a)
		g.Drained(nil, a)
		g.Stop()
		f := l.all(prefix, a)
		if f.early != 0 || f.foreign != 0 || t.Failed() {
			t.Fatalf("killed at step %d, %s: %+v", at, crash.Where(), f)
		}
		select {
		case <-crash.Dead:
			points++
			continue
		default:
		}
		break
	}
	t.Logf("%d crash points", points)
	if points < 10 {
		t.Errorf("%d crash points: the drainer was not seen at work", points)
	}
}

func TestTopics(t *testing.T) {
	s, err := New(Config{URL: "mqtt://h", ClientID: "c", Prefix: "plant/"})
	if err != nil {
		t.Fatal(err)
	}
	bare, err := New(Config{URL: "mqtt://h", ClientID: "c"})
	if err != nil {
		t.Fatal(err)
	}
	p := metadata.PartitionID{Stream: "s", Partition: 3}
	for _, c := range []struct{ key, want string }{
		{"a/b", "plant/a/b"},
		{"/", "plant//"},
		{"ä b", "plant/ä b"},
		{"", "plant/s/3"},
		{"a/+/b", "plant/s/3"},
		{"#", "plant/s/3"},
		{"a\x00b", "plant/s/3"},
		{"a\nb", "plant/s/3"},
		{"a\xffb", "plant/s/3"},
		{"a\ufffe", "plant/s/3"},
		{strings.Repeat("x", 65535), "plant/s/3"},
		{strings.Repeat("/", 200), "plant/s/3"},
		{"$SYS/x", "plant/$SYS/x"},
	} {
		if got := s.topicOf(p, []byte(c.key)); got != c.want {
			t.Errorf("%.20q goes to %.40q, want %q", c.key, got, c.want)
		}
	}
	if got := s.topicOf(p, nil); got != "plant/s/3" {
		t.Errorf("no key goes to %q", got)
	}
	if got := bare.topicOf(p, []byte("$SYS/x")); got != "s/3" {
		t.Errorf("a topic of the broker's own: %q", got)
	}
}

// Every key that passes for a topic must be one to a real broker: it would close
// the connection else.
func TestMosquittoTakesEveryTopic(t *testing.T) {
	m := startMosquitto(t, "")
	l := newListener(t)
	l.connect(m)
	var keys []string
	for r := rune(0); r < 0x300; r++ {
		keys = append(keys, "k"+string(r))
	}
	keys = append(keys, "\ufdcf", "\ufdd0", "\ufffd", "\ufffe", "\U0001ffff", "\U00010000", strings.Repeat("a/", 199), strings.Repeat("x", 65000), "/", "//", " ")
	a := sinktest.NewLog("a", 0)
	a.Key = func(o int64) []byte { return []byte(keys[o]) }
	a.Fill(t, 1, len(keys))
	s := sink(t, m.config())
	g := sinktest.Start(t, s, sinktest.Setup{}, a)
	g.Drained(nil, a)
	if up := g.Drainer.Status().Uplink; up.LastError != "" {
		t.Errorf("the broker closed the connection: %s", up.LastError)
	}
	by := sinktest.NewLog("a", 0)
	by.Key = func(o int64) []byte { return []byte(strings.TrimPrefix(s.topicOf(a.ID, a.Key(o)), "plant/")) }
	by.Fill(t, 1, len(keys))
	if f := l.all("plant/", by); f != (findings{}) {
		t.Errorf("%+v", f)
	}
}

// A message on which the broker closes the connection sets its batch aside, and
// nothing else; what lies around it arrives, no more than twice.
func TestPoison(t *testing.T) {
	m := startMosquitto(t, "max_packet_size 20000")
	l := newListener(t)
	l.connect(m)
	// A connection that ends for another reason besides brings repeats of its own,
	// but hardly each time.
	const tries = 3
	for n := 1; ; n++ {
		most := poison(t, m, l, fmt.Sprintf("poison%d/", n))
		if most <= 2 {
			return
		}
		if n == tries {
			t.Fatalf("some record arrived %d times", most)
		}
	}
}

// poison drains under a prefix and says how often a record arrived at most.
func poison(t *testing.T, m *mosquitto, l *listener, prefix string) (most int) {
	t.Helper()
	a, b := sinktest.NewLog("a", 0).Fill(t, 3, 10), sinktest.NewLog("b", 0).Fill(t, 3, 10)
	a.AppendRecords(t, 3, func(r *batch.Record) {
		if r.Offset == 31 {
			r.Value = make([]byte, 50_000)
		}
	})
	a.Fill(t, 3, 10)
	b.Fill(t, 3, 10)
	gate, cfg := newGate(), m.config()
	cfg.Prefix, cfg.Dial = prefix, gate.dial
	s := sink(t, cfg)
	s.suspicion.poison = 50 * time.Millisecond
	s.timing.suspect = 100 * time.Millisecond
	g := sinktest.Start(t, s, sinktest.Setup{}, a, b)
	g.Until("all is drained", func(drain.Status) bool {
		g.Drainer.Kick() // drain's own back-off
		return g.Cursor(a) == a.HighWatermark() && g.Cursor(b) == b.HighWatermark()
	})
	g.Stop()
	l.until(func() bool {
		seen := l.seen[prefix+"a"]
		return len(seen) > 0 && seen[len(seen)-1] == string(a.Value(a.HighWatermark()-1))
	})
	if q := g.Quarantine.Names(); !slices.Equal(q, []string{"a/0@30-32 CONNECTION_CLOSED"}) {
		t.Errorf("set aside: %v", q)
	}
	if f := l.all(prefix, b); f.early != 0 {
		t.Errorf("the other partition: %+v", f)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	count := map[string]int{}
	for _, v := range l.seen[prefix+"a"] {
		count[v]++
	}
	for o := range a.HighWatermark() {
		n := count[string(a.Value(o))]
		// 32 went before it was known, within the window.
		if o == 31 && n != 0 || o != 31 && o != 32 && n < 1 || n > 1+gate.reconnects() {
			t.Errorf("offset %d arrived %d times, with %d reconnects", o, n, gate.reconnects())
		}
		most = max(most, n)
	}
	return most
}

func TestDamagedOnFlash(t *testing.T) {
	m := startMosquitto(t, "")
	a := sinktest.NewLog("a", 0).Fill(t, 10, 10)
	a.Damage(35)
	g := sinktest.Start(t, sink(t, m.config()), sinktest.Setup{}, a)
	g.Drained(nil, a)
	if q := g.Quarantine.Names(); len(q) != 1 || !strings.HasPrefix(q[0], "a/0@30-39") {
		t.Errorf("set aside: %v", q)
	}
}
