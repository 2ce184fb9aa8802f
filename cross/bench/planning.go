package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"cistern/cross/rig"
)

const (
	planningSize = 256             // bytes of a message
	planningPace = 2 * time.Second // of a device: longer than any window, so that none holds another up
	day          = 24 * time.Hour

	// planningFor is about how often the kernel writes back a file's times: the sync
	// at the end of a cell makes it do that once.
	planningFor = 30 * time.Second
)

// planning is the table of docs/site-planning.md: devices that publish at their
// own pace, and what a gateway writes in a day for it.
func planning(ctx context.Context, p *plan) error {
	disk, err := rig.NewDisk(wearDiskBytes)
	if err != nil {
		fmt.Fprintf(p.out, "\nBytes written in a day: not measured, %v\n", err)
		return nil
	}
	defer disk.Close()
	each := planningFor
	if p.quick {
		each = p.each
	}
	windows := []time.Duration{0, 50 * time.Millisecond, 250 * time.Millisecond, time.Second}
	columns := []string{"messages/s", "payload"}
	for _, w := range windows {
		columns = append(columns, "window "+w.String())
	}
	t := newTable(p.out, "What a gateway writes in a day (ext4 on a loop device, its own counters)",
		fmt.Sprintf("One partition, JSON of %d bytes, zstd, each device at its own pace; device bytes, in brackets per payload byte.", planningSize), columns...)
	for _, rate := range []int{1, 10, 100, 1000} {
		cells := []string{fmt.Sprint(rate), gigabytes(float64(rate*planningSize) * day.Seconds())}
		for _, window := range windows {
			r, err := measure(ctx, pacedSetting(disk, rate, window, each))
			if err != nil {
				return err
			}
			cells = append(cells, fmt.Sprintf("%s (%.2f)", gigabytes(r.amplification()*float64(rate*planningSize)*day.Seconds()), r.amplification()))
		}
		t.row(cells...)
	}
	return nil
}

// pacedSetting has as many devices as make a rate of messages a second.
func pacedSetting(disk *rig.Disk, rate int, window, each time.Duration) Setting {
	return Setting{
		Engine: "segstore", Dir: filepath.Join(disk.Dir, "cell"), Device: disk.Device(), Duration: each,
		Producers: rate * int(planningPace/time.Second), Batch: 1, Size: planningSize, Partitions: 1, Window: window,
		Pace: planningPace,
	}
}

func gigabytes(bytes float64) string { return fmt.Sprintf("%.2f GB", bytes/1e9) }
