package card

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"cistern/firmware/slot"
)

// Grow makes the data partition reach to the end of the card, in the table and
// in the kernel's mind. It does so at every boot: a card may have been copied to
// a larger one. The file system in it is grown by GrowFS once it is mounted. Says
// whether anything was changed.
func Grow(card *slot.File, device string) (slot.Partition, bool, error) {
	size, err := card.Bytes()
	if err != nil {
		return slot.Partition{}, false, err
	}
	p, changed, err := slot.GrowData(card, size)
	if err != nil {
		return p, false, err
	}
	// The kernel may have read the table before this boot's change only, so the
	// table is told to it whenever it is behind.
	known, err := partitionBytes(Partition(device, slot.DataPartition))
	if err != nil {
		return p, changed, err
	}
	if known < p.Bytes {
		return p, true, tellKernel(device, p)
	}
	return p, changed, nil
}

func partitionBytes(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	d := slot.NewFile(f)
	defer d.Close()
	return d.Bytes()
}

// blkpgPartition is struct blkpg_partition of linux/blkpg.h.
type blkpgPartition struct {
	start, length int64
	number        int32
	devname       [64]byte
	volname       [64]byte
	_             [4]byte // its end is aligned to 8 on every board but 386
}

func tellKernel(device string, p slot.Partition) error {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	part := blkpgPartition{start: p.Start, length: p.Bytes, number: slot.DataPartition}
	arg := unix.BlkpgIoctlArg{
		Op:      unix.BLKPG_RESIZE_PARTITION,
		Datalen: int32(unsafe.Sizeof(part)),
		Data:    (*byte)(unsafe.Pointer(&part)),
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		return fmt.Errorf("%s: telling the kernel of its larger partition: %w", device, errno)
	}
	return nil
}

// ext4Resize is EXT4_IOC_RESIZE_FS: _IOW('f', 16, __u64).
const ext4Resize = 0x40086610

// GrowFS makes a mounted ext4 fill its partition. It may take as long as the
// card needs to write the new groups; a power cut in it leaves a file system of
// some size between, and the next boot goes on.
func GrowFS(mount string, partition slot.Partition) (grown bool, bytes int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(mount, &st); err != nil {
		return false, 0, err
	}
	f, err := os.Open(mount)
	if err != nil {
		return false, 0, err
	}
	defer f.Close()
	blocks := uint64(partition.Bytes / int64(st.Bsize))
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), ext4Resize, uintptr(unsafe.Pointer(&blocks)))
	if errno != 0 {
		return false, 0, fmt.Errorf("growing the data partition's file system to %d bytes: %w", partition.Bytes, errno)
	}
	before := st.Blocks
	if err := unix.Statfs(mount, &st); err != nil {
		return false, 0, err
	}
	return st.Blocks > before, int64(st.Blocks) * int64(st.Bsize), nil
}
