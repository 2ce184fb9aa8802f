package image

import (
	"context"
	"fmt"
	"strings"

	"cistern/firmware/slot"
)

// ext4 of the data. A gateway writes a few large files that were allocated
// before, and syncs them often:
//
//   - the list of features is complete, so that every mke2fs makes the same and
//     none turns on what the board's kernel or e2fsck does not know;
//   - metadata_csum: a card that returns rubbish is noticed;
//   - a journal of 16 MiB: with hardly any metadata in it, a larger one would
//     only take longer to replay;
//   - one inode per 256 KiB: inode tables are written once and then only in the
//     way;
//   - 1 % for root: init still writes what happened when the agent has filled
//     everything;
//   - an error makes it read-only, so that the agent notices instead of going on.
const (
	ext4Features = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg," +
		"sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"
	ext4BlockBytes   = 4096
	ext4InodePerByte = 256 << 10
	ext4JournalMiB   = 16
	ext4ReservedPct  = 1

	// dataGrowsTo is the largest card the file system has room to describe.
	dataGrowsTo = 2 << 40
)

// writeData makes an empty ext4 at its place in the image. It stays empty:
// mke2fs -d would put times of this machine into it.
func writeData(ctx context.Context, image, uuid string, seconds int64) error {
	extended := []string{
		fmt.Sprintf("offset=%d", int64(slot.DataStart)),
		fmt.Sprintf("resize=%d", int64(dataGrowsTo/ext4BlockBytes)),
		"hash_seed=" + uuid, "root_owner=0:0", "nodiscard",
		// Everything is written now: the kernel has nothing to do in the background.
		"lazy_itable_init=0", "lazy_journal_init=0",
	}
	_, err := call{env: sameEverywhere(seconds)}.run(ctx, "mke2fs", "-q", "-F", "-t", "ext4",
		"-b", fmt.Sprint(ext4BlockBytes), "-I", "256", "-i", fmt.Sprint(ext4InodePerByte), "-m", fmt.Sprint(ext4ReservedPct),
		"-J", fmt.Sprintf("size=%d", ext4JournalMiB), "-O", ext4Features, "-e", "remount-ro",
		"-L", slot.DataLabel, "-U", uuid, "-E", strings.Join(extended, ","),
		image, fmt.Sprint(int64(slot.DataBytes/ext4BlockBytes)))
	return err
}
