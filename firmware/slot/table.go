package slot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Partition types in the MBR.
const (
	TypeFAT16 = 0x0e // FAT16, LBA
	TypeFAT32 = 0x0c // FAT32, LBA
	TypeLinux = 0x83
)

// The MBR's fields.
const (
	diskIDAt  = 440
	entriesAt = 446
	entrySize = 16
	magicAt   = 510
)

// sectorsMax is what a field of the MBR can say: 2 TiB less a sector.
const sectorsMax = 1<<32 - 1

// ErrNotOurs is found in the error of who reads a card that has not our
// partitions.
var ErrNotOurs = errors.New("not a card of Cistern")

// Partition is an entry of the table, in bytes.
type Partition struct {
	Type  byte
	Start int64
	Bytes int64
}

// Table is the MBR of a card.
type Table struct {
	// DiskID tells cards apart: it is in PARTUUID.
	DiskID uint32
	Parts  [4]Partition
}

// Layout is the table of a fresh image.
func Layout(diskID uint32) Table {
	return Table{DiskID: diskID, Parts: [4]Partition{
		{TypeFAT16, BootStart, BootBytes},
		{TypeFAT32, slotAStart, SlotBytes},
		{TypeFAT32, slotBStart, SlotBytes},
		{TypeLinux, DataStart, DataBytes},
	}}
}

// Data is the entry of the data partition.
func (t Table) Data() Partition { return t.Parts[DataPartition-1] }

// Encode makes the sector. There is no boot code in it: the Pi needs none.
func (t Table) Encode() [SectorBytes]byte {
	var b [SectorBytes]byte
	binary.LittleEndian.PutUint32(b[diskIDAt:], t.DiskID)
	for i, p := range t.Parts {
		e := b[entriesAt+i*entrySize:]
		// Cylinder, head and sector: "too large, look at the sectors".
		copy(e[1:4], []byte{0xfe, 0xff, 0xff})
		e[4] = p.Type
		copy(e[5:8], []byte{0xfe, 0xff, 0xff})
		binary.LittleEndian.PutUint32(e[8:], uint32(p.Start/SectorBytes))
		binary.LittleEndian.PutUint32(e[12:], uint32(p.Bytes/SectorBytes))
	}
	b[magicAt], b[magicAt+1] = 0x55, 0xaa
	return b
}

// ReadTable reads a card's table and checks that the card is one of ours.
func ReadTable(r io.ReaderAt) (Table, error) {
	var b [SectorBytes]byte
	if _, err := r.ReadAt(b[:], 0); err != nil {
		return Table{}, fmt.Errorf("partition table: %w", err)
	}
	return DecodeTable(b)
}

// DecodeTable is ReadTable for a sector that was read already.
func DecodeTable(b [SectorBytes]byte) (Table, error) {
	if b[magicAt] != 0x55 || b[magicAt+1] != 0xaa {
		return Table{}, fmt.Errorf("partition table: there is none: %w", ErrNotOurs)
	}
	t := Table{DiskID: binary.LittleEndian.Uint32(b[diskIDAt:])}
	for i := range t.Parts {
		e := b[entriesAt+i*entrySize:]
		t.Parts[i] = Partition{
			Type:  e[4],
			Start: int64(binary.LittleEndian.Uint32(e[8:])) * SectorBytes,
			Bytes: int64(binary.LittleEndian.Uint32(e[12:])) * SectorBytes,
		}
	}
	for i, want := range Layout(0).Parts {
		got := t.Parts[i]
		// Some systems write the other number of the same FAT; the place counts.
		if got.Start != want.Start || i != DataPartition-1 && got.Bytes != want.Bytes {
			return Table{}, fmt.Errorf("partition table: partition %d starts at %d with %d bytes, not at %d with %d: %w",
				i+1, got.Start, got.Bytes, want.Start, want.Bytes, ErrNotOurs)
		}
	}
	if t.Data().Bytes < DataBytes {
		return Table{}, fmt.Errorf("partition table: the data partition has %d bytes, fewer than the image's %d: %w",
			t.Data().Bytes, int64(DataBytes), ErrNotOurs)
	}
	return t, nil
}

// GrowData makes the data partition's entry reach to the end of a card of
// cardBytes, rounded down to AlignBytes, and tells whether it had to be
// changed. It never makes it smaller. The one sector is written in place: a
// power cut leaves the old table or the new one. The kernel must be told
// (BLKPG), and the file system be grown, by the caller.
func GrowData(card Disk, cardBytes int64) (Partition, bool, error) {
	var b [SectorBytes]byte
	if _, err := card.ReadAt(b[:], 0); err != nil {
		return Partition{}, false, fmt.Errorf("partition table: %w", err)
	}
	t, err := DecodeTable(b)
	if err != nil {
		return Partition{}, false, err
	}
	p := t.Data()
	end := min(cardBytes/AlignBytes*AlignBytes, DataStart+sectorsMax/(AlignBytes/SectorBytes)*AlignBytes)
	if end <= p.Start+p.Bytes {
		return p, false, nil
	}
	p.Bytes = end - p.Start
	// Everything else in the sector stays, whoever put it there.
	e := b[entriesAt+(DataPartition-1)*entrySize:]
	binary.LittleEndian.PutUint32(e[12:], uint32(p.Bytes/SectorBytes))
	if err := writeSector(card, 0, b); err != nil {
		return Partition{}, false, fmt.Errorf("partition table: %w", err)
	}
	return p, true, nil
}

// writeSector writes one sector in place and reads it back.
func writeSector(d Disk, off int64, b [SectorBytes]byte) error {
	if _, err := d.WriteAt(b[:], off); err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return err
	}
	if err := dropCache(d); err != nil {
		return err
	}
	var got [SectorBytes]byte
	if _, err := d.ReadAt(got[:], off); err != nil {
		return fmt.Errorf("reading back: %w", err)
	}
	if got != b {
		return fmt.Errorf("sector %d reads back other bytes than were written: the card is worn out or write-protected", off/SectorBytes)
	}
	return nil
}
