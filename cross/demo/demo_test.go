package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"cistern/cross/rig"
)

// Whatever machine this is, a message of each part carries the number it was
// given, which is what the table at the end counts by.
func TestMessagesCarryTheirNumber(t *testing.T) {
	if _, err := os.Stat("/proc/loadavg"); err != nil {
		t.Skip("no /proc on this system: ", err)
	}
	all := parts()
	if len(all) == 0 {
		t.Fatal("this machine has nothing to say")
	}
	for _, p := range append(all, part{"gone", func() []reading { return nil }}) {
		next := messages("machine/here", p)
		topic, seq, payload := next(func(string) int64 { return 41 })
		got, err := rig.Sequence(payload)
		if err != nil || got != 41 || seq != 41 || !strings.HasPrefix(topic, "machine/here/"+p.name) {
			t.Errorf("%s: %s %d %s: %v", p.name, topic, seq, payload, err)
		}
	}
}

func TestReadingAsJSON(t *testing.T) {
	r := reading{"load", []value{{"1m", 0.25}, {"5m", 12}}}
	got := string(r.json(7, time.Unix(0, 0)))
	if want := `{"seq":7,"at":"1970-01-01T00:00:00Z","1m":0.25,"5m":12}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestPlainScreenHoldsNoEscapes(t *testing.T) {
	var out strings.Builder
	s := &screen{out: &out}
	s.act("act")
	s.live("first")
	s.progress("second", 1, 2)
	s.note("note %d", 1)
	s.verdict(rig.Verdict{Lost: 1, Example: "lost: t number 2"})
	text := out.String()
	if strings.ContainsAny(text, "\x1b\r") {
		t.Errorf("%q", text)
	}
	for _, want := range []string{"▸ act", "first", "second", "note 1", "the promise is broken; lost: t number 2"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %s, want %s", n, got, want)
		}
	}
}
