package segstore

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestPulse(t *testing.T) {
	s, _, _, g := faultyStore(t)
	if err := put(s, g, t, "x"); err != nil {
		t.Fatal(err)
	}
	written := s.Stats().BytesWritten
	for range 3 {
		if err := s.Pulse(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if now := s.Stats().BytesWritten; now != written {
		t.Errorf("three pulses wrote %d bytes", now-written)
	}

	// A committer that is stuck, as in a flush that never ends.
	reached, release := make(chan struct{}), make(chan struct{})
	s.Submit(&Group{Entries: []Entry{{Log: g, Batch: makeBatch(t, "y")}}, Done: func(*Group) { close(reached); <-release }})
	<-reached
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Pulse(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while the committer hangs: %v", err)
	}
	close(release)
	if err := s.Pulse(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Pulse(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
