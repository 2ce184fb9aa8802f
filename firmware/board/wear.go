package board

import (
	"fmt"
	"math"
)

// Wear is what was written to one disk, as far as this gateway has seen it: over
// boots, and over cards that come and go. It is kept by whoever keeps things;
// here is only how the next one follows from the last.
//
// SD cards tell nothing of their wear, so that this is all there is to know. A
// card that was written elsewhere too has more.
type Wear struct {
	Disk string `json:"disk"` // Disk.ID
	// Bytes were written in all.
	Bytes int64 `json:"bytes"`
	// Boot and SinceBoot are the boot of the last look and what the disk had
	// written in it then.
	Boot      string `json:"boot"`
	SinceBoot int64  `json:"since_boot"`
	// Boots in which it was seen.
	Boots int64 `json:"boots"`
}

// Next accounts for a look at the disk in the boot that is called so.
//
// Within a boot the kernel's count only grows: one that is lower belongs to a
// card that was taken out and put back, and counts from zero. What was written
// between the last look and the end of that boot is lost, a minute's worth.
func (w Wear) Next(d *Disk, boot string) (Wear, error) {
	id := d.ID()
	switch {
	case id == "":
		return w, fmt.Errorf("disk %s has nothing to know it by again, so its wear is not counted", d.Device)
	case w.Disk != "" && w.Disk != id:
		return w, fmt.Errorf("the record is of disk %s, and this is %s", w.Disk, id)
	case boot == "":
		return w, fmt.Errorf("which boot this is is not known, so what disk %s wrote could be counted twice", d.Device)
	case d.BytesWritten < 0 || w.Bytes < 0 || w.SinceBoot < 0:
		return w, fmt.Errorf("disk %s: negative counts: %d written since boot, %d and %d in the record", d.Device, d.BytesWritten, w.SinceBoot, w.Bytes)
	}
	more := d.BytesWritten
	if w.Boot == boot && d.BytesWritten >= w.SinceBoot {
		more -= w.SinceBoot
	}
	if w.Boot != boot {
		w.Boots++
	}
	w.Disk, w.Boot, w.SinceBoot = id, boot, d.BytesWritten
	w.Bytes += min(more, math.MaxInt64-w.Bytes)
	return w, nil
}
