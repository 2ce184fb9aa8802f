// Package batch says what a record batch looks like as bytes: Kafka's record
// batch, format v2, the one unit that devices fill, flash keeps, replicas copy
// and the drain sends upstream. Nothing here does I/O.
//
// A batch is a header of 61 bytes and a records section, big endian:
//
//	pos  size  field
//	  0     8  base offset            offset of the first record
//	  8     4  length                 bytes that follow this field
//	 12     4  leader epoch           of the leader that stamped the base offset, -1: none
//	 16     1  magic                  2
//	 17     4  CRC                    CRC-32C of everything from 21 to the end
//	 21     2  attributes             bits 0-2 codec, 3 log append time,
//	                                  4 transactional, 5 control, 15 (ours,
//	                                  never upstream) clock was unset
//	 23     4  last offset delta      offset of the last record - base offset
//	 27     8  base timestamp         ms since 1970, of the first record
//	 35     8  max timestamp          ms since 1970
//	 43     8  producer id            -1: none
//	 51     2  producer epoch         -1: none
//	 53     4  base sequence          of the first record, -1: none
//	 57     4  count                  number of records
//	 61        records                compressed as a whole when a codec is set
//
// and each record inside the section, with zigzag varints (v):
//
//	v length · 1 attributes (0) · v timestamp delta · v offset delta ·
//	v key length (-1: null) · key · v value length (-1: null) · value ·
//	v header count · { v length · key · v length (-1: null) · value } ...
//
// The life of a batch uses these parts in order:
//
//   - [Builder] encodes records into one, compresses it once, and checksums it.
//   - [Stamp] writes base offset and leader epoch when a leader appends it. Both
//     lie before the CRC, so the checksum made at the device's gateway still
//     holds at the last reader.
//   - [Next], [ParseHeader] and [Verify] find and check batches on flash and on
//     the wire.
//   - [Rewrite] gives a batch the identity it has upstream. It corrects the CRC
//     by algebra and never looks at the records, so a bit that rotted on flash
//     stays detected instead of being blessed by a new checksum.
//   - [Records] decodes, for those who must look inside; [RawReader] and
//     [Builder.AppendRaw] move records to another batch as they are.
//
// Input from network or flash never panics and never allocates more than its
// own length or a limit that the caller gave.
package batch

import "errors"

// HeaderLen is the size of a batch header: the records begin there.
const HeaderLen = 61

// SizeMax is the largest batch that is understood at all. It is far above
// metadata.BatchBytesMax, because the upstream cluster may hold larger batches
// of other producers, and keeps sizes inside an int on 32-bit machines.
const SizeMax = 1 << 30

// What can be wrong with a batch. All errors of this package wrap one of these.
var (
	// ErrTruncated: the bytes end before the batch does. More may follow.
	ErrTruncated = errors.New("batch is cut short")
	// ErrMagic: these bytes are no record batch of format v2.
	ErrMagic = errors.New("not a record batch of format v2")
	// ErrMalformed: a field says something that can't be.
	ErrMalformed = errors.New("malformed batch")
	// ErrChecksum: the bytes are not those that were checksummed.
	ErrChecksum = errors.New("batch checksum does not match")
	// ErrTooLarge: a limit would be passed.
	ErrTooLarge = errors.New("batch too large")
	// ErrEmpty: a batch without records can't be built.
	ErrEmpty = errors.New("batch has no records")
)

// Record is one message of a stream.
type Record struct {
	Offset    int64
	Timestamp int64  // ms since 1970
	Key       []byte // nil: null
	Value     []byte // nil: null
	Headers   []RecordHeader
}

// RecordHeader is one of a record's headers. Their order is kept, and a key
// may occur more than once.
type RecordHeader struct {
	Key   string
	Value []byte // nil: null
}

// Producer identifies the writer of a batch, so that a broker can tell a resend
// from a new batch.
type Producer struct {
	ID       int64
	Epoch    int16
	Sequence int32 // of the first record
}

// NoProducer is the producer of batches that are not idempotent.
var NoProducer = Producer{ID: -1, Epoch: -1, Sequence: -1}
