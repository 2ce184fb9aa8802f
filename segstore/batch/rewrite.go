package batch

import (
	"fmt"
	"hash/crc32"
)

// Rewrite is the identity that a batch gets upstream. Only the header changes;
// the records section is neither read nor touched.
type Rewrite struct {
	BaseOffset    int64
	LeaderEpoch   int32
	Producer      Producer
	Transactional bool

	// Corrected timestamps, nil to keep the batch's own: a gateway that booted
	// without a clock learns only later what time it was. Records carry their
	// distance to the base, so the correction moves all of them; give both.
	BaseTimestamp *int64
	MaxTimestamp  *int64

	// KeepClockUnset keeps the bit of Header.ClockUnset: the batch stays on site.
	KeepClockUnset bool
}

// AppendHeader appends the new header of b, which must be exactly one whole
// batch. A sender that can write in pieces sends it, then b[HeaderLen:], and
// copies nothing.
//
// The CRC is corrected, not computed: it is linear, so what it changes by is the
// CRC of what the header changes by, shifted past the records. Whatever was
// wrong between b's CRC and b's bytes stays wrong by exactly as much. The bit
// for log append time is cleared, since brokers refuse it from a client, and so
// is our own for an unset clock.
func (r Rewrite) AppendHeader(dst, b []byte) ([]byte, error) {
	var h Header
	if err := h.parseWhole(b); err != nil {
		return dst, fmt.Errorf("rewriting: %w", err)
	}
	if h.Control() {
		return dst, fmt.Errorf("rewriting: %w: control batches come from brokers only", ErrMalformed)
	}
	dst = append(dst, b[:HeaderLen]...)
	header := dst[len(dst)-HeaderLen:]
	Stamp(header, r.BaseOffset, r.LeaderEpoch)
	be.PutUint16(header[posAttributes:], uint16(r.attributes(h.Attributes)))
	putProducer(header, r.Producer)
	if r.BaseTimestamp != nil {
		be.PutUint64(header[posBaseTimestamp:], uint64(*r.BaseTimestamp))
	}
	if r.MaxTimestamp != nil {
		be.PutUint64(header[posMaxTimestamp:], uint64(*r.MaxTimestamp))
	}
	be.PutUint32(header[posCRC:], h.CRC^crcChange(b[:HeaderLen], header, len(b)-HeaderLen))
	return dst, nil
}

// Apply appends a rewritten copy of b, which must be exactly one whole batch.
func (r Rewrite) Apply(dst, b []byte) ([]byte, error) {
	dst, err := r.AppendHeader(dst, b)
	if err != nil {
		return dst, err
	}
	return append(dst, b[HeaderLen:]...), nil
}

func (r Rewrite) attributes(a int16) int16 {
	a &^= attrLogAppendTime | attrTransactional
	if !r.KeepClockUnset {
		a &^= attrClockUnset
	}
	if r.Transactional {
		a |= attrTransactional
	}
	return a
}

func putProducer(header []byte, p Producer) {
	be.PutUint64(header[posProducerID:], uint64(p.ID))
	be.PutUint16(header[posProducerEpoch:], uint16(p.Epoch))
	be.PutUint32(header[posSequence:], uint32(p.Sequence))
}

// crcChange returns what the CRC changes by when the header a becomes b and
// behind bytes that follow stay the same. What crc32 inverts cancels out.
func crcChange(a, b []byte, behind int) uint32 {
	return shift(crc32.Checksum(a[posAttributes:], castagnoli)^crc32.Checksum(b[posAttributes:], castagnoli), behind)
}
