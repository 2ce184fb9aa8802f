package natssink

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"cistern/bridge/drain"
	"cistern/bridge/drain/sinktest"
	"cistern/bridge/nats"
	"cistern/segstore/batch"
)

// lanes opens a flow of its own for each cursor on one subject, as live_first does,
// with a sink that lasts as long as the test.
type lanes struct {
	t      *testing.T
	sink   *Sink
	log    *sinktest.Log
	cancel context.CancelFunc
	ended  chan struct{}
}

func newLanes(t *testing.T, cfg Config, log *sinktest.Log) *lanes {
	ctx, cancel := context.WithCancel(context.Background())
	l := &lanes{t: t, sink: sink(t, cfg), log: log, cancel: cancel, ended: make(chan struct{})}
	go func() { defer close(l.ended); l.sink.Run(ctx) }()
	t.Cleanup(l.stop)
	return l
}

func (l *lanes) stop() { l.cancel(); <-l.ended }

func (l *lanes) open(c *drain.Cursor) drain.Lane {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), sinktest.Patience)
	defer cancel()
	for {
		lane, err := l.sink.Open(ctx, l.log.ID, c, drain.Opening{First: true})
		if err == nil {
			return lane
		}
		if ctx.Err() != nil {
			l.t.Fatal(err)
		}
	}
}

