// Package slot answers one question: where on a card is what, and how does
// another system get into the other half of it without the first being lost?
//
// A card has four partitions at fixed places (see Layout): a small FAT that an
// operator can edit, two slots with a whole system each, and the data, which
// grows to the end of the card and which no update touches.
//
//	0        MBR
//	4 MiB    p1  FAT16  CISTERN       autoboot.txt, boot.txt, cistern/
//	32 MiB   p2  FAT32  slot A        kernel, initramfs, release.json
//	128 MiB  p3  FAT32  slot B        the same, of another version
//	224 MiB  p4  ext4   cistern-data  grown on first boot
//
// Which slot boots is one sector, the text of autoboot.txt, which is written
// over in place: a card either has the old sector or the new one. An update is
// a signed file; Apply checks signature and board before it writes anything,
// and a slot that it did not finish has no boot sector.
//
// Nothing here mounts anything or needs Linux: everything works on an image
// file just as on a card.
package slot

import "io"

// Disk is a whole card, an image of one, or a part of either.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns when everything written is on the medium.
	Sync() error
}

// cacheDropper is a Disk that can forget what it has cached, so that what is
// read next comes from the medium.
type cacheDropper interface{ DropCache() error }

// dropCache does what it can: not every Disk has a cache.
func dropCache(d Disk) error {
	if c, ok := d.(cacheDropper); ok {
		return c.DropCache()
	}
	return nil
}
