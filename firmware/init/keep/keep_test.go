package keep

import (
	"testing"
	"time"
)

func TestBackoffGrowsAndForgets(t *testing.T) {
	var b Backoff
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		if got := b.Next(time.Second); got != want*time.Second {
			t.Errorf("pause %d: %s, want %ds", i, got, want)
		}
	}
	if got := b.Next(calmAfter); got != delayMin {
		t.Errorf("after a long run: %s", got)
	}
}

// at makes a Watch with an agent that was started at 0 and beats until s seconds.
func beating(s int) (*Watch, time.Duration) {
	w := new(Watch)
	w.Started(0)
	at := time.Duration(0)
	for ; at <= time.Duration(s)*time.Second; at += 10 * time.Second {
		w.Beaten(at)
	}
	return w, at - 10*time.Second
}

func TestWatchFeedsOnlyWhileTheAgentBeats(t *testing.T) {
	w, last := beating(100)
	if v := w.Judge(last + Beat); v != Well || !w.Alive(last+Beat) {
		t.Errorf("within a beat: %d", v)
	}
	late := last + Beat + 1
	if w.Alive(late) {
		t.Error("fed without a beat")
	}
	if v := w.Judge(late); v != Kill {
		t.Fatalf("a silent agent: %d, want Kill", v)
	}
	if !w.Alive(late+killMax) || w.Judge(late+killMax) != Well {
		t.Error("no time to end it")
	}
	w.Beaten(late + killMax) // what is being ended does not count
	if v := w.Judge(late + killMax + 1); v != Reset || w.Alive(late+killMax+1) {
		t.Errorf("an agent that can't be ended: %d, want Reset", v)
	}
	w.Started(late + time.Minute)
	if w.Alive(late+time.Minute) || w.Judge(late+time.Minute) != Reset {
		t.Error("what only a reset helps was forgotten")
	}
}

func TestWatchResetsAtTheSecondHang(t *testing.T) {
	for _, c := range []struct {
		calm time.Duration
		want Verdict
	}{{hangsApart - Beat, Reset}, {hangsApart + Beat, Kill}} {
		w, last := beating(0)
		first := last + Beat + 1
		if w.Judge(first) != Kill {
			t.Fatal("not killed")
		}
		w.Allow(first, time.Second)
		w.Started(first)
		for at := first; at <= first+c.calm-Beat-1; at += time.Second {
			w.Beaten(at)
			if v := w.Judge(at); v != Well {
				t.Fatalf("beating: %d", v)
			}
		}
		if v := w.Judge(first + c.calm); v != c.want {
			t.Errorf("hangs again after %s: %d, want %d", c.calm, v, c.want)
		}
	}
}

func TestWatchBoundsEveryWait(t *testing.T) {
	w := new(Watch)
	w.Allow(0, BootMax)
	w.Beaten(BootMax) // nobody is there to beat
	if !w.Alive(BootMax) || w.Alive(BootMax+1) || w.Judge(BootMax+1) != Well {
		t.Error("a boot is fed as long as it may take")
	}
	w.Started(0)
	if !w.Alive(StartMax) || w.Judge(StartMax) != Well || w.Judge(StartMax+1) != Kill {
		t.Error("a start is fed as long as it may take")
	}
}