// send sends the batch at the cursor and moves it. It reports whether that worked.
func (l *lanes) send(lane drain.Lane, c *drain.Cursor) bool {
	l.t.Helper()
	run, err := l.log.Read(c.Position, nil, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	b, _, err := batch.Next(run)
	if err != nil {
		l.t.Fatal(err)
	}
	h, err := batch.ParseHeader(b)
	if err != nil {
		l.t.Fatal(err)
	}
	type result struct {
		upstream int64
		err      error
	}
	done := make(chan result, 1)
	lane.Send(b, &h, c.Sequence(c.Position), func(upstream int64, err error) { done <- result{upstream, err} })
	r := <-done
	if r.err == nil {
		c.Position = h.NextOffset()
		if r.upstream >= 0 {
			c.Upstream = r.upstream
		}
	}
	return r.err == nil
}

// Two flows share a subject, and both are found again by its last message,
// whichever wrote it and wherever they were cut off: cursors are thrown away to
// what a crash would leave.
func TestTwoFlowsOnOneSubject(t *testing.T) {
	c := newCentral(t)
	for way, more := range ways {
		t.Run(way, func(t *testing.T) {
			stream := name("flows")
			c.stream(stream, more)
			log := sinktest.NewLog("s", 0).Fill(t, 60, 5)
			var line sinktest.Line
			cfg := c.config(stream)
			cfg.Client.Dial = line.Dial
			const split = 150 // the live flow's first offset
			old, live := drain.NewCursor(0), drain.NewCursor(split)
			rng := rand.New(rand.NewPCG(3, 4))
			for round := 0; old.Position < split || live.Position < log.HighWatermark(); round++ {
				l := newLanes(t, cfg, log)
				a, b := l.open(&old), l.open(&live)
				oldWas, liveWas := old, live // saved after opening, and not again
				for range rng.IntN(8) {
					if rng.IntN(2) == 0 && old.Position < split {
						if !l.send(a, &old) {
							break
						}
					} else if live.Position < log.HighWatermark() {
						if !l.send(b, &live) {
							break
						}
					}
					if rng.IntN(6) == 0 {
						line.Deafen()
						time.AfterFunc(time.Millisecond, func() { line.Cut() })
					}
				}
				line.Cut()
				l.stop()
				if rng.IntN(2) == 0 {
					old = oldWas
				}
				if rng.IntN(2) == 0 {
					live = liveWas
				}
				if round > 1000 {
					t.Fatalf("no end: %d of %d, %d of %d", old.Position, split, live.Position, log.HighWatermark())
				}
				if old.Position > split {
					t.Fatalf("the older flow is at %d, it ends at %d", old.Position, split)
				}
			}
			expectFlows(t, c, stream, log, split)
		})
	}
}

// expectFlows: each offset once, in order within [0, split) and behind.
func expectFlows(t *testing.T, c *central, stream string, log *sinktest.Log, split int64) {
	t.Helper()
	next := [2]int64{0, split}
	for _, m := range c.read(stream) {
		text, _ := m.header.Get(hdrOffset)
		o, f := parseNumber(text), 0
		if o >= split {
			f = 1
		}
		if o != next[f] {
			t.Fatalf("offset %d where %d belongs", o, next[f])
		}
		next[f]++
	}
	if next != [2]int64{split, log.HighWatermark()} {
		t.Errorf("upstream ends at %v", next)
	}
}

// Somebody else's message on our subject hides the position; it is found behind it.
func TestForeignMessages(t *testing.T) {
	c := newCentral(t)
	stream := name("foreign")
	c.stream(stream, atomic_)
	l := sinktest.NewLog("s", 0).Fill(t, 5, 4)
	state := sinktest.NewState()
	g := sinktest.Start(t, sink(t, c.config(stream)), sinktest.Setup{State: state}, l)
	g.Drained(nil, l)
	subject := stream + ".site.s.0"
	c.request(subject, "hello") // answered: JetStream has it
	l.Fill(t, 5, 4)
	g.Drained(nil, l)
	survived := state.Survive(false) // as before the first record
	g.Stop()
	c.request(subject, "hello again")
	l.Fill(t, 5, 4)
	g = sinktest.Start(t, sink(t, c.config(stream)), sinktest.Setup{State: survived}, l)
	g.Drained(nil, l)
	var offsets []string
	for _, m := range c.read(stream) {
		if o, ours := m.header.Get(hdrOffset); ours {
			offsets = append(offsets, o)
		}
	}
	want := make([]string, 60)
	for i := range want {
		want[i] = fmt.Sprint(i)
	}
	if strings.Join(offsets, " ") != strings.Join(want, " ") {
		t.Errorf("upstream: %v", offsets)
	}
}

// A stream that has lost what it acknowledged gets it again; one from which it was
// purged does not.
func TestLostAndPurged(t *testing.T) {
	c := newCentral(t)
	for what, test := range map[string]struct {
		request, body string
		want          int
	}{
		"the subject was purged":  {"PURGE", `{}`, 8},
		"one message was removed": {"MSG.DELETE", `{"seq":20}`, 27},
	} {
		t.Run(what, func(t *testing.T) {
			stream := name("purged")
			c.stream(stream, atomic_)
			l := sinktest.NewLog("s", 0).Fill(t, 5, 4)
			state := sinktest.NewState()
			g := sinktest.Start(t, sink(t, c.config(stream)), sinktest.Setup{State: state}, l)
			g.Drained(nil, l)
			g.Stop()
			c.request("$JS.API.STREAM."+test.request+"."+stream, test.body)
			l.Fill(t, 2, 4)
			g = sinktest.Start(t, sink(t, c.config(stream)), sinktest.Setup{State: state}, l)
			g.Drained(nil, l)
			if n := len(c.read(stream)); n != test.want {
				t.Errorf("%d messages, want %d", n, test.want)
			}
		})
	}
	// A server that was set back to an older copy of its files.
	stream := name("back")
	c.stream(stream, atomic_)
	l := sinktest.NewLog("s", 0).Fill(t, 5, 4)
	state := sinktest.NewState()
	g := sinktest.Start(t, sink(t, c.config(stream)), sinktest.Setup{State: state}, l)
	g.Drained(nil, l)
	g.Stop()
	var info streamInfo
	if err := json.Unmarshal(c.request("$JS.API.STREAM.INFO."+stream, ""), &info); err != nil {
		t.Fatal(err)
	}
	cursor, err := drain.DecodeCursor(state.Get("drain/s/0"))
	if err != nil || uint64(cursor.Upstream) != info.State.LastSeq {
		t.Fatalf("upstream %d of %d, %v", cursor.Upstream, info.State.LastSeq, err)
	}
	cursor.Upstream += 20 // as if as many records more had been acknowledged
	cursor.Position += 20
	n := newLanes(t, c.config(stream), l)
	n.open(&cursor)
	if cursor.Position != 20 || uint64(cursor.Upstream) != info.State.LastSeq {
		t.Errorf("position %d, upstream %d", cursor.Position, cursor.Upstream)
	}
}

// Another stream of the same name has nothing of ours.
func TestStreamMadeAnew(t *testing.T) {
	c := newCentral(t)
	stream := name("anew")
	c.stream(stream, atomic_)
	l := sinktest.NewLog("s", 0).Fill(t, 5, 4)
	g := sinktest.Start(t, sink(t, c.config(stream)), sinktest.Setup{}, l)
	g.Drained(nil, l)
	g.Stop()
	c.request("$JS.API.STREAM.DELETE."+stream, "")
	c.stream(stream, atomic_)
	l.Fill(t, 1, 4)
	g = sinktest.Start(t, sink(t, c.config(stream)), sinktest.Setup{State: g.State}, l)
	g.Drained(nil, l)
	s := g.Drainer.Status().Partitions[0]
	if s.Incarnation != 2 || len(c.read(stream)) != 4 {
		t.Errorf("incarnation %d, %d messages", s.Incarnation, len(c.read(stream)))
	}
}

func TestPermissions(t *testing.T) {
	user := func(name string, publish ...string) *server.User {
		return &server.User{Username: name, Password: "p", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: publish}, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}}}}
	}
	const s = "perm"
	c := newCentral(t)
	c.stream(s, atomic_)
	c.stop()
	c.start(func(o *server.Options) {
		o.Users = []*server.User{
			user("good", s+".>", "$JS.API.STREAM.INFO."+s, "$JS.API.STREAM.MSG.GET."+s),
			user("mute", "$JS.API.STREAM.INFO."+s, "$JS.API.STREAM.MSG.GET."+s),
			user("blind", s+".>"),
		}
	})
	for _, test := range []struct{ user, password, reason string }{
		{"good", "p", ""},
		{"mute", "p", "does not permit"},
		{"blind", "p", "not permitted"},
		{"good", "wrong", "Authorization"},
	} {
		cfg := c.config(s)
		cfg.Client.User, cfg.Client.Password = test.user, test.password
		l := sinktest.NewLog(test.user, 0).Fill(t, 2, 4)
		g := sinktest.Start(t, sink(t, cfg), sinktest.Setup{}, l)
		if test.reason == "" {
			g.Drained(nil, l)
		} else {
			g.Until("it is said", func(s drain.Status) bool {
				return strings.Contains(s.Partitions[0].Reason+s.Uplink.LastError, test.reason)
			})
		}
		g.Stop()
	}
}

