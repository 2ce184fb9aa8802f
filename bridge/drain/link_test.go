package drain

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// newTestLink returns a link that is off, and what it logs.
func newTestLink() (*Link[string], *bytes.Buffer) {
	l, said := &Link[string]{}, &bytes.Buffer{}
	l.Init(time.Now, slog.New(slog.NewTextHandler(said, nil)), Uplink{Brokers: []string{"seed"}})
	return l, said
}

// TestLinkAwait: lanes wait while the way is not up, however it fails, and get
// what it takes as soon as it is.
func TestLinkAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := newTestLink()
		got := make(chan string, 1)
		wait := func() {
			go func() {
				use, err := l.Await(t.Context())
				if err != nil {
					t.Error(err)
				}
				got <- use
			}()
			synctest.Wait()
		}
		wait()
		for _, state := range []string{UplinkConnecting, UplinkDown, UplinkConnecting} {
			l.Become(state, errors.New("nobody there"))
			synctest.Wait()
			if len(got) > 0 {
				t.Fatalf("somebody went upstream while it was %s", state)
			}
		}
		l.Up("first", func(*Uplink) {})
		if use := <-got; use != "first" {
			t.Errorf("got %q", use)
		}
		wait()
		if use := <-got; use != "first" {
			t.Errorf("got %q when it was up already", use)
		}
		l.Become(UplinkConnecting, nil)
		wait()
		if len(got) > 0 {
			t.Errorf("got %q when it was up no more", <-got)
		}
		l.Up("second", func(*Uplink) {})
		if use := <-got; use != "second" {
			t.Errorf("got %q, not what was new", use)
		}
		l.Become(UplinkOff, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.Await(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("the wait ended with %v", err)
		}
	})
}

// TestLinkRefresh: one look serves all who ask together, and what was known
// before serves none of them.
func TestLinkRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := newTestLink()
		l.Up("old", func(*Uplink) {})
		got := make(chan string, 2)
		for range cap(got) {
			go func() {
				use, err := l.Refresh(t.Context())
				if err != nil {
					t.Error(err)
				}
				got <- use
			}()
		}
		synctest.Wait()
		<-l.Wake()
		select {
		case <-l.Wake():
			t.Error("each of them asked")
		default:
		}
		l.Become(UplinkDown, nil)
		synctest.Wait()
		if len(got) > 0 {
			t.Errorf("got %q without an answer", <-got)
		}
		l.Up("new", func(*Uplink) {})
		for range cap(got) {
			if use := <-got; use != "new" {
				t.Errorf("got %q", use)
			}
		}
	})
}

// TestLinkStatus: the status says since when and why, and the log tells a change
// once.
func TestLinkStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, said := newTestLink()
		began := time.Now()
		l.Become(UplinkConnecting, nil)
		for range 3 {
			time.Sleep(time.Second)
			l.Become(UplinkDown, errors.New("no route"))
			l.Become(UplinkConnecting, nil)
		}
		if s := l.Status(); s.LastError != "no route" || !s.LastErrorAt.Equal(began.Add(3*time.Second)) || !s.LastAnswer.IsZero() {
			t.Errorf("while it fails: %+v", s)
		}
		for range 3 {
			time.Sleep(time.Second)
			l.Up("", func(u *Uplink) { u.ClusterID, u.Brokers = "c", []string{"a", "b"} }, "cluster", "c")
		}
		s := l.Status()
		if s.State != UplinkUp || !s.Since.Equal(began.Add(4*time.Second)) || !s.LastAnswer.Equal(began.Add(6*time.Second)) || s.ClusterID != "c" {
			t.Errorf("up: %+v", s)
		}
		s.Brokers[0] = "x"
		if got := l.Status().Brokers[0]; got != "a" {
			t.Errorf("a caller has changed an address to %s", got)
		}
		time.Sleep(time.Second)
		if l.Answered(); !l.Status().LastAnswer.Equal(began.Add(7 * time.Second)) {
			t.Errorf("last answer at %v", l.Status().LastAnswer)
		}
		l.Become(UplinkOff, nil)
		log := said.String()
		if strings.Count(log, "uplink is down") != 1 || strings.Count(log, "uplink is up") != 1 || !strings.Contains(log, "cluster=c") {
			t.Errorf("logged: %s", log)
		}
	})
}
