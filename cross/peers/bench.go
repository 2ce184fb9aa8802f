package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"cistern/cross/load"
	"cistern/cross/rig"
)

const (
	payloadBytes  = 256
	wearDiskBytes = 4 << 30 // sparse: RAM is taken for what is written
)

type bench struct {
	dir    string
	rounds int
	warmup time.Duration
	each   time.Duration
}

// figures are what one server gave under one row.
type figures struct {
	load.Result
	row     row
	cpu     time.Duration // of all processes
	rss     int64         // of the largest
	flushes int64         // of the disk
	device  float64       // bytes per payload byte and copy, -1: not counted
}

func (f *figures) messages() float64 { return float64(max(1, f.Messages)) }

// run measures one table, row by row.
func (b *bench) run(ctx context.Context, p part) error {
	p.header()
	for _, r := range p.rows {
		rounds := make([][]figures, len(p.servers))
		for round := range b.rounds {
			for i, s := range p.servers {
				f, err := b.measure(ctx, s, b.dir, r, round)
				if err != nil {
					return fmt.Errorf("%s at %s: %w", s.name, r, err)
				}
				rounds[i] = append(rounds[i], f)
			}
		}
		median := make([]figures, len(p.servers))
		for i, s := range p.servers {
			median[i] = middle(rounds[i])
			if p.wear {
				var err error
				if median[i].device, err = b.worn(ctx, s, r); err != nil {
					return fmt.Errorf("%s at %s, on a loop device: %w", s.name, r, err)
				}
			}
			p.line(s.name, &median[i], &median[0])
		}
	}
	fmt.Printf("\nQoS 1, %d-byte JSON, median of %d rounds of %s. %s\n", payloadBytes, b.rounds, b.each, p.remark)
	return nil
}

// middle is the median by what the row is about: speed, or the slow end of
// latency when the pace is given.
func middle(all []figures) figures {
	slices.SortFunc(all, func(a, b figures) int {
		if a.row.rate > 0 {
			return int(a.Percentile(99) - b.Percentile(99))
		}
		return int(a.PerSecond() - b.PerSecond())
	})
	return all[len(all)/2]
}

// measure puts one load on a fresh server, with its data below dir. In each
// round another of several processes has the first client: who leads what
// should not be luck.
func (b *bench) measure(ctx context.Context, s server, dir string, r row, round int) (f figures, err error) {
	server, err := s.run(ctx, dir)
	if err != nil {
		return f, err
	}
	defer server.stop()
	disk, err := rig.DeviceOf(dir)
	if err != nil {
		return f, err
	}
	n := round % len(server.addresses)
	var before, after moment
	f.row, f.device = r, -1
	f.Result, err = load.Run(ctx, load.Load{
		Addresses: slices.Concat(server.addresses[n:], server.addresses[:n]),
		Clients:   r.clients, InFlight: r.inFlight, Size: payloadBytes,
		Rate: r.rate, Warmup: b.warmup, Duration: b.each,
		Measured: func() { before, after = after, take(server, disk) },
	})
	if err != nil {
		fmt.Fprint(os.Stderr, server.output())
		return f, err
	}
	f.cpu, f.rss = after.cpu-before.cpu, after.rss
	f.flushes = after.disk.Flushes - before.disk.Flushes
	return f, nil
}

// moment is every counter at one time. A server that is gone shows in the load.
type moment struct {
	cpu  time.Duration
	rss  int64
	disk rig.Counters
}

func take(r *running, disk string) (m moment) {
	for _, p := range r.processes {
		u, _ := p.Usage()
		m.cpu += u.CPU
		m.rss = max(m.rss, u.RSS)
	}
	m.disk, _ = rig.DeviceCounters(disk)
	return m
}

// worn counts what reaches the device, on a disk of its own: bytes per payload
// byte and copy. Without root it can't, and says -1: what /proc tells of a
// process leaves out the file system's journal and counts whole folios.
//
// The run is cut from the outside, with nothing in it but the load: connecting,
// warm-up and the sync at the end are small beside it.
func (b *bench) worn(ctx context.Context, s server, r row) (float64, error) {
	disk, err := rig.NewDisk(wearDiskBytes)
	if err != nil {
		fmt.Fprintln(os.Stderr, "device bytes are not counted:", err)
		return -1, nil
	}
	defer disk.Close()
	server, err := s.run(ctx, disk.Dir)
	if err != nil {
		return 0, err
	}
	defer server.stop()
	syscall.Sync() // what starting has left dirty
	before, err := disk.Counters()
	if err != nil {
		return 0, err
	}
	result, err := load.Run(ctx, load.Load{
		Addresses: server.addresses, Clients: r.clients, InFlight: r.inFlight, Size: payloadBytes,
		Rate: r.rate, Duration: b.each,
	})
	if err != nil {
		fmt.Fprint(os.Stderr, server.output())
		return 0, err
	}
	syscall.Sync() // what is still dirty belongs to the load
	after, err := disk.Counters()
	if err != nil {
		return 0, err
	}
	payload := float64(max(1, result.Messages)) * payloadBytes * float64(len(server.addresses))
	return float64(after.Minus(before).BytesWritten) / payload, nil
}
