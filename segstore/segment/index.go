package segment

import "sort"

// BatchRef says where one batch lies: the frame at Pos, Len bytes with its
// header, holds the batch that begins with Offset.
type BatchRef struct {
	Offset int64
	Pos    uint32
	Len    uint32
}

// PartitionIndex says what one segment holds of one partition.
type PartitionIndex struct {
	Base  int64 // first offset here
	Next  int64 // one past the last offset here
	Bytes int64 // of batches here
	Refs  []BatchRef

	// TruncatedTo is the lowest offset the log was cut back to while this
	// segment was written, or -1. Older segments count only below it.
	TruncatedTo int64
}

// Index says what one segment holds, by the store's partition numbers.
type Index map[uint32]*PartitionIndex

// Partition returns the entry of p, made if need be.
func (x Index) Partition(p uint32) *PartitionIndex {
	e := x[p]
	if e == nil {
		e = &PartitionIndex{TruncatedTo: -1}
		x[p] = e
	}
	return e
}

// Append notes a batch of partition p that holds the offsets base to next-1.
func (x Index) Append(p uint32, base, next int64, pos int64, frameLen int) {
	e := x.Partition(p)
	if len(e.Refs) == 0 {
		e.Base = base
	}
	e.Next = next
	e.Bytes += int64(frameLen)
	e.Refs = append(e.Refs, BatchRef{Offset: base, Pos: uint32(pos), Len: uint32(frameLen)})
}

// Truncate forgets the batches of p that begin at offset or above. (A log is
// only cut between batches, so none reaches across.)
func (x Index) Truncate(p uint32, offset int64) {
	e := x.Partition(p)
	if e.TruncatedTo < 0 || offset < e.TruncatedTo {
		e.TruncatedTo = offset
	}
	keep := sort.Search(len(e.Refs), func(i int) bool { return e.Refs[i].Offset >= offset })
	for _, r := range e.Refs[keep:] {
		e.Bytes -= int64(r.Len)
	}
	e.Refs = e.Refs[:keep]
	e.Base, e.Next = min(e.Base, offset), min(e.Next, offset)
}

// Restart forgets all of p, here and in older segments: the log goes on at
// offset, which may be anywhere.
func (x Index) Restart(p uint32, offset int64) {
	x[p] = &PartitionIndex{Base: offset, Next: offset, TruncatedTo: 0}
}

// Find returns the index in Refs of the batch that holds offset, or begins
// right after a hole at offset; len(Refs) when there is none.
func (e *PartitionIndex) Find(offset int64) int {
	i := sort.Search(len(e.Refs), func(i int) bool { return e.Refs[i].Offset > offset })
	if i == 0 {
		return 0
	}
	return i - 1
}

// Counts returns the numbers of partitions and batches, from which the size of
// the footer follows.
func (x Index) Counts() (partitions, batches int) {
	for _, e := range x {
		batches += len(e.Refs)
	}
	return len(x), batches
}
