package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestCrewStopsTheLastFirst(t *testing.T) {
	c := newCrew(slog.New(slog.DiscardHandler))
	var ended []string // written by one part at a time, which is the point
	for _, name := range []string{"journal", "drain", "mqtt"} {
		c.start(name, func(ctx context.Context) error {
			<-ctx.Done()
			ended = append(ended, name)
			return ctx.Err()
		})
	}
	if err := c.stop(time.Minute); err != nil {
		t.Fatal(err)
	}
	if want := []string{"mqtt", "drain", "journal"}; !slices.Equal(ended, want) {
		t.Errorf("ended %v, want %v", ended, want)
	}
}

func TestCrewTellsTheFirstFailure(t *testing.T) {
	broken := errors.New("broken")
	for name, run := range map[string]func(context.Context) error{
		"drain: broken":          func(context.Context) error { return broken },
		"drain: ended by itself": func(context.Context) error { return nil },
	} {
		c := newCrew(slog.New(slog.DiscardHandler))
		c.start("journal", func(ctx context.Context) error { <-ctx.Done(); return nil })
		c.start("drain", run)
		if err := <-c.failed; err.Error() != name {
			t.Errorf("got %v, want %s", err, name)
		}
		if err := c.stop(time.Minute); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
}

func TestCrewLeavesBehindWhatDoesNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(slog.New(slog.DiscardHandler))
		release := make(chan struct{})
		saved := false
		c.start("journal", func(ctx context.Context) error { <-ctx.Done(); saved = true; return nil })
		c.start("mqtt", func(context.Context) error { <-release; return nil })
		began := time.Now()
		err := c.stop(10 * time.Second)
		if err == nil || !strings.Contains(err.Error(), "stopping mqtt: it did not stop within 10s") {
			t.Errorf("got %v", err)
		}
		if time.Since(began) != 10*time.Second || !saved {
			t.Errorf("took %s, saved is %v", time.Since(began), saved)
		}
		close(release)
	})
}

func TestCrewKeepsErrorsOfStopping(t *testing.T) {
	c := newCrew(slog.New(slog.DiscardHandler))
	c.start("drain", func(ctx context.Context) error { <-ctx.Done(); return errors.New("cursor not saved") })
	if err := c.stop(time.Minute); err == nil || err.Error() != "stopping drain: cursor not saved" {
		t.Errorf("got %v", err)
	}
}
