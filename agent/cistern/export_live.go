package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cistern/agent/status"
	"cistern/bridge/drain"
	"cistern/bridge/export"
	"cistern/gossip/metadata"
)

// pauseWait is how long a drain is given to hear what became of what it sent.
const (
	pauseWait = 10 * time.Second
	pausePoll = 100 * time.Millisecond
	// resumeWait bounds the end of a move that was called off.
	resumeWait = 10 * time.Second
)

// fromAgent exports what a running gateway has.
func (f *exportFlags) fromAgent(c *cobra.Command) (err error) {
	agent, err := f.where.agent()
	if err != nil {
		return err
	}
	d, err := agent.Status(c.Context())
	if err != nil {
		return err
	}
	m, pending := f.pendingMove()
	if pending && (m.Gateway != d.Gateway.Name || m.Site != d.Gateway.Site) {
		return fmt.Errorf("%s is an export of %s at %s, not of this gateway", f.out, m.Gateway, m.Site)
	}
	if err := f.checkHere(d); err != nil && !pending {
		return err
	}
	if f.move && d.Uplink.State != "none" {
		resume, err := f.hold(c.Context(), agent, d)
		defer func() { err = errors.Join(err, resume()) }()
		if err != nil {
			return err
		}
		if d, err = agent.Status(c.Context()); err != nil { // where the drain stands now
			return err
		}
	}
	if pending {
		f.each(d, func(stream string, p *status.Partition) {
			inDoubt := slices.ContainsFunc(p.Flows, func(f status.DrainFlow) bool { return f.InDoubt })
			settle(m, metadata.PartitionID{Stream: stream, Partition: p.Partition}, undrainedAt(p), inDoubt)
		})
		return f.finishMove(c, m, skipAt(c.Context(), agent))
	}
	return f.exportLive(c, agent, d)
}

// undrainedAt are the ranges of a partition that a running gateway has not drained.
func undrainedAt(p *status.Partition) (all []export.Range) {
	if len(p.Flows) < 2 { // where newer records leave first, the backlog is not one range
		return []export.Range{{From: max(p.Drained, p.HighWatermark-p.Backlog.Records), To: -1}}
	}
	for _, f := range p.Flows {
		all = append(all, export.Range{From: f.Position, To: f.End})
	}
	return all
}

func (f *exportFlags) exportLive(c *cobra.Command, agent *status.Client, d *status.Document) error {
	parts := f.liveParts(c.Context(), agent, d)
	if len(parts) == 0 {
		return nothingToExport(c, 0)
	}
	m, err := export.Export(c.Context(), f.options(c, export.Manifest{Site: d.Gateway.Site, Gateway: d.Gateway.Name}), parts)
	endProgress(c)
	if err != nil {
		return exportError(err, f.out)
	}
	if f.move {
		return f.finishMove(c, m, skipAt(c.Context(), agent))
	}
	return f.report(c, m)
}

// each calls do with the partitions that were asked for.
func (f *exportFlags) each(d *status.Document, do func(stream string, p *status.Partition)) {
	for _, s := range d.Streams {
		if f.stream != "" && s.Name != f.stream {
			continue
		}
		for i := range s.Partitions {
			do(s.Name, &s.Partitions[i])
		}
	}
}

// checkHere refuses where this gateway does not know what was asked for: on a site,
// what is drained by another.
func (f *exportFlags) checkHere(d *status.Document) error {
	known := f.stream == ""
	var others []string
	f.each(d, func(stream string, p *status.Partition) {
		known = true
		name := fmt.Sprintf("%s/%d", stream, p.Partition)
		switch {
		case d.Site == nil:
		case f.move && d.Uplink.State == "none":
			others = append(others, name+" is not drained here, since this gateway has no uplink: a move needs the gateway that drains it")
		case p.Role == "":
			others = append(others, fmt.Sprintf("%s has no copy here and is led by %s", name, dash(p.Leader)))
		case f.from == fromUndrained && p.Drainer != d.Gateway.Name:
			others = append(others, status.DrainedAt{Partition: name, Gateway: p.Drainer}.String())
		}
	})
	switch {
	case !known:
		return hinted(fmt.Errorf("there is no stream %q", f.stream), "`cistern status` lists them")
	case len(others) > 0:
		return hinted(errors.New(strings.Join(others, ", ")), "export there, or choose a --stream")
	}
	return nil
}

