package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"cistern/cross/rig"
)

const (
	wearDiskBytes = 512 << 20

	// Longer than other cells: the sync before the counters are read is a
	// flush of its own, which should not weigh.
	wearTimes = 4
	idleTimes = 3
)

// wear counts what reaches the device, on an ext4 of its own whose loop device
// counts the file system's journal too.
func wear(ctx context.Context, p *plan) error {
	disk, err := rig.NewDisk(wearDiskBytes)
	if err != nil {
		fmt.Fprintf(p.out, "\nBytes and flushes that reach the device: not measured, %v\n", err)
		return nil
	}
	defer disk.Close()
	t := newTable(p.out, "What reaches the device (ext4 on a loop device, its own counters)",
		"Bytes are device bytes per payload byte; flushes are per commit. All segments were written once before, which is what recycling gives.",
		"producers × records × bytes", "partitions", "window", "bytes: ring", "ours", "flushes: ring", "ours", "flushes/s, ours", "records per commit, ours")
	for _, s := range []Setting{
		{Producers: 1, Batch: 1, Size: 128, Partitions: 1},
		{Producers: 64, Batch: 1, Size: 128, Partitions: 1, Window: 20 * time.Millisecond},
		{Producers: 64, Batch: 1, Size: 128, Partitions: 16, Window: 20 * time.Millisecond},
		{Producers: 8, Batch: 16, Size: 128, Partitions: 1, Card: true},
		{Producers: 8, Batch: 16, Size: 1024, Partitions: 1, Card: true},
		{Producers: 64, Batch: 16, Size: 128, Partitions: 1, Card: true},
		{Producers: 256, Batch: 1, Size: 128, Partitions: 1, Card: true},
		{Producers: 256, Batch: 1, Size: 128, Partitions: 16, Card: true},
		{Producers: 256, Batch: 1, Size: 128, Partitions: 256, Card: true},
	} {
		s.Dir, s.Device, s.Duration = filepath.Join(disk.Dir, "cell"), disk.Device(), wearTimes*p.each
		if err := wearRow(ctx, t, s); err != nil {
			return err
		}
	}
	return idle(ctx, p, disk)
}

// idle leaves a store alone and looks at the device.
func idle(ctx context.Context, p *plan, disk *rig.Disk) error {
	s := Setting{Engine: "segstore", Dir: filepath.Join(disk.Dir, "cell"), Device: disk.Device(), Partitions: 16, Duration: idleTimes * p.each}
	r, err := measure(ctx, s)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.out, "\nIdle for %.1f s with 16 partitions: %d commits, %d syncs; the device saw %d bytes and %d flushes, of which 1 is our own sync before reading its counters.\n",
		r.Elapsed.Seconds(), r.Groups, r.Syncs, r.Device.BytesWritten, r.Device.Flushes)
	return nil
}

// wearRow runs both once: these are counts, which a busy machine moves little.
func wearRow(ctx context.Context, t table, s Setting) error {
	results := make(map[string]Result)
	for _, engine := range []string{"ring", "segstore"} {
		s.Engine = engine
		r, err := measure(ctx, s)
		if err != nil {
			return err
		}
		results[engine] = r
	}
	ring, ours := results["ring"], results["segstore"]
	window := "–"
	if s.Window > 0 {
		window = s.Window.String()
	}
	t.row(fmt.Sprintf("%d × %d × %d", s.Producers, s.Batch, s.Size), fmt.Sprint(s.Partitions), window,
		fmt.Sprintf("%.2f", ring.amplification()), fmt.Sprintf("%.2f", ours.amplification()),
		fmt.Sprintf("%.3f", per(ring.Device.Flushes, ring.Groups)), fmt.Sprintf("%.3f", per(ours.Device.Flushes, ours.Groups)),
		count(float64(ours.Device.Flushes)/max(1e-9, ours.Elapsed.Seconds())), fmt.Sprintf("%.1f", per(ours.Records, ours.Groups)))
	return nil
}

func (r Result) amplification() float64 { return per(r.Device.BytesWritten, r.Payload) }
