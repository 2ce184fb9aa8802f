package batch

import (
	"encoding/binary"
	"fmt"
	"io"

	"cistern/gossip/metadata"
)

// Raw is a record whose key, value and headers stay as they were encoded: enough
// to move it into another batch. It is valid until its reader's next Reset.
type Raw struct {
	Offset    int64
	Timestamp int64 // ms since 1970

	payload   []byte // key, value, headers
	countAt   int    // where the number of headers begins in it
	headersAt int    // and where the headers do
	headers   int32
}

// Header returns the value of the first header of that name. It shares memory
// with the record.
func (r *Raw) Header(name string) (value []byte, ok bool) {
	in := input{b: r.payload[r.headersAt:]}
	for range r.headers {
		key := in.bytes(in.varint32())
		if value = in.nullable(); string(key) == name {
			return value, true
		}
	}
	return nil, false
}

// RawReader reads the records of batches one by one. Each is looked through to
// its end, so one that was returned can be decoded. The zero value is ready; it
// keeps its buffer.
type RawReader struct {
	header  Header
	section []byte // a buffer for what was compressed with zstd
	in      []byte // what is left of it
	left    int32  // records to come
	last    int64  // offset delta of the record before, -1 at first
}

// Reset begins to read b, which must be exactly one whole batch. sizeMax bounds
// the decompressed records section. The CRC is not checked: see Verify.
func (r *RawReader) Reset(b []byte, sizeMax int) error {
	r.in, r.left, r.last = nil, 0, -1
	if err := r.header.parseWhole(b); err != nil {
		return err
	}
	sizeMax = max(0, min(sizeMax, SizeMax))
	if r.header.Codec() == metadata.CodecZstd {
		if size := SectionSize(b); size > cap(r.section) && size <= sizeMax {
			r.section = make([]byte, 0, size+size/4) // the next one may be a little larger
		}
	}
	section, err := decompressTo(r.section, r.header.Codec(), b[HeaderLen:], sizeMax)
	if err != nil {
		return fmt.Errorf("base offset %d: %w", r.header.BaseOffset, err)
	}
	r.in, r.left = section, r.header.Count
	return nil
}

// Next reads the next record. It returns io.EOF when all were read and nothing
// follows the last.
func (r *RawReader) Next(raw *Raw) error {
	if r.left == 0 {
		if len(r.in) > 0 {
			return fmt.Errorf("base offset %d: %w: %d bytes follow the last record", r.header.BaseOffset, ErrMalformed, len(r.in))
		}
		return io.EOF
	}
	in := input{b: r.in}
	body := in.bytes(in.varint32())
	r.in = in.b
	in.b = body
	in.bytes(1) // attributes: none are defined
	timestampDelta := in.varint64()
	offsetDelta := int64(in.varint32())
	raw.walk(&in)
	if in.failed == "" && (offsetDelta <= r.last || offsetDelta > int64(r.header.LastOffsetDelta)) {
		in.fail("its offset is out of order")
	}
	if in.failed != "" {
		return fmt.Errorf("record %d of %d at base offset %d: %w", r.header.Count-r.left+1, r.header.Count, r.header.BaseOffset, in.err())
	}
	r.left--
	r.last = offsetDelta
	raw.Offset = r.header.BaseOffset + offsetDelta
	raw.Timestamp = r.header.BaseTimestamp + timestampDelta
	if r.header.LogAppendTime() {
		raw.Timestamp = r.header.MaxTimestamp
	}
	return nil
}

// walk goes over key, value and headers, which must fill what is left of in.
func (r *Raw) walk(in *input) {
	r.payload = in.b
	in.nullable()
	in.nullable()
	r.countAt = len(r.payload) - len(in.b)
	r.headers = in.varint32()
	if r.headers < 0 || int(r.headers) > len(in.b)/headerLenMin {
		in.fail("it claims more headers than its bytes can hold")
		return
	}
	r.headersAt = len(r.payload) - len(in.b)
	for range r.headers {
		in.bytes(in.varint32())
		in.nullable()
		if in.failed != "" {
			return
		}
	}
	if in.failed == "" && len(in.b) > 0 {
		in.fail("bytes follow its last field")
	}
}

// Forget lets go of the last batch, and of the buffer if it is larger than keep.
func (r *RawReader) Forget(keep int) {
	r.in, r.left = nil, 0
	if cap(r.section) > keep {
		r.section = nil
	}
}

// BuilderBytesMax is the largest sizeMax of AppendRaw.
const BuilderBytesMax = 1 << pooledBitsMax

// AppendRaw moves r behind the records before it, with one header more if extra
// is not nil; r.Offset is not used. It returns false, and has taken nothing, when
// the batch would be larger than sizeMax before compression.
func (b *Builder) AppendRaw(r *Raw, extra *RecordHeader, sizeMax int) bool {
	payload := len(r.payload)
	if extra != nil {
		payload += varintLen(int64(r.headers)+1) - (r.headersAt - r.countAt)
		payload += varintLen(int64(len(extra.Key))) + len(extra.Key) + nullableLen(extra.Value)
	}
	if b.count == 0 {
		b.base, b.max = r.Timestamp, r.Timestamp
	}
	timestampDelta := r.Timestamp - b.base
	body := 1 + varintLen(timestampDelta) + varintLen(int64(b.count)) + payload
	size := varintLen(int64(body)) + body
	if b.Size()+size > min(sizeMax, BuilderBytesMax) {
		return false
	}
	b.reserve(size)
	b.records = binary.AppendVarint(b.records, int64(body))
	b.records = append(b.records, 0) // attributes: none are defined
	b.records = binary.AppendVarint(b.records, timestampDelta)
	b.records = binary.AppendVarint(b.records, int64(b.count))
	if extra == nil {
		b.records = append(b.records, r.payload...)
	} else {
		b.records = append(b.records, r.payload[:r.countAt]...)
		b.records = binary.AppendVarint(b.records, int64(r.headers)+1)
		b.records = append(b.records, r.payload[r.headersAt:]...)
		b.records = binary.AppendVarint(b.records, int64(len(extra.Key)))
		b.records = append(b.records, extra.Key...)
		b.records = appendNullable(b.records, extra.Value)
	}
	b.max = max(b.max, r.Timestamp)
	b.count++
	return true
}

// Mark is a place in a batch that is being built.
type Mark struct {
	bytes int
	count int32
	max   int64
}

// Mark returns where the next record goes.
func (b *Builder) Mark() Mark { return Mark{len(b.records), b.count, b.max} }

// Rewind takes back what was appended since m.
func (b *Builder) Rewind(m Mark) { b.records, b.count, b.max = b.records[:m.bytes], m.count, m.max }
