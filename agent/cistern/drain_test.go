package main

import (
	"bytes"
	"encoding/json"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"cistern/agent/status"
)

// pulse is a drain of one partition that a test moves.
type pulse struct {
	m   drainMeter
	at  time.Time
	doc status.Document
}

func newPulse() *pulse {
	p := &pulse{at: time.Unix(1_700_000_000, 0)}
	p.m.now = func() time.Time { return p.at }
	p.doc = status.Document{Uplink: status.Uplink{State: "up"}, Streams: []status.Stream{{Name: "mqtt", Partitions: []status.Partition{{Drain: "draining"}}}}}
	return p
}

// beat lets a second pass in which records come in and leave.
func (p *pulse) beat(in, out int64) *drainLook {
	part := &p.doc.Streams[0].Partitions[0]
	part.HighWatermark += in
	part.Drained += out
	part.Backlog.Records = part.HighWatermark - part.Drained
	part.Backlog.Bytes = 100 * part.Backlog.Records
	p.at = p.at.Add(time.Second)
	return p.m.look(&p.doc)
}

func near(a, b float64) bool { return math.Abs(a-b) <= 0.02*math.Abs(b) }

func TestRatesAndTimeLeft(t *testing.T) {
	p := newPulse()
	if l := p.beat(100_000, 0); l.rated || l.left != 100_000 || l.bytes != 10_000_000 || l.rows[0].Rate != nil {
		t.Errorf("the first look: %+v", l)
	}
	var l *drainLook
	for range 60 {
		l = p.beat(200, 1000)
	}
	if r := l.rows[0]; !near(l.out, 1000) || !near(l.flow, 100_000) || !near(l.eta, float64(l.left)/800) || !near(*r.Rate, 1000) || !near(*r.SecondsLeft, l.eta) {
		t.Errorf("steady: %+v", l)
	}
	// A slower link is noticed, without jumps.
	before := l.out
	if l = p.beat(200, 0); l.out > before || l.out < 0.9*before {
		t.Errorf("one pause of a second: %f", l.out)
	}
	for range 120 {
		l = p.beat(200, 0)
	}
	if l.eta >= 0 || l.rows[0].SecondsLeft != nil || humanLeft(l.eta) != "unknown" {
		t.Errorf("stalled: %+v", l)
	}
	for range 120 {
		l = p.beat(500, 400)
	}
	if !near(l.out, 400) || l.eta >= 0 {
		t.Errorf("more comes in than goes out: %+v", l)
	}
	left := l.left
	if l = p.beat(0, left); l.left != 0 || l.eta != 0 {
		t.Errorf("empty: %+v", l)
	}
}

// Of a partition that others drain nothing is known here.
func TestDrainedElsewhere(t *testing.T) {
	p := newPulse()
	p.doc.Gateway.Name, p.doc.Site = "a", &status.Site{}
	part := &p.doc.Streams[0].Partitions[0]
	part.Drainer = "b"
	l := p.beat(10, 0)
	if l.left != 0 || l.rows[0].Here {
		t.Errorf("%+v", l)
	}
	if err := l.elsewhere(); err == nil || !strings.Contains(err.Error(), "mqtt/0 is drained by b") {
		t.Error(err)
	}
	part.Drainer = "a"
	if l = p.beat(0, 0); l.left != 10 || l.elsewhere() != nil {
		t.Errorf("%+v", l)
	}
}

func TestDrainScreen(t *testing.T) {
	p := newPulse()
	p.beat(10_000, 0)
	l := p.beat(0, 100)
	v := drainView{watch: true}
	var screen, piped, lines bytes.Buffer
	if err := v.show(&screen, &p.doc, l, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`^\x1b\[H`, `left     9,900 records, 967 KiB; 100 records/s, 9\.8 KiB/s; time left 1 min\x1b\[K\n`,
		`mqtt/0 .* 100  9\.8 KiB +1 min`, `\x1b\[J$`,
	} {
		if !regexp.MustCompile(want).MatchString(screen.String()) {
			t.Errorf("no %q in\n%q", want, screen.String())
		}
	}
	if err := v.show(&piped, &p.doc, l, false); err != nil {
		t.Fatal(err)
	}
	if s := piped.String(); strings.ContainsRune(s, '\x1b') || strings.Count(s, "\n") != 1 || !strings.Contains(s, "9,900 records left, 967 KiB  100 records/s, 9.8 KiB/s  time left 1 min") {
		t.Errorf("piped: %q", s)
	}
	v.json = true
	if err := v.show(&lines, &p.doc, l, false); err != nil {
		t.Fatal(err)
	}
	var out struct {
		Left    int64    `json:"records_left"`
		Seconds *float64 `json:"seconds_left"`
	}
	if err := json.Unmarshal(lines.Bytes(), &out); err != nil || out.Left != 9900 || out.Seconds == nil || strings.Count(lines.String(), "\n") != 1 {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestPacingLine(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.Local)
	for want, p := range map[string]status.Pacing{
		"none":                     {Open: true},
		"at most 1.0 KiB/s":        {Open: true, BytesPerSecond: 1024},
		"1.0 KiB of 2.0 KiB today": {Open: true, DailyBytes: 2048, BytesToday: 1024},
		"closed: x, opens in 2 h 0 min (Mon 14:00)":                   {Why: "x", Until: now.Add(2 * time.Hour)},
		"the clock was never set: no hours hold, and a day is any 24": {Open: true, ClockUnset: true},
	} {
		if got := pacingLine(&p, now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
