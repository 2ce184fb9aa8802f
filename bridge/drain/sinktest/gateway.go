package sinktest

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"cistern/bridge/drain"
	"cistern/gossip/metadata"
)

// Patience is how long a test waits for an event before it calls it missing.
const Patience = 30 * time.Second

// Setup is what tests vary; all of it may be zero.
type Setup struct {
	State      *State
	Quarantine *Quarantine
	Order      drain.Order
	Now        func() time.Time
	OnCursor   func(drain.Status) // is told of each move of a cursor, one at a time for each partition
}

// Gateway is one running drainer.
type Gateway struct {
	Drainer    *drain.Drainer
	State      *State
	Quarantine *Quarantine

	t      testing.TB
	look   func(drain.Status)
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	cursors map[metadata.PartitionID]int64
	moved   chan struct{}
}

// Logger is one that speaks only with DRAIN_LOG set.
func Logger() *slog.Logger {
	var w io.Writer = io.Discard
	if os.Getenv("DRAIN_LOG") != "" {
		w = os.Stderr
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

// Start drains logs into a sink until the test ends, or Stop.
func Start(t testing.TB, sink drain.Sink, s Setup, logs ...*Log) *Gateway {
	t.Helper()
	g := &Gateway{t: t, look: s.OnCursor, State: s.State, Quarantine: cmp.Or(s.Quarantine, &Quarantine{}),
		cursors: map[metadata.PartitionID]int64{}, moved: make(chan struct{}, 1), done: make(chan struct{})}
	if g.State == nil {
		g.State = NewState()
	}
	var err error
	g.Drainer, err = drain.New(drain.Config{Sink: sink, State: g.State, Quarantine: g.Quarantine, Order: s.Order,
		OnCursor: g.onCursor, Logger: Logger(), Now: s.Now})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range logs {
		if err := g.Drainer.Add(l, drain.Term{}); err != nil {
			t.Fatal(err)
		}
		g.cursors[l.ID], _ = g.Drainer.Cursor(l.ID)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	go func() {
		defer close(g.done)
		g.Drainer.Run(ctx)
	}()
	t.Cleanup(g.Stop)
	return g
}

func (g *Gateway) onCursor(p metadata.PartitionID, offset int64) {
	g.mu.Lock()
	g.cursors[p] = offset
	g.mu.Unlock()
	if g.look != nil {
		g.look(g.Drainer.Status())
	}
	select {
	case g.moved <- struct{}{}:
	default:
	}
}

// Drained waits until the cursors of logs are at their ends, or stop is closed
// (which may be nil).
func (g *Gateway) Drained(stop <-chan struct{}, logs ...*Log) {
	g.t.Helper()
	timeout := time.After(Patience)
	for {
		missing := ""
		g.mu.Lock()
		for _, l := range logs {
			if g.cursors[l.ID] != l.HighWatermark() {
				missing = fmt.Sprintf("%s is at %d of %d", l.ID, g.cursors[l.ID], l.HighWatermark())
			}
		}
		g.mu.Unlock()
		if missing == "" {
			return
		}
		select {
		case <-g.moved:
		case <-stop:
			return
		case <-timeout:
			g.t.Fatalf("not drained: %s; status %+v", missing, g.Drainer.Status())
		}
	}
}

// Cursor returns how far a log is drained.
func (g *Gateway) Cursor(l *Log) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cursors[l.ID]
}

// Until waits for a state that has no event of its own.
func (g *Gateway) Until(what string, holds func(drain.Status) bool) drain.Status {
	g.t.Helper()
	for deadline := time.Now().Add(Patience); ; time.Sleep(2 * time.Millisecond) {
		s := g.Drainer.Status()
		if holds(s) {
			return s
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("waited in vain until %s; status %+v", what, s)
		}
	}
}

// Stop ends the drainer.
func (g *Gateway) Stop() {
	g.cancel()
	select {
	case <-g.done:
	case <-time.After(Patience):
		g.t.Error("the drainer does not stop")
	}
}
