// Package segment says what one segment of the journal is on flash, and how
// it is recovered. It knows bytes, not partitions' histories: package segstore
// gives them meaning.
//
// A segment is a file of fixed size, every block of which was written before
// it is first used. From front to back:
//
//	page 0        header: which segment of which store this is
//	page 1 ...    commits, each starting on a page boundary
//	last pages    footer: what the segment holds, right-aligned to the end
//
// A commit is what one fdatasync confirms. It holds frames; a frame holds one
// Kafka record batch or one small fact:
//
//	commit header │ frame header │ payload │ frame header │ payload │ … zeros to the page's end
//
// Segments are recycled: when all in them has expired they are written again
// from the front, under a new and higher segment ID. That ID is in the header
// and in every commit header, and with the store's ID it seeds their checksums
// and the frames' (Use), so nothing that an earlier use left behind, and nothing
// a device puts into a payload, can pass for part of this one.
//
// All integers are big-endian. Byte tables, crash states and what is assumed
// of a disk stand in segstore/README.md.
package segment

import "cistern/segstore/vfs"

// PageSize is the unit commits are aligned to.
const PageSize = vfs.PageSize

// PageAlign returns n rounded up to whole pages.
func PageAlign(n int64) int64 { return (n + PageSize - 1) &^ (PageSize - 1) }
