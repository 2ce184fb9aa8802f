package batch

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"cistern/gossip/metadata"
)

// Builder makes batches. Append encodes each record at once, so the caller may
// reuse the record and its slices; AppendTo finishes. A Builder is used by one
// goroutine at a time, and in steady state allocates nothing.
//
// A partition keeps its Builder while it waits for records. So that a thousand
// idle partitions weigh little, Reset keeps at most IdleBytesMax of buffer and
// hands larger ones back to a pool that all builders share.
type Builder struct {
	codec   metadata.Codec
	records []byte        // the records section, uncompressed: in own or in pooled
	own     []byte        // at most IdleBytesMax, kept
	pooled  *pooledBuffer // what own is too small for, given back by Reset
	count   int32
	base    int64 // timestamp of the first record: the others are told relative to it
	max     int64

	clockUnset bool
	level      *Level // nil: the fastest
}

// NewBuilder returns a Builder that compresses with codec, which must be one
// that metadata.StreamConfig allows.
func NewBuilder(codec metadata.Codec) *Builder { return &Builder{codec: codec} }

// Count returns the number of records so far.
func (b *Builder) Count() int { return int(b.count) }

// Size returns the bytes of the batch so far, header included, uncompressed.
// The finished batch is never larger.
func (b *Builder) Size() int { return HeaderLen + len(b.records) }

// MarkClockUnset sets the bit of Header.ClockUnset until the next Reset.
func (b *Builder) MarkClockUnset() { b.clockUnset = true }

// Append encodes r behind the records before it; r.Offset is not used. When r
// no longer fits, full is true and r was not taken: finish this batch, and
// append r to the next. A record that fits into no batch is ErrTooLarge.
func (b *Builder) Append(r *Record) (full bool, err error) {
	payload := payloadLen(r)
	if size := payload + overheadMax; HeaderLen+size > metadata.BatchBytesMax {
		return false, fmt.Errorf("%w: one record of %d bytes, at most %d fit",
			ErrTooLarge, size, metadata.BatchBytesMax-HeaderLen)
	}
	if b.count == 0 {
		b.base, b.max = r.Timestamp, r.Timestamp
	}
	timestampDelta := r.Timestamp - b.base
	body := 1 + varintLen(timestampDelta) + varintLen(int64(b.count)) + payload
	size := varintLen(int64(body)) + body
	if b.Size()+size > metadata.BatchBytesMax {
		return true, nil
	}
	b.reserve(size)
	b.records = binary.AppendVarint(b.records, int64(body))
	b.records = append(b.records, 0) // attributes: none are defined
	b.records = binary.AppendVarint(b.records, timestampDelta)
	b.records = binary.AppendVarint(b.records, int64(b.count))
	b.records = appendPayload(b.records, r)
	b.max = max(b.max, r.Timestamp)
	b.count++
	return false, nil
}

// AppendTo appends the finished batch to dst: base offset 0 and leader epoch -1
// until a leader stamps it, compressed if that makes it smaller. The Builder
// keeps its records until Reset.
func (b *Builder) AppendTo(dst []byte, p Producer) ([]byte, error) {
	if b.count == 0 {
		return dst, ErrEmpty
	}
	start := len(dst)
	dst = slices.Grow(dst, b.Size())
	out, shorter, err := compress(b.codec, b.level, dst[:start+HeaderLen], b.records)
	if err != nil {
		return dst[:start], fmt.Errorf("building a batch: %w", err)
	}
	var attributes int16
	if shorter {
		attributes = int16(b.codec)
	} else {
		out = append(out, b.records...)
	}
	if b.clockUnset {
		attributes |= attrClockUnset
	}
	b.putHeader(out[start:], attributes, p)
	return out, nil
}

// putHeader fills in the header of one, a whole batch. The CRC comes last.
func (b *Builder) putHeader(one []byte, attributes int16, p Producer) {
	Stamp(one, 0, -1)
	be.PutUint32(one[posLength:], uint32(len(one)-lengthEnd))
	one[posMagic] = magicV2
	be.PutUint16(one[posAttributes:], uint16(attributes))
	be.PutUint32(one[posLastOffsetDelta:], uint32(b.count-1))
	be.PutUint64(one[posBaseTimestamp:], uint64(b.base))
	be.PutUint64(one[posMaxTimestamp:], uint64(b.max))
	putProducer(one, p)
	be.PutUint32(one[posCount:], uint32(b.count))
	be.PutUint32(one[posCRC:], crc32.Checksum(one[posAttributes:], castagnoli))
}

// Reset forgets the records.
func (b *Builder) Reset() {
	b.release()
	b.count, b.base, b.max, b.clockUnset = 0, 0, 0, false
}
