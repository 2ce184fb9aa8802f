package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"cistern/cross/rig"
)

// drainMemory drains a whole backlog with the built agent and watches its
// memory.
func drainMemory(ctx context.Context, p *plan) error {
	programs, err := rig.BuildPrograms(ctx, filepath.Join(p.dir, "bin"))
	if err != nil {
		return err
	}
	bytes := int64(4 << 30)
	if p.quick {
		bytes = 64 << 20
	}
	t := newTable(p.out, "A long backlog", "The built agent, from its disk to a stub of a broker; batches of 256 KiB. Resident memory, the most seen.",
		"backlog MiB", "idle, MB", "draining, MB", "over, MB", "MB/s", "CPU of the agent, µs/KiB")
	for _, n := range []int64{bytes / 16, bytes} {
		row, err := drainedRow(ctx, p, programs, n)
		if err != nil {
			return err
		}
		t.row(row...)
	}
	return nil
}

// settled is how long an agent that was just started is watched while it has
// nothing to do.
const settled = 3 * time.Second

func drainedRow(ctx context.Context, p *plan, programs rig.Programs, bytes int64) ([]string, error) {
	s := stored{filepath.Join(p.dir, "agent"), bytes}
	if err := os.RemoveAll(s.Dir); err != nil {
		return nil, err
	}
	defer os.RemoveAll(s.Dir)
	if _, err := inChild[stored, string](ctx, "fill", s); err == nil || ctx.Err() != nil {
		return nil, fmt.Errorf("the child that fills the store was not killed: %v", ctx.Err())
	}
	broker, err := newStub()
	if err != nil {
		return nil, err
	}
	defer broker.close()
	uplink, err := rig.NewUplink()
	if err != nil {
		return nil, err
	}
	defer uplink.Close()
	broker.advertise(uplink.Address())
	g, err := rig.NewGateway(programs.Cistern, s.Dir, filepath.Join(s.Dir, "store"), uplink.Address(), "")
	if err != nil {
		return nil, err
	}
	if err := g.Start(ctx); err != nil {
		return nil, err
	}
	defer g.Kill()
	idle, err := residentWhile(ctx, g.Process(), func(ctx context.Context) error { return sleep(ctx, settled) })
	if err != nil {
		return nil, err
	}
	before, err := g.Process().Usage()
	if err != nil {
		return nil, err
	}
	uplink.Mend(broker.address())
	most, err := residentWhile(ctx, g.Process(), func(ctx context.Context) error { return g.AwaitDrained(ctx, nil) })
	if err != nil {
		return nil, err
	}
	after, err := g.Process().Usage()
	if err != nil {
		return nil, err
	}
	got := broker.take()
	return []string{fmt.Sprint(got.Stored >> 20), fmt.Sprintf("%.1f", float64(idle)/1e6), fmt.Sprintf("%.1f", float64(most)/1e6),
		fmt.Sprintf("%.1f", float64(most-idle)/1e6), fmt.Sprintf("%.0f", float64(got.Stored)/1e6/got.Last.Sub(got.First).Seconds()),
		fmt.Sprintf("%.2f", float64((after.CPU-before.CPU).Microseconds())/(float64(got.Stored)/1024))}, nil
}
