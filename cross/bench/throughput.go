package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// throughput compares journals at 1, 8 and 64 producers, on the simulated card
// and on the machine's own disk.
func throughput(ctx context.Context, p *plan) error {
	for _, device := range []struct {
		name, remark string
		card         bool
		dir          string
	}{
		{"the simulated card", cardRemark, true, p.card},
		{"this machine's disk", "Fast and noisy; its stalls are in the p99 of both.", false, p.dir},
	} {
		t := newTable(p.out, "Journal on "+device.name, device.remark,
			"producers × records × bytes", "records/s: ring", "ours", "ratio",
			"p50 ms: ring", "ours", "p99 ms: ring", "ours", "ratio",
			"flushes/s: ring", "ours", "syncs per commit, ours",
			"CPU s per M records: ring", "ours", "allocations per record, ours")
		for _, size := range []int{128, 1024} {
			for _, batch := range []int{1, 16} {
				for _, producers := range []int{1, 8, 64} {
					s := Setting{
						Dir: filepath.Join(device.dir, "cell"), Card: device.card,
						Producers: producers, Batch: batch, Size: size, Partitions: 1, Duration: p.each,
					}
					if err := compare(ctx, p, t, s); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

const cardRemark = "0.2 ms per write, 0.1 ms per 4 KiB, 4 ms per flush."

// window shows what a commit window buys on the card: flushes for latency.
func window(ctx context.Context, p *plan) error {
	t := newTable(p.out, "What a commit window buys, on the simulated card", cardRemark,
		"producers × records × bytes", "window", "records/s", "p50 ms", "p99 ms", "flushes/s", "records per commit")
	for _, shape := range []Setting{
		{Producers: 64, Batch: 1, Size: 128},
		{Producers: 64, Batch: 16, Size: 128},
	} {
		for _, w := range []time.Duration{0, 10 * time.Millisecond, 20 * time.Millisecond, 40 * time.Millisecond} {
			s := shape
			s.Engine, s.Dir, s.Card, s.Partitions = "segstore", filepath.Join(p.card, "cell"), true, 1
			s.Window, s.Duration = w, p.each
			r, err := measure(ctx, s)
			if err != nil {
				return err
			}
			t.row(fmt.Sprintf("%d × %d × %d", s.Producers, s.Batch, s.Size), w.String(), count(r.perSecond()),
				millis(r.P50), millis(r.P99), count(float64(r.Syncs)/r.Elapsed.Seconds()), fmt.Sprintf("%.1f", per(r.Records, r.Groups)))
		}
	}
	return nil
}

// compare runs one setting with both journals in turn and prints its row.
func compare(ctx context.Context, p *plan, t table, s Setting) error {
	results := make(map[string][]Result)
	for range p.rounds {
		for _, engine := range []string{"ring", "segstore"} {
			s.Engine = engine
			r, err := measure(ctx, s)
			if err != nil {
				return err
			}
			results[engine] = append(results[engine], r)
		}
	}
	ring, ours := median(results["ring"], Result.perSecond), median(results["segstore"], Result.perSecond)
	ringTail, oursTail := median(results["ring"], p99).P99, median(results["segstore"], p99).P99
	t.row(fmt.Sprintf("%d × %d × %d", s.Producers, s.Batch, s.Size),
		count(ring.perSecond()), count(ours.perSecond()), ratio(ours.perSecond(), ring.perSecond()),
		millis(ring.P50), millis(ours.P50), millis(ringTail), millis(oursTail), ratio(p99(Result{P99: oursTail}), p99(Result{P99: ringTail})),
		count(float64(ring.Syncs)/ring.Elapsed.Seconds()), count(float64(ours.Syncs)/ours.Elapsed.Seconds()),
		fmt.Sprintf("%.3f", per(ours.Syncs, ours.Groups)),
		fmt.Sprintf("%.1f", ring.cpuPerMillion()), fmt.Sprintf("%.1f", ours.cpuPerMillion()),
		fmt.Sprintf("%.2f", per(int64(ours.Mallocs), ours.Records)))
	return nil
}

func p99(r Result) float64 { return r.P99.Seconds() }

func (r Result) cpuPerMillion() float64 { return r.CPU.Seconds() * 1e6 / float64(max(1, r.Records)) }
