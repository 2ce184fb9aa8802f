package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestWatchdogPeriod(t *testing.T) {
	me := strconv.Itoa(os.Getpid())
	for _, c := range []struct {
		socket, usec, pid string
		want              time.Duration
		wrong             bool
	}{
		{"", "", "", 0, false},
		{"", "60000000", "", 0, false},
		{"/n", "", "", 0, false},
		{"/n", "60000000", "", time.Minute, false},
		{"/n", "60000000", me, time.Minute, false},
		{"/n", "60000000", "1", 0, false},
		{"/n", "a minute", "", 0, true},
		{"/n", "0", "", 0, true},
		{"/n", "-1", "", 0, true},
		{"/n", "99999999999999", "", 0, true},
	} {
		t.Setenv("NOTIFY_SOCKET", c.socket)
		t.Setenv("WATCHDOG_USEC", c.usec)
		t.Setenv("WATCHDOG_PID", c.pid)
		got, err := watchdogPeriod()
		if got != c.want || (err != nil) != c.wrong {
			t.Errorf("%+v: %s, %v", c, got, err)
		}
	}
}

// A part is stuck when it got nowhere for stuckAfter, and not before: the stall
// of a slow card is no reason to end an agent.
func TestWatchdogNamesWhatIsStuck(t *testing.T) {
	w := &watchdog{beats: map[string]time.Time{}}
	now := time.Now()
	stuck := func(want string) {
		t.Helper()
		if got := w.stuck(now); want == "" && got != "" || !strings.HasPrefix(got, want) {
			t.Errorf("stuck: %q, want %q", got, want)
		}
	}
	w.since = now.Add(-openMax / 2)
	stuck("")
	w.since = now.Add(-openMax - time.Second)
	stuck("the start, for 10m1s")

	w.enter(working)
	now = time.Now()
	stuck("")
	w.beats[partJournal] = now.Add(-20 * time.Second)
	stuck("")
	w.beats[partJournal] = now.Add(-stuckAfter - time.Second)
	stuck("the journal's committer, for 1m21s")
	w.beat(partJournal)
	stuck("")
	w.beats[partWatch] = now.Add(-stuckAfter - time.Second)
	stuck("the watch over all parts")

	w.enter(stopping)
	now = time.Now()
	stuck("")
	now = now.Add(stopMax + time.Second)
	stuck("the stop")
}

// Signs of life come while a part gets on, stop when it is stuck, and come again.
func TestWatchdogTellsOnlyWhileAlive(t *testing.T) {
	told := make(chan string)
	w := &watchdog{
		every: time.Millisecond, log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		quit: make(chan struct{}), done: make(chan struct{}), beats: map[string]time.Time{},
	}
	w.tell = func(s string) error {
		select {
		case told <- s:
		case <-w.quit:
		}
		return errors.New("nobody is there") // is no reason to end
	}
	w.enter(working)
	go w.run()
	for range 3 {
		if s := <-told; s != "WATCHDOG=1" {
			t.Fatalf("told %q", s)
		}
	}
	w.mu.Lock()
	w.beats[partJournal] = time.Now().Add(-2 * stuckAfter)
	w.mu.Unlock()
	limit := time.After(patience)
	for silent := false; !silent; { // one may have been on its way
		select {
		case <-told:
		case <-time.After(50 * time.Millisecond):
			silent = true
		case <-limit:
			t.Fatal("it tells on while the journal is stuck")
		}
	}
	w.beat(partJournal)
	<-told
	w.close()
}

// The pulse of a committer that hangs is waited for, and no beat comes.
func TestWatchdogFeelsThePulse(t *testing.T) {
	w := &watchdog{every: time.Millisecond, beats: map[string]time.Time{}}
	asked, turn := make(chan struct{}), make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- w.feelPulse(ctx, func(ctx context.Context) error {
			asked <- struct{}{}
			select {
			case <-turn:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	}()
	beaten := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return !w.beats[partJournal].IsZero()
	}
	<-asked
	if beaten() {
		t.Error("it beats before the committer has come round")
	}
	turn <- struct{}{}
	<-asked
	if !beaten() {
		t.Error("no beat after the committer has come round")
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A whole agent under a service manager that waits for signs of life.
func TestAgentServesTheWatchdog(t *testing.T) {
	said := manager(t)
	t.Setenv("WATCHDOG_USEC", "600000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	a := newAgent(t, "")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	signs := 0
	await := func(want string) {
		for {
			switch word := said(); word {
			case want:
				return
			case "WATCHDOG=1":
				signs++
			default:
				t.Fatalf("said %q, want %q", word, want)
			}
		}
	}
	await("READY=1")
	for signs = 0; signs < 3; {
		await("WATCHDOG=1")
		signs++
	}
	stop()
	await("STOPPING=1")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
