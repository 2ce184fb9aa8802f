package batch

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"cistern/gossip/metadata"
)

// Where the fields of the header lie.
const (
	posBaseOffset      = 0
	posLength          = 8
	posLeaderEpoch     = 12
	posMagic           = 16
	posCRC             = 17
	posAttributes      = 21
	posLastOffsetDelta = 23
	posBaseTimestamp   = 27
	posMaxTimestamp    = 35
	posProducerID      = 43
	posProducerEpoch   = 51
	posSequence        = 53
	posCount           = 57
)

const (
	lengthEnd = posLength + 4         // what Length counts from
	lengthMin = HeaderLen - lengthEnd // Length of a batch without records
	magicV2   = 2
)

// Bits of Attributes.
const (
	attrCodecMask     = 0x07
	attrLogAppendTime = 1 << 3
	attrTransactional = 1 << 4
	attrControl       = 1 << 5
	attrClockUnset    = -1 << 15 // ours, see Header.ClockUnset
)

var (
	be         = binary.BigEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// Header is the header of a batch, decoded.
type Header struct {
	BaseOffset      int64
	Length          int32 // bytes after the length field; see Size
	LeaderEpoch     int32
	Magic           int8
	CRC             uint32
	Attributes      int16
	LastOffsetDelta int32
	BaseTimestamp   int64
	MaxTimestamp    int64
	Producer
	Count int32
}

// Size returns the bytes of the whole batch, header included.
func (h Header) Size() int { return lengthEnd + int(h.Length) }

// Codec returns how the records section is compressed.
func (h Header) Codec() metadata.Codec { return metadata.Codec(h.Attributes & attrCodecMask) }

// LastOffset returns the offset of the last record.
func (h Header) LastOffset() int64 { return h.BaseOffset + int64(h.LastOffsetDelta) }

// NextOffset returns the offset that follows the batch.
func (h Header) NextOffset() int64 { return h.LastOffset() + 1 }

// LogAppendTime reports whether MaxTimestamp is the time of all records: the
// moment a broker appended them, instead of what their producer said.
func (h Header) LogAppendTime() bool { return h.Attributes&attrLogAppendTime != 0 }

// Transactional reports whether the batch belongs to a transaction.
func (h Header) Transactional() bool { return h.Attributes&attrTransactional != 0 }

// Control reports whether the batch holds a transaction marker, no records.
func (h Header) Control() bool { return h.Attributes&attrControl != 0 }

// ClockUnset reports whether the records were taken before their gateway's clock
// could be believed: each has a header HeaderClock. Kafka does not use the bit;
// Rewrite takes it away before a batch leaves the site.
func (h Header) ClockUnset() bool { return h.Attributes&attrClockUnset != 0 }

// CheckProduced reports why h can't be the header of a batch that a producer
// made, as a Kafka broker checks it: such a batch has records, numbered without
// gaps, and is no control batch. Batches read from a compacted topic may fail
// it and still be valid.
func (h Header) CheckProduced() error {
	switch {
	case h.Count < 1:
		return fmt.Errorf("%w: it has no records", ErrMalformed)
	case h.Count-1 != h.LastOffsetDelta:
		return fmt.Errorf("%w: %d records, but last offset delta %d", ErrMalformed, h.Count, h.LastOffsetDelta)
	case h.Control():
		return fmt.Errorf("%w: control batches come from brokers only", ErrMalformed)
	}
	return nil
}

// ParseHeader decodes the header at the start of b, which may be longer than
// the batch, or shorter, as long as the header is whole. The CRC is not
// checked: see Verify.
func ParseHeader(b []byte) (Header, error) {
	var h Header
	err := h.parse(b)
	return h, err
}

func (h *Header) parse(b []byte) error {
	if len(b) < HeaderLen {
		return fmt.Errorf("%w: %d bytes, the header alone has %d", ErrTruncated, len(b), HeaderLen)
	}
	h.BaseOffset = int64(be.Uint64(b[posBaseOffset:]))
	h.Length = int32(be.Uint32(b[posLength:]))
	h.LeaderEpoch = int32(be.Uint32(b[posLeaderEpoch:]))
	h.Magic = int8(b[posMagic])
	h.CRC = be.Uint32(b[posCRC:])
	h.Attributes = int16(be.Uint16(b[posAttributes:]))
	h.LastOffsetDelta = int32(be.Uint32(b[posLastOffsetDelta:]))
	h.BaseTimestamp = int64(be.Uint64(b[posBaseTimestamp:]))
	h.MaxTimestamp = int64(be.Uint64(b[posMaxTimestamp:]))
	h.Producer.ID = int64(be.Uint64(b[posProducerID:]))
	h.Producer.Epoch = int16(be.Uint16(b[posProducerEpoch:]))
	h.Producer.Sequence = int32(be.Uint32(b[posSequence:]))
	h.Count = int32(be.Uint32(b[posCount:]))
	return h.check()
}

// check refuses what no batch can say, so that callers may calculate with the
// fields without a thought for overflow.
func (h *Header) check() error {
	switch {
	case h.Magic != magicV2:
		return fmt.Errorf("%w: magic is %d", ErrMagic, h.Magic)
	case h.Length < lengthMin:
		return fmt.Errorf("%w: length %d is shorter than the header", ErrMalformed, h.Length)
	case h.Length > SizeMax-lengthEnd:
		return fmt.Errorf("%w: length %d, at most %d is understood", ErrTooLarge, h.Length, SizeMax-lengthEnd)
	case h.Codec() > metadata.CodecZstd:
		return fmt.Errorf("%w: unknown codec %d", ErrMalformed, h.Codec())
	case h.LastOffsetDelta < 0:
		return fmt.Errorf("%w: last offset delta %d", ErrMalformed, h.LastOffsetDelta)
	case h.Count < 0:
		return fmt.Errorf("%w: %d records", ErrMalformed, h.Count)
	case h.BaseOffset < 0 || h.BaseOffset > math.MaxInt64-int64(h.LastOffsetDelta)-1:
		return fmt.Errorf("%w: base offset %d", ErrMalformed, h.BaseOffset)
	}
	return nil
}

// Verify checks that b is exactly one whole batch, and that its bytes are the
// ones that were checksummed. Base offset, length and leader epoch lie outside
// the CRC: whoever stores batches needs a checksum of its own around them.
func Verify(b []byte) (Header, error) {
	var h Header
	if err := h.parseWhole(b); err != nil {
		return h, err
	}
	if sum := crc32.Checksum(b[posAttributes:], castagnoli); sum != h.CRC {
		return h, fmt.Errorf("%w: offsets %d to %d say %08x, the bytes are %08x",
			ErrChecksum, h.BaseOffset, h.LastOffset(), h.CRC, sum)
	}
	return h, nil
}

// parseWhole parses the header of b, which must be exactly one batch.
func (h *Header) parseWhole(b []byte) error {
	if err := h.parse(b); err != nil {
		return err
	}
	switch size := h.Size(); {
	case len(b) < size:
		return fmt.Errorf("%w: %d bytes of %d", ErrTruncated, len(b), size)
	case len(b) > size:
		return fmt.Errorf("%w: %d bytes follow its end", ErrMalformed, len(b)-size)
	}
	return nil
}

// Next splits the first batch off a run of batches. ErrTruncated means that b
// ends inside it, as the tail of a fetch may.
func Next(b []byte) (one, rest []byte, err error) {
	var h Header
	if err := h.parse(b); err != nil {
		return nil, b, err
	}
	size := h.Size()
	if len(b) < size {
		return nil, b, fmt.Errorf("%w: %d bytes of %d", ErrTruncated, len(b), size)
	}
	return b[:size:size], b[size:], nil
}

// Stamp writes base offset and leader epoch into b, a whole batch, in place.
// Neither is covered by the CRC.
func Stamp(b []byte, baseOffset int64, leaderEpoch int32) {
	_ = b[HeaderLen-1]
	be.PutUint64(b[posBaseOffset:], uint64(baseOffset))
	be.PutUint32(b[posLeaderEpoch:], uint32(leaderEpoch))
}
