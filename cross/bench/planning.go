package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"cistern/cross/rig"
)

const (
	planningSize = 256 // bytes of a message
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
	columns := []string{"messages/s", "payload", "mounted"}
	for _, w := range windows {
		columns = append(columns, "window "+w.String())
	}
	t := newTable(p.out, "What a gateway writes in a day (ext4 on a loop device, its own counters)",
		fmt.Sprintf("One partition, JSON of %d bytes, zstd, each device at its own pace; device bytes, in brackets per payload byte.", planningSize), columns...)
	// The file's times go through the file system's journal, every five seconds
	// unless they may wait: what the image's lazytime saves.
	for _, mount := range []string{"lazytime", "nolazytime"} {
		if err := disk.Remount(mount); err != nil {
			return err
		}
		for _, rate := range []int{1, 10, 100, 1000} {
			cells := []string{fmt.Sprint(rate), gigabytes(float64(rate*planningSize) * day.Seconds()), mount}
			for _, window := range windows {
				r, err := measure(ctx, pacedSetting(disk, rate, window, each))
				if err != nil {
					return err
				}
				perSecond := float64(r.Device.BytesWritten) / r.Elapsed.Seconds()
				cells = append(cells, fmt.Sprintf("%s (%.2f)", gigabytes(perSecond*day.Seconds()), r.amplification()))
			}
			t.row(cells...)
		}
	}
	return nil
}

// pacedSetting has up to 100 devices share a rate of messages a second.
func pacedSetting(disk *rig.Disk, rate int, window, each time.Duration) Setting {
	devices := min(rate, 100)
	return Setting{
		Engine: "segstore", Dir: filepath.Join(disk.Dir, "cell"), Device: disk.Device(), Duration: each,
		Producers: devices, Batch: 1, Size: planningSize, Partitions: 1, Window: window,
		Pace: time.Second * time.Duration(devices) / time.Duration(rate),
	}
}

func gigabytes(bytes float64) string { return fmt.Sprintf("%.2f GB", bytes/1e9) }
