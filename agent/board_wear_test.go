package agent

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"testing"

	"cistern/agent/status"
)

// cardMachine is a machine with one card, as /sys and /proc show it.
type cardMachine struct {
	*testing.T
	root  string
	state remembered
	looks *looks
	own   int64 // of this agent's journal
}

func newCardMachine(t *testing.T) *cardMachine {
	m := &cardMachine{T: t, root: t.TempDir(), state: remembered{}}
	m.place("sys/block/mmcblk0/size", "62333952")
	m.place("sys/block/mmcblk0/device/type", "SD")
	m.place("sys/block/mmcblk0/device/cid", "9f54490000000000b2c3d4e5f6012345")
	m.start()
	return m
}

// start is an agent that starts.
func (m *cardMachine) start() { m.looks, m.own = &looks{root: m.root}, 0 }

func (m *cardMachine) place(path, text string) {
	m.Helper()
	path = filepath.Join(m.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
		m.Fatal(err)
	}
}

// at looks at the card that many hours after the boot, when it has had so many
// sectors since.
func (m *cardMachine) at(boot int, hours float64, sectors int64) *status.Lately {
	m.Helper()
	m.place("proc/sys/kernel/random/boot_id", fmt.Sprint(boot))
	m.place("proc/uptime", fmt.Sprintf("%.2f 1.00", hours*3600))
	m.place("sys/block/mmcblk0/stat", fmt.Sprintf("0 0 0 0 0 0 %d 0 0 0 0", sectors))
	m.looks.look(m.state, nil, journalWrites{"mmcblk0", m.own})
	return m.looks.seen().Disks[0].Lately
}

// A steady load shows as what it is, whenever one looks and however often agent
// and machine start anew. Nothing of it asks the wall clock.
func TestDayOfACard(t *testing.T) {
	m := newCardMachine(t)
	const perHour = 3600 // sectors; the journal writes half
	hour := func(l *status.Lately) (all, own float64) {
		return float64(l.Bytes) / l.Seconds * 3600 / 512, float64(l.Journal) / l.Seconds * 3600 / 512
	}
	if l := m.at(0, 1, 9_000_000); l.Bytes != 0 || l.Seconds != 0 {
		t.Errorf("what was written before anybody counted is a day's: %+v", l)
	}
	sectors, hours := int64(9_000_000), 1.0
	boot := 0
	for n := 1; n <= 400; n++ { // a look each quarter of an hour
		switch {
		case n%150 == 0:
			boot, sectors, hours = boot+1, 0, 0
			m.start()
		case n%40 == 0:
			m.start()
		}
		hours += 0.25
		sectors += perHour / 4
		m.own += perHour / 8 * 512
		l := m.at(boot, hours, sectors)
		if all, own := hour(l); math.Abs(all-perHour) > 1 || math.Abs(own-perHour/2) > 1 {
			t.Fatalf("look %d: %+v makes %.1f and %.1f sectors an hour", n, l, all, own)
		}
		if span := l.Seconds / 3600; span > 26.25 || n > 24*4 && span < 24 || n <= 24*4 && span != float64(n)/4 {
			t.Fatalf("look %d: a day of %.2f hours", n, span)
		}
	}
	for key, value := range m.state {
		if len(value) > 1024 {
			t.Errorf("%s takes %d bytes of a commit", key, len(value))
		}
	}
}

// A day that was heavy is over a day later, also when nothing was written in it.
func TestHeavyDayEnds(t *testing.T) {
	m := newCardMachine(t)
	m.at(0, 1, 0)
	if l := m.at(0, 10, 1000); l.Bytes != 1000*512 || l.Seconds != 9*3600 {
		t.Errorf("%+v", l)
	}
	for h := 11.0; h < 36; h++ {
		m.at(0, h, 1000+int64(h))
	}
	if l := m.at(0, 37, 1037); l.Bytes > 28*512 {
		t.Errorf("a day later: %+v", l)
	}
}

// A power cut loses counts and keeps marks that were made of them.
func TestDayAfterACrash(t *testing.T) {
	m := newCardMachine(t)
	m.at(0, 1, 0)
	m.at(0, 2, 100)
	old := maps.Clone(m.state)
	m.at(0, 5, 400)
	m.state["wear/cid-9f54490000000000b2c3d4e5f6012345"] = old["wear/cid-9f54490000000000b2c3d4e5f6012345"]
	m.start()
	if l := m.at(1, 0.5, 60); l.Bytes != 160*512 || l.Seconds != 1.5*3600 {
		t.Errorf("behind a crash: %+v", l)
	}
	m.state["wear-day/cid-9f54490000000000b2c3d4e5f6012345"] = []byte("no JSON")
	if l := m.at(1, 1, 70); l.Bytes != 0 || l.Seconds != 0 {
		t.Errorf("behind marks that can't be read: %+v", l)
	}
}

// The machine tells no uptime: nothing can be said of a day.
func TestDayWithoutUptime(t *testing.T) {
	m := newCardMachine(t)
	for i := range int64(5) {
		if l := m.at(0, 0, i*1_000_000); l != nil || l.Over(1) != "" {
			t.Errorf("%+v", l)
		}
	}
}
