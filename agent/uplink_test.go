package agent

import (
	"io"
	"net"
	"reflect"
	"testing"
	"time"

	"cistern/agent/config"
	"cistern/bridge/drain"
	"cistern/bridge/drain/kafkasink"
	"cistern/bridge/drain/pace"
)

// What the file says about the uplink reaches the parts that do it.
func TestUplinkParts(t *testing.T) {
	a := newAgent(t, `
[[stream]]
name = "mqtt"

[[stream]]
name = "alarms"
lane = "alarm"

[uplink]
order = "live_first"
bytes_per_second = 20000
daily_bytes = "1MiB"
schedule = ["00:00-12:00", "12:00-24:00"]
weights = { alarm = 8 }
rebatch = { bytes = "100KiB", linger = "2s" }

[uplink.kafka]
brokers = ["127.0.0.1:1"]
mode = "at_least_once"
`)
	a.today = oneDay()
	a.opened(t)
	c := a.drainConfig()
	if c.Order != drain.OrderLiveFirst || c.Site != "default" || c.Gate == nil || c.LaneOf("alarms") != "alarm" || c.LaneOf("mqtt") != "normal" {
		t.Errorf("%+v", c)
	}
	if reach := c.Shaper.Reach(); reach < 100<<10 {
		t.Errorf("the shaper merges up to %d bytes", reach)
	}
	for _, lane := range []string{"alarm", "normal"} {
		a.gate.Ask(pace.Class{Lane: lane}, 10)
	}
	s := a.gate.Status()
	want := pace.Status{
		Open: true, Schedule: []string{"00:00-12:00", "12:00-24:00"}, BytesToday: 20, DailyBytes: 1 << 20, BytesPerSecond: 20_000, Unanswered: 20,
		Classes: []pace.ClassStatus{{Lane: "alarm", Weight: 8, Unanswered: 10, Sent: 10}, {Lane: "normal", Weight: 1, Unanswered: 10, Sent: 10}},
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("\n got %+v\nwant %+v", s, want)
	}
	if p := pacing(&s); p == nil || p.BytesPerSecond != 20_000 {
		t.Errorf("status: %+v", p)
	}
	k, err := a.kafkaConfig()
	if err != nil || k.Mode != kafkasink.ModeAtLeastOnce || k.Client.Dial == nil || k.RequestBytes != 1<<20 {
		t.Errorf("%+v, %v", k, err)
	}
}

// oneDay is a clock that stays within the day, however long the test takes.
func oneDay() func() time.Time {
	now := time.Now()
	return func() time.Time { return now }
}

// A file that says little leads to an order that is strict and a gate that holds
// nothing back.
func TestUplinkDefaults(t *testing.T) {
	a := open(t, "[uplink.kafka]\nbrokers = ['127.0.0.1:1']")
	if c := a.drainConfig(); c.Order != drain.OrderStrict || c.Shaper.Reach() != 0 {
		t.Errorf("%+v", c)
	}
	s := a.gate.Status()
	if p := pacing(&s); !s.Open || p != nil {
		t.Errorf("%+v, %+v", s, p)
	}
	k, err := a.kafkaConfig()
	if err != nil || k.Mode != kafkasink.ModeAuto || k.Topic != "{stream}" {
		t.Errorf("%+v, %v", k, err)
	}
}

// The names of modes in the file are those that the sink knows.
func TestModes(t *testing.T) {
	for name, want := range map[string]kafkasink.Mode{
		config.ModeAuto: kafkasink.ModeAuto, config.ModeSequence: kafkasink.ModeSequence,
		config.ModeTransaction: kafkasink.ModeTransaction, config.ModeAtLeastOnce: kafkasink.ModeAtLeastOnce,
	} {
		if m, err := kafkasink.ParseMode(name); err != nil || m != want {
			t.Errorf("%q: %v, %v", name, m, err)
		}
	}
}

// What left today is counted on after a clean stop.
func TestPaceMemoryOutlivesTheAgent(t *testing.T) {
	const toml = "[uplink]\ndaily_bytes = '1MiB'\nkafka.brokers = ['127.0.0.1:1']"
	a, today := newAgent(t, toml), oneDay()
	a.today = today
	if err := a.open(); err != nil {
		t.Fatal(err)
	}
	<-a.gate.Ask(pace.Class{}, 12_345).Granted()
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	again := newAgent(t, toml)
	again.today = today
	again.config.Gateway.Data = a.config.Gateway.Data
	if err := again.open(); err != nil {
		t.Fatal(err)
	}
	defer again.close()
	if s := again.gate.Status(); s.BytesToday != 12_345 {
		t.Errorf("%d bytes are remembered", s.BytesToday)
	}
}

// What goes over the uplink is counted, both ways.
func TestWireMeter(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			defer c.Close()
			io.CopyN(c, c, 300)
		}
	}()
	var m wireMeter
	c, err := m.dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(make([]byte, 400)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 300)); err != nil {
		t.Fatal(err)
	}
	if written, read := m.counts(); written != 400 || read != 300 {
		t.Errorf("written %d, read %d", written, read)
	}
}

func TestPaceMemory(t *testing.T) {
	for _, m := range []pace.Memory{{}, {Day: "2026-11-22", Used: 1 << 50}, {Used: 7, UpAt: time.Unix(1795348800, 0)}} {
		if got, err := decodePace(encodePace(m)); err != nil || got != m {
			t.Errorf("%+v is read as %+v, %v", m, got, err)
		}
	}
	for _, text := range []string{"", "2026-11-22", "2026-11-22 x 0", "2026-11-22 -1 0", "2026-11-22 1 x", "a b c d"} {
		if m, err := decodePace(text); err == nil {
			t.Errorf("%q was taken as %+v", text, m)
		}
	}
}
