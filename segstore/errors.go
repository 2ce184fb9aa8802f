package segstore

import (
	"errors"
	"fmt"
)

// Errors of opening a store.
var (
	// ErrInUse says that another process has the store open.
	ErrInUse = errors.New("the store is in use by another process")
	// ErrForeign says that a file belongs to another store.
	ErrForeign = errors.New("this segment belongs to another store")
)

// Errors of appending. Nothing was confirmed.
var (
	// ErrFull says that flash is full and what it holds may not be dropped.
	ErrFull = errors.New("flash is full: nothing there may be dropped yet")
	// ErrLatched says that a write or sync failed, and that nothing can be
	// confirmed until the log's end was read back from the device.
	ErrLatched = errors.New("the journal is latched after a failed write")
	// ErrClosed says that the store is closing.
	ErrClosed = errors.New("the store is closed")
	// ErrTooLarge says that a batch fits no segment.
	ErrTooLarge = errors.New("the batch is larger than a segment can hold")
	// ErrWrongOffset says that a batch to be kept verbatim does not begin at
	// the log's end.
	ErrWrongOffset = errors.New("the batch does not begin at the log's end")
	// ErrWrongEpoch says that a batch is not of the leader epoch it should be
	// of, or of one older than the log's last.
	ErrWrongEpoch = errors.New("wrong leader epoch")
	// ErrEpochSpent says that a commit of this leader epoch failed which
	// followers may have got: the gateway can lead the partition again only in
	// a newer epoch.
	ErrEpochSpent = errors.New("a failed commit of this leader epoch may be with followers: a newer epoch is needed")
)

// Errors of patching. Nothing was kept.
var (
	// ErrForeignBatch says that a batch is not the one that this log lost: it does
	// not verify, lies elsewhere, or is of another leader epoch than the log has
	// there.
	ErrForeignBatch = errors.New("the batch is not one that this log lost")
	// ErrPatchesFull says that flash has lost more than patches may hold.
	ErrPatchesFull = errors.New("flash lost more than can be patched: replace the card")
)

// ErrOffsetOutOfRange says that no record has (or no longer has) an offset.
var ErrOffsetOutOfRange = errors.New("offset out of range")

// ErrUnknownStream says that no such stream or partition exists.
var ErrUnknownStream = errors.New("unknown stream or partition")

// CorruptError names records that were confirmed and can't be read back.
type CorruptError struct {
	Stream      string
	Partition   int32
	FirstOffset int64 // what is missing
	LastOffset  int64
	Segment     uint64 // where it should be: segment ID, slot file and position
	Slot        uint32
	Position    int64
	Cause       error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s/%d: records %d to %d can't be read (segment %d in %s at %d): %v",
		e.Stream, e.Partition, e.FirstOffset, e.LastOffset, e.Segment, slotName(e.Slot), e.Position, e.Cause)
}

func (e *CorruptError) Unwrap() error { return e.Cause }
