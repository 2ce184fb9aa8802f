package slot

import (
	"errors"
	"fmt"
)

// The places on a card. They never change: a gateway in the field can get
// another system, but not another partition table.
const (
	SectorBytes = 512
	// AlignBytes is at least the erase block of the cards we know.
	AlignBytes = 4 << 20

	BootStart = 4 << 20
	BootBytes = 28 << 20

	SlotBytes  = 96 << 20
	slotAStart = 32 << 20
	slotBStart = 128 << 20

	DataStart = 224 << 20
	// DataBytes is what the data has in an image, before it is grown.
	DataBytes = 256 << 20

	// ImageBytes is a power of two, as SD card emulation demands.
	ImageBytes = 512 << 20
)

// The partitions by number, as in /dev/mmcblk0p1.
const (
	BootPartition  = 1
	SlotAPartition = 2
	SlotBPartition = 3
	DataPartition  = 4
)

// Labels of the file systems.
const (
	BootLabel = "CISTERN"
	SlotLabel = "CISTERN-SYS" // of both: an update fits into either
	DataLabel = "cistern-data"
)

// Limits of the folder with the configuration on p1: init copies it to memory,
// so who makes a card refuses what init would not take.
const (
	ConfigFilesMax = 200 // and folders
	ConfigBytesMax = 8 << 20
	ConfigDepthMax = 4 // folders in each other
)

// Slot is one of the two places a system can be in.
type Slot byte

const (
	A Slot = 'a'
	B Slot = 'b'
)

// Parse reads "a" or "b", as in cistern.slot= on the kernel's command line.
func Parse(s string) (Slot, error) {
	switch s {
	case "a":
		return A, nil
	case "b":
		return B, nil
	}
	return 0, fmt.Errorf("slot %q: there are a and b", s)
}

// ByPartition tells which slot a partition number is, as the Pi's firmware
// gives it.
func ByPartition(n int) (Slot, error) {
	switch n {
	case SlotAPartition:
		return A, nil
	case SlotBPartition:
		return B, nil
	}
	return 0, fmt.Errorf("partition %d is no slot: slots are partitions %d and %d", n, SlotAPartition, SlotBPartition)
}

func (s Slot) String() string {
	switch s {
	case A:
		return "a"
	case B:
		return "b"
	}
	return "none"
}

// Other is the slot that an update is written to while s runs.
func (s Slot) Other() Slot {
	if s == A {
		return B
	}
	return A
}

// Partition is the slot's partition number.
func (s Slot) Partition() int {
	if s == A {
		return SlotAPartition
	}
	return SlotBPartition
}

// Start is where on the card the slot begins.
func (s Slot) Start() int64 {
	if s == A {
		return slotAStart
	}
	return slotBStart
}

// ErrOutside is found in the error of who reads or writes past the end of a
// Section.
var ErrOutside = errors.New("outside of the partition")

// Section is the part of d from start on, bytes long: nothing outside of it
// can be read or written through it.
func Section(d Disk, start, bytes int64) Disk { return section{d, start, bytes} }

// On is the slot's part of a whole card.
func (s Slot) On(card Disk) Disk { return Section(card, s.Start(), SlotBytes) }

type section struct {
	d            Disk
	start, bytes int64
}

func (s section) check(n int, off int64) error {
	if off < 0 || off > s.bytes || int64(n) > s.bytes-off {
		return fmt.Errorf("%d bytes at %d of %d: %w", n, off, s.bytes, ErrOutside)
	}
	return nil
}

func (s section) ReadAt(p []byte, off int64) (int, error) {
	if err := s.check(len(p), off); err != nil {
		return 0, err
	}
	return s.d.ReadAt(p, s.start+off)
}

func (s section) WriteAt(p []byte, off int64) (int, error) {
	if err := s.check(len(p), off); err != nil {
		return 0, err
	}
	return s.d.WriteAt(p, s.start+off)
}

func (s section) Sync() error      { return s.d.Sync() }
func (s section) DropCache() error { return dropCache(s.d) }
