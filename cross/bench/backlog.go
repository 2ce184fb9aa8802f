package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"cistern/agent/status"
	"cistern/cross/load"
	"cistern/cross/rig"
)

// backlog measures the resident memory of the built agent with nothing stored
// and with much, doing nothing, taking messages, and draining.
func backlog(ctx context.Context, p *plan) error {
	programs, err := rig.BuildPrograms(ctx, filepath.Join(p.dir, "bin"))
	if err != nil {
		return err
	}
	sizes, each := []int64{0, 4 << 30}, 4*time.Second
	if p.quick {
		sizes, each = []int64{0, 64 << 20}, 500*time.Millisecond
	}
	t := newTable(p.out, "Resident memory of the agent", "The most seen while it did that, MB.",
		"backlog MiB", "started", "16 clients × 100/s", "128 clients × 32 in flight", "draining")
	for _, bytes := range sizes {
		row, err := residentRow(ctx, p, programs, bytes, each)
		if err != nil {
			return err
		}
		t.row(row...)
	}
	return nil
}

func residentRow(ctx context.Context, p *plan, programs rig.Programs, bytes int64, each time.Duration) ([]string, error) {
	s := stored{filepath.Join(p.dir, "agent"), bytes}
	if err := os.RemoveAll(s.Dir); err != nil {
		return nil, err
	}
	defer os.RemoveAll(s.Dir)
	if _, err := inChild[stored, string](ctx, "fill", s); err == nil || ctx.Err() != nil {
		return nil, fmt.Errorf("the child that fills the store was not killed: %v", ctx.Err())
	}
	site, err := rig.StartSite(ctx, programs, filepath.Join(s.Dir, "store"), "")
	if err != nil {
		return nil, err
	}
	defer site.Close()
	site.Uplink.Cut()

	row := []string{fmt.Sprint(bytes >> 20)}
	publish := func(l load.Load) func(context.Context) error {
		l.Address, l.Size, l.Duration = site.Gateway.Address, 256, each
		return func(ctx context.Context) error { _, err := load.Run(ctx, l); return err }
	}
	for _, act := range []func(context.Context) error{
		func(ctx context.Context) error { return sleep(ctx, each/2) },
		publish(load.Load{Clients: 16, InFlight: 1, Rate: 100}),
		publish(load.Load{Clients: 128, InFlight: 32}),
		func(ctx context.Context) error { return drainFor(ctx, site, drainTime) },
	} {
		most, err := residentWhile(ctx, site.Gateway.Process(), act)
		if err != nil {
			return nil, err
		}
		row = append(row, fmt.Sprintf("%.1f", float64(most)/1e6))
	}
	return row, nil
}

// drainTime is longer than a gateway waits before it tries its uplink again.
const drainTime = 12 * time.Second

// drainFor lets the backlog drain for a while, or until nothing is left.
func drainFor(ctx context.Context, site *rig.Site, d time.Duration) error {
	before, err := site.Gateway.Status(ctx)
	if err != nil {
		return err
	}
	site.Uplink.Mend(site.Centre.Address())
	limited, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var last *status.Document
	_ = site.Gateway.AwaitDrained(limited, func(now *status.Document) { last = now })
	if last == nil || last.Uplink.Bytes <= before.Uplink.Bytes {
		return fmt.Errorf("nothing was drained in %s", d)
	}
	return ctx.Err()
}

// residentWhile returns the most memory a process had while something was done.
func residentWhile(ctx context.Context, p *rig.Process, do func(context.Context) error) (int64, error) {
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	ticks := time.NewTicker(20 * time.Millisecond)
	defer ticks.Stop()
	var most int64
	for {
		u, err := p.Usage()
		if err != nil {
			return 0, err
		}
		most = max(most, u.RSS)
		select {
		case err := <-done:
			return most, err
		case <-ticks.C:
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
