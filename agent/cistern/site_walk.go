package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"cistern/agent/status"
)

// walk is an update on its way through a site.
type walk struct {
	file     *updateFile
	progress *progress
	stops    []*stop
	trouble  string // when it was planned
}

// Limits of a walk.
const (
	// planMax is how long what is in the way may take to be over before anything is
	// done. Longer, and the operator had better look.
	planMax = 30 * time.Second
	// wholeMax is how long copies may take to come in sync before a gateway is
	// taken out: one that was away has to read what it missed.
	wholeMax = 30 * time.Minute
	// undoMax is for giving a gateway its right to lead back, whatever happened.
	undoMax  = time.Minute
	undoTry  = 5 * time.Second // at one gateway
	askEvery = time.Second
)

func (w *walk) run(ctx context.Context) error {
	done := 0
	for i, s := range w.stops {
		if s.skip != "" {
			continue
		}
		if err := w.step(ctx, i); err != nil {
			return w.stopped(i, err)
		}
		done++
	}
	if done == 0 {
		w.progress.say("nothing to do")
		return nil
	}
	if err := w.awaitWhole(ctx, -1); err != nil {
		return err
	}
	w.progress.say("%s updated to version %s; every copy is in sync", plural(done, "gateway"), w.file.Version)
	return nil
}

// step updates one gateway, while all others are there.
func (w *walk) step(ctx context.Context, i int) (err error) {
	s := w.stops[i]
	if err := w.awaitWhole(ctx, -1); err != nil {
		return err
	}
	m, err := s.agent.Machine(ctx)
	if err != nil {
		return fmt.Errorf("%s can't be asked: %w", s.name, err)
	}
	up := &updater{name: s.name, agent: s.agent, file: w.file, progress: w.progress}
	ordered := false
	defer func() {
		if ordered {
			err = errors.Join(err, w.letLead(ctx, i))
		}
	}()
	up.handOver = func(ctx context.Context) error {
		// To write it took its time: is everybody else still there?
		if err := w.awaitWhole(ctx, -1); err != nil {
			return err
		}
		if !s.drained {
			ordered = true
			if err := w.handOver(ctx, i); err != nil {
				return err
			}
		}
		// And once more, now that others can see whose turn it is: of two walks at
		// the same time none goes on past the other's order.
		return w.awaitWhole(ctx, i)
	}
	if err := up.apply(ctx, m); err != nil {
		return err
	}
	return w.awaitWhole(ctx, i)
}

// handOver moves what a gateway leads to others.
func (w *walk) handOver(ctx context.Context, i int) error {
	s := w.stops[i]
	return w.through(ctx, i, func(agent *status.Client) error {
		if err := agent.DrainNode(ctx, s.name, true); err != nil {
			return fmt.Errorf("%s can't hand over what it leads: %w", s.name, err)
		}
		leads := func(d *status.Document) int { return leadsForOthers(d, s.name) }
		if err := waitDrained(ctx, agent, s.name, leads); err != nil {
			// Without its hint: here the order does not stand.
			return hinted(errors.New(err.Error()), "the update lies in its other slot and was not booted; `cistern partitions` shows whose copies are behind")
		}
		w.progress.say("%s: leads nothing that another could", s.name)
		return nil
	})
}

// letLead takes back handOver's order, also after Ctrl-C. The site may be choosing
// another that leads the quorum, and a gateway may be cut off from it: it is tried
// for a while at one after the other, and at the gateway itself last.
func (w *walk) letLead(called context.Context, i int) error {
	s := w.stops[i]
	ctx, cancel := context.WithTimeout(context.WithoutCancel(called), undoMax)
	defer cancel()
	for k := i; ; {
		k = (k + len(w.stops) - 1) % len(w.stops)
		try, done := context.WithTimeout(ctx, undoTry)
		err := w.stops[k].agent.DrainNode(try, s.name, false)
		done()
		if err == nil {
			w.progress.say("%s: may lead again", s.name)
			return nil
		}
		if pause(ctx, askEvery) != nil {
			return fmt.Errorf("%s was not given back its right to lead (`cistern site drain-node %s --undo` does it): %s: %w", s.name, s.name, w.stops[k].name, err)
		}
	}
}

// through has something done at a gateway other than number i, where there is one:
// the last one in the order that answers, which is the one named on the command
// line before it is its turn.
func (w *walk) through(ctx context.Context, i int, do func(*status.Client) error) error {
	var failed error
	for k := len(w.stops) - 1; k >= 0; k-- {
		if k == i && len(w.stops) > 1 {
			continue
		}
		_, err := w.stops[k].agent.Status(ctx)
		if err == nil {
			return do(w.stops[k].agent)
		}
		failed = errors.Join(failed, fmt.Errorf("%s: %w", w.stops[k].name, err))
	}
	return failed
}

// awaitWhole returns when everybody is there and every copy in sync, as seen by
// another gateway than number i, and nobody takes out another than that one.
func (w *walk) awaitWhole(called context.Context, i int) error {
	ctx, cancel := context.WithTimeout(called, wholeMax)
	defer cancel()
	var names []string
	for _, s := range w.stops {
		names = append(names, s.name)
	}
	said := ""
	for {
		trouble := ""
		err := w.through(ctx, i, func(agent *status.Client) error {
			d, err := agent.Status(ctx)
			if err == nil {
				if trouble = siteTrouble(d, names); trouble == "" {
					trouble = w.goes(d, i)
				}
			}
			return err
		})
		if err != nil {
			trouble = err.Error()
		}
		switch {
		case trouble == "":
			return nil
		case trouble != said:
			said = trouble
			w.progress.say("waiting: %s", trouble)
		}
		if pause(ctx, askEvery) != nil {
			if called.Err() != nil {
				return fmt.Errorf("broken off while waiting for the site: %s", trouble)
			}
			return fmt.Errorf("the site did not become whole within %s: %s", humanAge(wholeMax), trouble)
		}
	}
}

// goes names a gateway that has been told to lead nothing since the walk began,
// other than number i: somebody is about to stop it.
func (w *walk) goes(d *status.Document, i int) string {
	for k, s := range w.stops {
		if m := d.Site.Member(s.name); k != i && !s.drained && m.Draining {
			return s.name + " was told to lead nothing, by somebody else"
		}
	}
	return ""
}

// pause waits, or returns the context's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// stopped says how the site stands after a gateway that went wrong.
func (w *walk) stopped(at int, err error) error {
	var done, left []string
	for i, s := range w.stops {
		switch {
		case s.skip != "":
		case i < at:
			done = append(done, s.name)
		case i > at:
			left = append(left, s.name)
		}
	}
	what := "the walk stops at " + w.stops[at].name
	if len(done) > 0 {
		what += "; updated: " + strings.Join(done, ", ")
	}
	if len(left) > 0 {
		what += "; not touched: " + strings.Join(left, ", ")
	}
	hint := "gateways of both versions work together; run the same command again to go on, or with the former file to go back"
	var f *fault
	if errors.As(err, &f) && f.hint != "" {
		hint = f.hint + "\nhint: " + hint
	}
	return hinted(fmt.Errorf("%w\n%s", err, what), hint)
}
