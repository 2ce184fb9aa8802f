package clock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// machine is a keeper whose clock, servers and kernel are the test's.
type machine struct {
	*Keeper
	set      []time.Time
	told     []Action
	said     []string
	stepped  int
	asked    chan string
	answers  func(address string) (time.Duration, error)
	confirms error
}

func newMachine() *machine {
	m := &machine{asked: make(chan string, 64)}
	m.Keeper = New(func(f string, a ...any) { m.said = append(m.said, fmt.Sprintf(f, a...)) }, func() { m.stepped++ })
	m.Keeper.set = func(t time.Time) error { m.set = append(m.set, t); return nil }
	m.Keeper.confirm = func(a Action, _ time.Duration) error { m.told = append(m.told, a); return m.confirms }
	m.Keeper.query = func(a string) (time.Duration, error) { m.asked <- a; return m.answers(a) }
	return m
}

func TestRaiseIsForAClockThatNobodySet(t *testing.T) {
	m := newMachine()
	future := time.Now().Add(time.Hour)
	m.Raise(time.Unix(0, 0), time.Time{})
	if len(m.set) != 0 {
		t.Errorf("a clock that is ahead was set to %v", m.set)
	}
	m.Raise(time.Unix(0, 0), future)
	if len(m.set) != 1 || !m.set[0].Equal(future) {
		t.Errorf("a clock that is behind was set to %v", m.set)
	}
	m.synced.Store(true)
	m.Raise(time.Unix(0, 0), future.Add(time.Hour))
	if len(m.set) != 1 {
		t.Error("a clock that servers have set was set by what was noted")
	}
}

func TestRoundStepsOnceAndTellsTheKernel(t *testing.T) {
	m := newMachine()
	offset := time.Hour
	m.answers = func(string) (time.Duration, error) { return offset, nil }
	m.Use([]string{"127.0.0.1", "127.0.0.2"})
	if why := m.round(t.Context()); why != "" || len(m.set) != 1 || !m.Synced() || m.stepped != 1 {
		t.Fatalf("the first: %q, set %v, synced %t", why, m.set, m.Synced())
	}
	if ahead := time.Until(m.set[0]); ahead < 59*time.Minute || ahead > time.Hour {
		t.Errorf("set to %s from now", ahead)
	}
	offset = 2 * time.Second
	if why := m.round(t.Context()); why != "" || len(m.set) != 1 || m.stepped != 1 {
		t.Errorf("two seconds off later: %q, set %v", why, m.set)
	}
	offset = -time.Hour
	if why := m.round(t.Context()); !strings.Contains(why, "restart") || len(m.set) != 1 {
		t.Errorf("an hour off later: %q, set %v", why, m.set)
	}
	if fmt.Sprint(m.told) != fmt.Sprint([]Action{Step, Slew}) {
		t.Errorf("the kernel was told %v", m.told)
	}
}

func TestRoundSaysWhyItKnowsNothing(t *testing.T) {
	m := newMachine()
	m.answers = func(string) (time.Duration, error) { return 0, errors.New("no route") }
	m.Use([]string{"127.0.0.1"})
	if why := m.round(t.Context()); !strings.Contains(why, "no route") || m.Synced() || len(m.told) != 0 {
		t.Errorf("nobody answers: %q", why)
	}
	m.answers = func(string) (time.Duration, error) { return 0, nil }
	m.confirms = errors.New("not permitted")
	if why := m.round(t.Context()); !strings.Contains(why, "not permitted") || m.Synced() {
		t.Errorf("the kernel refuses: %q", why)
	}
}

func TestResolveTakesTurns(t *testing.T) {
	m := newMachine()
	m.Use([]string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"})
	got, err := m.resolve(t.Context())
	if err != nil || len(got) != serversMax || got[3] != "127.0.0.4" {
		t.Errorf("got %q, %v", got, err)
	}
}

// Nobody is asked before the network is there, and at once when it changes.
func TestRunAsksWhenTheNetworkComes(t *testing.T) {
	m := newMachine()
	m.answers = func(string) (time.Duration, error) { return 0, nil }
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() { m.Run(ctx); close(over) }()
	for _, server := range []string{"127.0.0.1", "127.0.0.2"} {
		m.Use([]string{server})
		if got := <-m.asked; got != server {
			t.Errorf("asked %s, not %s", got, server)
		}
	}
	cancel()
	<-over
}
