package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"cistern/cross/load"
	"cistern/cross/rig"
)

const payloadBytes = 256

type bench struct {
	dir     string
	servers []server
	rounds  int
	warmup  time.Duration
	each    time.Duration
}

// row is one shape of load; rate 0 is as fast as it goes.
type row struct {
	clients, inFlight int
	rate              float64
}

var rows = []row{
	{1, 1, 0}, {1, 32, 0}, {16, 1, 0}, {16, 32, 0}, {128, 32, 0},
	{16, 1, 100},
}

func (r row) String() string {
	if r.rate > 0 {
		return fmt.Sprintf("%d × %.0f/s", r.clients, r.rate)
	}
	return fmt.Sprintf("%d × %d", r.clients, r.inFlight)
}

// figures are what one server gave under one row.
type figures struct {
	load.Result
	cpu     time.Duration
	flushes int64
	rss     int64
}

func (b *bench) prepare(ctx context.Context, wanted []string) error {
	all, err := servers(ctx, b.dir)
	if err != nil {
		return err
	}
	for _, s := range all {
		if len(wanted) == 0 || slices.Contains(wanted, s.name) {
			b.servers = append(b.servers, s)
		}
	}
	return nil
}

func (b *bench) run(ctx context.Context) error {
	fmt.Printf("QoS 1, %d-byte JSON, median of %d rounds of %s\n\n", payloadBytes, b.rounds, b.each)
	fmt.Println("| clients × in flight | server | messages/s | cistern is | p50 ms | p99 ms | CPU s per M | flushes per 1,000 | RSS MB |")
	fmt.Println("|---|---|--:|--:|--:|--:|--:|--:|--:|")
	for _, r := range rows {
		median := make([]figures, len(b.servers))
		rounds := make([][]figures, len(b.servers))
		for range b.rounds {
			for i, s := range b.servers {
				f, err := b.measure(ctx, s, r)
				if err != nil {
					return fmt.Errorf("%s at %s: %w", s.name, r, err)
				}
				rounds[i] = append(rounds[i], f)
			}
		}
		for i, s := range b.servers {
			median[i] = middle(rounds[i], r)
			b.print(r, s.name, median[i], median[0])
		}
	}
	fmt.Println("\nFlushes are those of the whole disk the data lies on: quiet it before believing small numbers.")
	return nil
}

func (b *bench) print(r row, name string, f, first figures) {
	times := "–"
	if name != b.servers[0].name && r.rate == 0 {
		times = fmt.Sprintf("%.2f ×", first.PerSecond()/max(f.PerSecond(), 1))
	}
	n := float64(max(1, f.Messages))
	fmt.Printf("| %s | %s | %.0f | %s | %.2f | %.2f | %.1f | %.1f | %.0f |\n", r, name,
		f.PerSecond(), times, f.Percentile(50).Seconds()*1000, f.Percentile(99).Seconds()*1000,
		f.cpu.Seconds()*1e6/n, float64(f.flushes)*1000/n, float64(f.rss)/1e6)
}

// middle is the median by what the row is about: speed, or the slow end of
// latency when the pace is given.
func middle(all []figures, r row) figures {
	slices.SortFunc(all, func(a, b figures) int {
		if r.rate > 0 {
			return int(a.Percentile(99) - b.Percentile(99))
		}
		return int(a.PerSecond() - b.PerSecond())
	})
	return all[len(all)/2]
}

// measure puts one load on a fresh server.
func (b *bench) measure(ctx context.Context, s server, r row) (f figures, err error) {
	server, err := s.start(b.dir)
	if err != nil {
		return f, err
	}
	defer server.stop()
	disk, err := rig.DeviceOf(server.dir)
	if err != nil {
		return f, err
	}
	var (
		use      [2]rig.Usage
		counters [2]rig.Counters
		n        int
	)
	f.Result, err = load.Run(ctx, load.Load{
		Address: server.address, Clients: r.clients, InFlight: r.inFlight, Size: payloadBytes,
		Rate: r.rate, Warmup: b.warmup, Duration: b.each,
		Measured: func() {
			use[n], _ = server.Usage() // a server that is gone shows in the load
			counters[n], _ = rig.DeviceCounters(disk)
			n++
		},
	})
	if err != nil {
		if out := strings.TrimSpace(server.Output()); out != "" {
			fmt.Fprintln(os.Stderr, out)
		}
		return f, err
	}
	f.cpu, f.rss = use[1].CPU-use[0].CPU, use[1].RSS
	f.flushes = counters[1].Flushes - counters[0].Flushes
	return f, nil
}