// A server that answers nothing is down; one that went silent is noticed.
func TestUplinkIsHonest(t *testing.T) {
	c := newCentral(t)
	stream := name("honest")
	c.stream(stream, atomic_)
	var line sinktest.Line
	cfg := c.config(stream)
	cfg.Client.Dial = line.Dial
	s := sink(t, cfg)
	s.timing.probe, s.timing.answer = 20*time.Millisecond, 50*time.Millisecond
	l := sinktest.NewLog("s", 0).Fill(t, 1, 1)
	g := sinktest.Start(t, s, sinktest.Setup{}, l)
	g.Drained(nil, l)
	before := g.Drainer.Status().Uplink.LastAnswer
	g.Until("it is asked without need", func(s drain.Status) bool { return s.Uplink.LastAnswer.After(before) })
	line.Deafen()
	g.Until("silence is noticed", isDown)
	l.Fill(t, 1, 1)
	g.Drained(nil, l)
	g.Until("it is up again", func(s drain.Status) bool { // on a slow machine it is often called silent
		return s.Uplink.State == drain.UplinkUp && s.Uplink.Mode == "expected_sequence"
	})
	g.Stop()
	cfg.Client.URLs = []string{"nats://127.0.0.1:1"}
	g = sinktest.Start(t, sink(t, cfg), sinktest.Setup{}, l)
	g.Until("nobody is there", isDown)
	if _, err := nats.Connect(t.Context(), cfg.Client); err == nil {
		t.Error("connected to nobody")
	}
}

// live_first through the whole drainer: gateways that are killed again and again
// while an old backlog and new records share the subject.
func TestLiveFirst(t *testing.T) {
	c := newCentral(t)
	for way, more := range ways {
		t.Run(way, func(t *testing.T) {
			stream := name("live")
			c.stream(stream, more)
			l := sinktest.NewLog("s", 0)
			old := func(r *batch.Record) { r.Timestamp = time.Now().Add(-time.Hour).UnixMilli() }
			state := sinktest.NewState()
			flows, rng := 0, rand.New(rand.NewPCG(5, 6))
			for round := range 6 {
				for range 8 {
					l.AppendRecords(t, 5, old)
				}
				crash := sinktest.NewCrash(20 + rng.IntN(60))
				state.Step = crash.Step
				cfg := c.config(stream)
				cfg.Client.Dial = crash.Dial
				most := 0
				look := func(s drain.Status) { most = max(most, len(s.Partitions[0].Flows)) }
				g := sinktest.Start(t, sink(t, cfg), sinktest.Setup{State: state, Order: drain.OrderLiveFirst, OnCursor: look}, l)
				for range 4 {
					l.Append(t, 3)
				}
				g.Drained(crash.Dead, l)
				g.Stop()
				look(g.Drainer.Status())
				flows = max(flows, most)
				state = state.Survive(round%2 == 0)
			}
			g := sinktest.Start(t, sink(t, c.config(stream)), sinktest.Setup{State: state, Order: drain.OrderLiveFirst}, l)
			g.Drained(nil, l)
			seen := map[string]int{}
			for _, m := range c.read(stream) {
				o, _ := m.header.Get(hdrOffset)
				seen[o]++
			}
			for o := range l.HighWatermark() {
				if n := seen[fmt.Sprint(o)]; n != 1 {
					t.Errorf("offset %d is there %d times", o, n)
				}
			}
			if flows < 2 {
				t.Errorf("never more than %d flows: nothing was tried", flows)
			}
		})
	}
}
