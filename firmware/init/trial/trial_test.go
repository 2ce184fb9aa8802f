package trial

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cistern/firmware/machine"
	"cistern/firmware/slot"
)

var (
	before = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	now    = before.Add(time.Hour)
	old    = Running{Slot: slot.A, Default: slot.A, Version: "v1", Build: "one"}
	tried  = Running{Slot: slot.B, Default: slot.A, Trial: true, Version: "v2", Build: "two"}
	// fallback: not named, not tried.
	fallback = Running{Slot: slot.B, Default: slot.A, Version: "v2", Build: "two"}
	named    = Running{Slot: slot.B, Default: slot.B, Version: "v2", Build: "two"}
)

func TestBootedTellsWhatMustHaveHappened(t *testing.T) {
	written := Written("v2", "two", slot.B, before)
	trying := Try("v2", "two", slot.B, before)
	noted := GivenUp(trying, "it hung")
	for _, c := range []struct {
		name        string
		was         *machine.Update
		run         Running
		result, why string
	}{
		{"nothing was ever updated", nil, old, "", ""},
		{"written, not yet tried", written, old, machine.Written, ""},
		{"cut before the trial's first boot", trying, old, machine.RolledBack, neverRan},
		{"on trial", trying, tried, machine.Trying, NoReason},
		{"on trial, the record of it was lost", written, tried, machine.Trying, NoReason},
		{"on trial, no record at all", nil, tried, machine.Trying, NoReason},
		{"cut or hung in the trial", Booted(trying, tried, now), old, machine.RolledBack, NoReason},
		{"given up", noted, old, machine.RolledBack, "it hung"},
		{"good, cut before the record said so", trying, named, machine.Good, ""},
		{"named by hand", written, named, machine.Good, ""},
		{"good before", Called(trying, before), named, machine.Good, ""},
		{"rolled back before", Booted(noted, old, before), old, machine.RolledBack, "it hung"},
		{"tried, though its slot is the one that boots", trying, Running{Slot: slot.B, Default: slot.B, Trial: true, Version: "v2", Build: "two"}, machine.Good, ""},
		{"not yet tried, but its slot boots since the other does not", written, fallback, machine.Written, ""},
		{"given up, but its slot boots since the other does not", noted, fallback, machine.RolledBack, "it hung"},
	} {
		got := Booted(c.was, c.run, now)
		if got == nil {
			if c.result != "" {
				t.Errorf("%s: no record, want %s", c.name, c.result)
			}
			continue
		}
		if got.Result != c.result || got.Why != c.why || got.Version != "v2" || got.Slot != "b" {
			t.Errorf("%s: got %+v, want %s because %q", c.name, got, c.result, c.why)
		}
		if again := Booted(got, c.run, now.Add(time.Hour)); *again != *got {
			t.Errorf("%s: the next boot makes %+v of %+v", c.name, again, got)
		}
	}
}

func TestRecordIsReplacedWhole(t *testing.T) {
	dir := t.TempDir()
	if u, err := Read(dir); u != nil || err != nil {
		t.Fatalf("an empty folder: %v, %v", u, err)
	}
	long := GivenUp(Try("v2", "two", slot.B, before), strings.Repeat("x", whyBytesMax+10))
	for _, u := range []*machine.Update{Written("v2", "two", slot.B, before), long, Called(long, now)} {
		if err := Write(dir, u); err != nil {
			t.Fatal(err)
		}
		got, err := Read(dir)
		if err != nil || got.Result != u.Result || !got.At.Equal(u.At) || len(got.Why) != min(len(u.Why), whyBytesMax) {
			t.Errorf("wrote %+v, read %+v, %v", u, got, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// An order and the end of a trial's time may come at the same moment.
func TestRecordIsWrittenByTwo(t *testing.T) {
	dir := t.TempDir()
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			for range 100 {
				if err := Write(dir, Try("v2", "two", slot.B, before)); err != nil {
					t.Error(err)
				}
				if u, err := Read(dir); u == nil || err != nil {
					t.Errorf("read %v, %v", u, err)
				}
			}
		})
	}
	both.Wait()
}

func TestReadRefusesWhatIsNoRecord(t *testing.T) {
	for text, says := range map[string]string{
		"":                                   "is no record",
		"{}":                                 "is no record",
		`{"result":"good","slot":"c"}`:       "is no record",
		`{"result":"better","slot":"a"}`:     "is no record",
		strings.Repeat(" ", fileBytesMax+1):  "more than",
		`{"result":"good","slot":"a"} trail`: "is no record",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, FileName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if u, err := Read(dir); err == nil || u != nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.30q: got %v, %v", text, u, err)
		}
	}
}

// Whatever a worn card makes of the record: an error, or one that can be written.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":"v1","build":"b","slot":"a","result":"trying","why":"x","at":"2026-05-01T12:00:00Z"}`))
	f.Add([]byte(`{"slot":"b","result":"good"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		u, err := parse(text)
		if err != nil {
			return
		}
		for _, r := range []Running{old, tried, fallback, named} {
			if b := Booted(u, r, now); b.Result == machine.Trying && !r.OnTrial() {
				t.Errorf("%+v stays on trial in %+v", u, r)
			}
		}
	})
}
