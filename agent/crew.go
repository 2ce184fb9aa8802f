package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// crew runs the parts of an agent and stops the last one first.
type crew struct {
	log    *slog.Logger
	parts  []*part
	left   []*part    // that did not stop in time
	failed chan error // the first part that ended by itself
}

type part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error // once done is closed
}

func newCrew(log *slog.Logger) *crew {
	return &crew{log: log, failed: make(chan error, 1)}
}

// errEnded is what is wrong with a part that returns without being asked.
var errEnded = errors.New("ended by itself")

// start runs a part until stop.
func (c *crew) start(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &part{name: name, cancel: cancel, done: make(chan struct{})}
	c.parts = append(c.parts, p)
	go func() {
		p.err = run(ctx)
		asked := ctx.Err() != nil
		close(p.done) // before anybody hears of a failure: stop must know it, too
		if asked {
			return
		}
		err := p.err
		if err == nil {
			err = errEnded
		}
		select {
		case c.failed <- fmt.Errorf("%s: %w", name, err):
		default: // only the first counts; others fall over it
		}
	}()
}

// stop ends the parts of these names, or all, one after the other, the last one
// first. A part that has not ended after limit is left behind, said aloud, and
// an error.
func (c *crew) stop(limit time.Duration, names ...string) error {
	var errs []error
	var left []*part
	for _, p := range slices.Backward(c.parts) {
		if len(names) > 0 && !slices.Contains(names, p.name) {
			left = append(left, p)
			continue
		}
		if err := p.stop(limit); err != nil {
			c.log.Error("stopping", "part", p.name, "error", err)
			errs = append(errs, fmt.Errorf("stopping %s: %w", p.name, err))
			select {
			case <-p.done:
			default:
				c.left = append(c.left, p)
			}
		}
	}
	slices.Reverse(left)
	c.parts = left
	return errors.Join(errs...)
}

// ask tells the parts of these names to end, and waits for none.
func (c *crew) ask(names ...string) {
	for _, p := range c.parts {
		if slices.Contains(names, p.name) {
			p.cancel()
		}
	}
}

func (p *part) stop(limit time.Duration) error {
	select {
	case <-p.done:
		return nil // it ended by itself, which failed has told
	default:
	}
	p.cancel()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		return fmt.Errorf("it did not stop within %s", limit)
	}
	if errors.Is(p.err, context.Canceled) {
		return nil
	}
	return p.err
}
