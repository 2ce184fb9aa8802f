// Package image makes what goes onto a card: whole images, and the update
// files that bring a new system into the slot that is not running.
//
// A slot is a FAT32 with the kernel, the Pi's firmware and one initramfs, which
// is the whole system: our init, the agent, e2fsck. An image is the partition
// table, a small FAT that an operator can edit, two equal slots, and an empty
// ext4 for the data. See firmware/README.md for every byte of it.
//
// Nothing is mounted and nothing needs root: mtools write the FATs, mke2fs the
// ext4, and the rest is written here. Equal input makes equal bytes: names,
// times and numbers are taken from the commit and from what is put in, never
// from the clock or from chance.
package image
