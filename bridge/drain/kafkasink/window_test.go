package kafkasink

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestWindow: answers that come late make the window smaller, early ones make it
// larger while it is used; what left before the last change says nothing.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWindow(1<<20, 30*time.Second)
		trip := func(bytes int, took time.Duration) {
			sent := time.Now()
			w.sent(bytes)
			time.Sleep(took)
			w.answered(bytes, sent)
		}
		check := func(what string, want int) {
			t.Helper()
			if room, idle := w.room(); room != want || !idle {
				t.Errorf("%s: %d bytes may leave, idle %v, want %d", what, room, idle, want)
			}
		}
		trip(1<<20, time.Second)
		check("early and full", 2<<20)
		trip(1000, time.Second)
		check("early and nearly empty", 2<<20)
		trip(2<<20, 7*time.Second)
		check("in time", 2<<20)
		first, second := time.Now(), time.Now()
		w.sent(1 << 20)
		w.sent(1 << 20)
		time.Sleep(11 * time.Second)
		w.answered(1<<20, first)
		w.answered(1<<20, second)
		check("two late ones that left together", 1<<20)
		for range 10 {
			trip(4<<20, time.Second)
		}
		check("fast for long", 5<<20)
		w.late()
		check("no answer in time", 5<<18)
		for range 5 {
			w.late()
		}
		check("never below", WindowBytesMin)
		if extra := w.sent(3 * WindowBytesMin); extra != time.Minute {
			t.Errorf("a batch of three windows gets %v more, want a minute", extra)
		}
		w.lost(3 * WindowBytesMin)
		check("lost", WindowBytesMin)
	})
}
