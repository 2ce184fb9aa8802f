package batch

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
)

// Records decodes the records of b, which must be exactly one whole batch, in
// order. At the first thing that is wrong it yields an error and ends, so a
// caller who saw no error saw every record.
//
// sizeMax bounds the decompressed records section. The CRC is not checked: see
// Verify. Keys and values share memory with b, or with the decompressed copy of
// its records; they stay valid as long as b is not changed.
func Records(b []byte, sizeMax int) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		d, err := newDecoder(b, sizeMax)
		if err != nil {
			yield(Record{}, fmt.Errorf("decoding records: %w", err))
			return
		}
		for i := range d.header.Count {
			r, err := d.next()
			if err != nil {
				err = fmt.Errorf("decoding record %d of %d at base offset %d: %w",
					i+1, d.header.Count, d.header.BaseOffset, err)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
		if len(d.in) > 0 {
			yield(Record{}, fmt.Errorf("decoding records: %w: %d bytes follow the last one", ErrMalformed, len(d.in)))
		}
	}
}

type decoder struct {
	header Header
	in     []byte         // what is left of the records section
	last   int64          // offset delta of the record before, -1 at first
	named  []RecordHeader // headers of the record before
	spare  []RecordHeader // for the records that follow
}

func newDecoder(b []byte, sizeMax int) (*decoder, error) {
	d := &decoder{last: -1}
	if err := d.header.parseWhole(b); err != nil {
		return nil, err
	}
	var err error
	d.in, err = decompress(d.header.Codec(), b[HeaderLen:], max(0, min(sizeMax, SizeMax)))
	if err != nil {
		return nil, fmt.Errorf("base offset %d: %w", d.header.BaseOffset, err)
	}
	return d, nil
}

// next decodes one record, which must fill the length it claims.
func (d *decoder) next() (Record, error) {
	in := input{b: d.in}
	body := in.bytes(in.varint32())
	if in.failed != "" {
		return Record{}, in.err()
	}
	d.in = in.b
	in.b = body
	in.bytes(1) // attributes: none are defined, Kafka ignores them
	timestampDelta := in.varint64()
	offsetDelta := int64(in.varint32())
	r := Record{Key: in.nullable(), Value: in.nullable(), Headers: d.headers(&in)}
	if in.failed == "" && len(in.b) > 0 {
		in.fail("bytes follow its last field")
	}
	// Compaction may leave gaps, but never goes back.
	if in.failed == "" && (offsetDelta <= d.last || offsetDelta > int64(d.header.LastOffsetDelta)) {
		in.fail("its offset is out of order")
	}
	if in.failed != "" {
		return Record{}, in.err()
	}
	d.last = offsetDelta
	r.Offset = d.header.BaseOffset + offsetDelta
	r.Timestamp = d.header.BaseTimestamp + timestampDelta
	if d.header.LogAppendTime() {
		r.Timestamp = d.header.MaxTimestamp
	}
	return r, nil
}

const (
	headerLenMin = 2  // bytes: two lengths
	sparesMax    = 64 // headers allocated ahead
)

// headers allocates for several records at once, and shares the names between
// neighbours, which mostly have the same.
func (d *decoder) headers(in *input) []RecordHeader {
	n := int(in.varint32())
	if n == 0 || in.failed != "" {
		return nil
	}
	if n < 0 || n > len(in.b)/headerLenMin {
		in.fail("it claims more headers than its bytes can hold")
		return nil
	}
	if n > len(d.spare) {
		d.spare = make([]RecordHeader, max(n, min(sparesMax, int(d.header.Count))))
	}
	headers := d.spare[:n:n]
	d.spare = d.spare[n:]
	for i := range headers {
		key := in.bytes(in.varint32())
		if i < len(d.named) && d.named[i].Key == string(key) {
			headers[i].Key = d.named[i].Key
		} else {
			headers[i].Key = string(key)
		}
		headers[i].Value = in.nullable()
	}
	d.named = headers
	return headers
}

// input reads fields until one fails; then all others are zero.
type input struct {
	b      []byte
	failed string
}

func (in *input) err() error { return fmt.Errorf("%w: %s", ErrMalformed, in.failed) }

func (in *input) fail(why string) {
	if in.failed == "" {
		in.failed = why
	}
	in.b = nil
}

func (in *input) varint64() int64 {
	v, n := binary.Varint(in.b)
	if n <= 0 {
		in.fail("it is cut short or a number is too long")
		return 0
	}
	in.b = in.b[n:]
	return v
}

func (in *input) varint32() int32 {
	v := in.varint64()
	if v < math.MinInt32 || v > math.MaxInt32 {
		in.fail("a number is out of range")
		return 0
	}
	return int32(v)
}

// bytes never returns nil unless the input failed.
func (in *input) bytes(n int32) []byte {
	if n < 0 || int64(n) > int64(len(in.b)) || in.failed != "" {
		in.fail("a length is larger than what is left")
		return nil
	}
	v := in.b[:n:n]
	in.b = in.b[n:]
	return v
}

func (in *input) nullable() []byte {
	n := in.varint32()
	if n == -1 {
		return nil
	}
	return in.bytes(n)
}