func (f *exportFlags) liveParts(ctx context.Context, agent *status.Client, d *status.Document) (parts []export.Part) {
	f.each(d, func(stream string, p *status.Partition) {
		part := export.Part{Log: agent.Log(ctx, stream, p)}
		part.From, part.To = f.span(p.StartOffset, undrainedAt(p)[0].From, p.HighWatermark)
		if f.from == fromUndrained {
			part.InDoubt = slices.ContainsFunc(p.Flows, func(f status.DrainFlow) bool { return f.InDoubt })
			for i, flow := range p.Flows[:max(0, len(p.Flows)-1)] {
				part.Drained = between(part.Drained, flow.End, p.Flows[i+1].Position)
			}
		}
		if part.From < part.To {
			parts = append(parts, part)
		}
	})
	return parts
}

// hold pauses what will be moved, so that it does not leave meanwhile, and returns
// what lets go of it.
func (f *exportFlags) hold(ctx context.Context, agent *status.Client, d *status.Document) (resume func() error, err error) {
	var held []status.PauseOrder
	resume = func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resumeWait)
		defer cancel()
		var err error
		for _, o := range held {
			o.On = false
			_, resumeErr := agent.PauseDrain(ctx, o)
			err = errors.Join(err, resumeErr)
		}
		return err
	}
	var failed error
	f.each(d, func(stream string, p *status.Partition) {
		if p.Paused || failed != nil {
			return
		}
		o := status.PauseOrder{Stream: stream, Partition: p.Partition, On: true}
		held = append(held, o) // even if it fails: it may have been carried out
		_, failed = agent.PauseDrain(ctx, o)
	})
	if failed != nil {
		return resume, failed
	}
	return resume, f.awaitPaused(ctx, agent)
}

// awaitPaused returns when nothing is on its way upstream.
func (f *exportFlags) awaitPaused(ctx context.Context, agent *status.Client) error {
	ctx, cancel := context.WithTimeout(ctx, pauseWait)
	defer cancel()
	tick := time.NewTicker(pausePoll)
	defer tick.Stop()
	for {
		var moving []string
		d, err := agent.Status(ctx)
		if err != nil {
			return err
		}
		f.each(d, func(stream string, p *status.Partition) {
			settled := []string{drain.StatePaused, drain.StateIdle, drain.StateOff, drain.StateStopped}
			if !slices.Contains(settled, p.Drain) && p.Drained >= 0 {
				moving = append(moving, fmt.Sprintf("%s/%d (%s)", stream, p.Partition, p.Drain))
			}
		})
		if len(moving) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return hinted(errors.New("the drain has not come to rest: "+strings.Join(moving, ", ")), "try again, or stop the gateway and export its folder")
		case <-tick.C:
		}
	}
}

// skipAt has the drain of a running gateway skip what was exported.
func skipAt(ctx context.Context, agent *status.Client) skipper {
	return func(m *export.Manifest, begun func() error) error {
		for i := range m.Partitions {
			p := &m.Partitions[i]
			if p.Move == export.Done {
				continue
			}
			p.Move = export.Pending
			if err := begun(); err != nil {
				return err
			}
			a, err := agent.SkipDrain(ctx, status.SkipOrder{Stream: p.Stream, Partition: p.Partition, To: p.NextOffset, Why: whyMoved(m), Exported: true})
			if err == nil && a.Next < p.NextOffset {
				err = fmt.Errorf("the drain skipped up to offset %d, not %d", a.Next, p.NextOffset)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", p.ID(), err)
			}
			p.Move = export.Done
		}
		return nil
	}
}
