package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"cistern/gossip/metadata"
)

// Each name is a way for a batch to be wrong before anyone looks inside.
func TestMalformedBatches(t *testing.T) {
	whole := build(t, metadata.CodecZstd, NoProducer, readings(30))
	put16 := func(pos int, v uint16) func([]byte) []byte {
		return func(b []byte) []byte { be.PutUint16(b[pos:], v); return b }
	}
	put32 := func(pos int, v int32) func([]byte) []byte {
		return func(b []byte) []byte { be.PutUint32(b[pos:], uint32(v)); return b }
	}
	put64 := func(pos int, v uint64) func([]byte) []byte {
		return func(b []byte) []byte { be.PutUint64(b[pos:], v); return b }
	}
	tests := []struct {
		name   string
		damage func([]byte) []byte
		want   error
	}{
		{"nothing", func(b []byte) []byte { return nil }, ErrTruncated},
		{"header cut short", func(b []byte) []byte { return b[:HeaderLen-1] }, ErrTruncated},
		{"header alone", func(b []byte) []byte { return b[:HeaderLen] }, ErrTruncated},
		{"last byte missing", func(b []byte) []byte { return b[:len(b)-1] }, ErrTruncated},
		{"one byte more", func(b []byte) []byte { return append(b, 0) }, ErrMalformed},
		{"all zero, as a preallocated page", func(b []byte) []byte { clear(b); return b }, ErrMagic},
		{"all ones, as an erased flash page", func(b []byte) []byte { return bytes.Repeat([]byte{0xff}, len(b)) }, ErrMagic},
		{"message set v1", func(b []byte) []byte { b[posMagic] = 1; return b }, ErrMagic},
		{"magic from the future", func(b []byte) []byte { b[posMagic] = 3; return b }, ErrMagic},
		{"length zero", put32(posLength, 0), ErrMalformed},
		{"length negative", put32(posLength, -1), ErrMalformed},
		{"length within the header", put32(posLength, lengthMin-1), ErrMalformed},
		{"length of two GiB", put32(posLength, 1<<31-1), ErrTooLarge},
		{"length one too long", func(b []byte) []byte { return put32(posLength, int32(len(b)-lengthEnd+1))(b) }, ErrTruncated},
		{"length one too short", func(b []byte) []byte { return put32(posLength, int32(len(b)-lengthEnd-1))(b) }, ErrMalformed},
		{"unknown codec", put16(posAttributes, 5), ErrMalformed},
		{"last offset delta negative", put32(posLastOffsetDelta, -1), ErrMalformed},
		{"count negative", put32(posCount, -1), ErrMalformed},
		{"base offset negative", put64(posBaseOffset, 1<<63), ErrMalformed},
		{"offsets overflow", put64(posBaseOffset, 1<<63-1), ErrMalformed},
		{"CRC of something else", put32(posCRC, 0), ErrChecksum},
		{"bit rotten in the header", put64(posMaxTimestamp, 1), ErrChecksum},
		{"bit rotten in the records", func(b []byte) []byte { b[len(b)-1] ^= 0x10; return b }, ErrChecksum},
		{"bit rotten in the codec", put16(posAttributes, uint16(metadata.CodecLZ4)), ErrChecksum},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := test.damage(bytes.Clone(whole))
			if _, err := Verify(b); !errors.Is(err, test.want) {
				t.Errorf("Verify: %v, want %v", err, test.want)
			}
			// The rest must tell the same, or leave it to Verify.
			if test.want == ErrChecksum {
				return
			}
			if _, err := (Rewrite{}).Apply(nil, b); !errors.Is(err, test.want) {
				t.Errorf("Rewrite: %v, want %v", err, test.want)
			}
			if _, err := tryDecode(b, SizeMax); !errors.Is(err, test.want) {
				t.Errorf("Records: %v, want %v", err, test.want)
			}
		})
	}
}

func TestNextSplitsARun(t *testing.T) {
	var run []byte
	for i := range 5 {
		run = append(run, build(t, codecs[i%len(codecs)], NoProducer, readings(1+i*7))...)
	}
	rest := run
	for i := range 5 {
		one, r, err := Next(rest)
		if err != nil {
			t.Fatal(err)
		}
		if len(decode(t, one)) != 1+i*7 || cap(one) != len(one) {
			t.Fatalf("batch %d is not its own", i)
		}
		rest = r
	}
	if len(rest) != 0 {
		t.Errorf("%d bytes are left", len(rest))
	}
	for cut := range len(run) {
		rest, count := run[:cut], 0
		var err error
		for err == nil && len(rest) > 0 {
			if _, rest, err = Next(rest); err == nil {
				count++
			}
		}
		if err != nil && !errors.Is(err, ErrTruncated) || count > 4 {
			t.Fatalf("cut at %d: %d batches, %v", cut, count, err)
		}
	}
}

func TestStampLeavesTheChecksumRight(t *testing.T) {
	one := build(t, metadata.CodecZstd, NoProducer, readings(3))
	Stamp(one, 1<<40, 77)
	h, err := Verify(one)
	if err != nil || h.BaseOffset != 1<<40 || h.LeaderEpoch != 77 || h.LastOffset() != 1<<40+2 || h.NextOffset() != 1<<40+3 {
		t.Errorf("%+v, %v", h, err)
	}
	if got := decode(t, one); got[2].Offset != 1<<40+2 {
		t.Errorf("record offset is %d", got[2].Offset)
	}
}

func TestCheckProduced(t *testing.T) {
	good, _ := ParseHeader(build(t, metadata.CodecNone, NoProducer, readings(3)))
	gap, empty, control := good, good, good
	gap.LastOffsetDelta++
	empty.Count, empty.LastOffsetDelta = 0, 0
	control.Attributes |= attrControl
	if err := good.CheckProduced(); err != nil {
		t.Error(err)
	}
	for name, h := range map[string]Header{"gap": gap, "empty": empty, "control": control} {
		if err := h.CheckProduced(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// section wraps a records section into a batch whose header and CRC are right.
func section(codec metadata.Codec, count, lastDelta int32, records []byte) []byte {
	b := make([]byte, HeaderLen, HeaderLen+len(records))
	b[posMagic] = magicV2
	be.PutUint16(b[posAttributes:], uint16(codec))
	be.PutUint32(b[posLastOffsetDelta:], uint32(lastDelta))
	be.PutUint32(b[posCount:], uint32(count))
	putProducer(b, NoProducer)
	b = append(b, records...)
	reseal(b)
	return b
}

// varints encodes numbers as the fields of a record, raw bytes as they are.
func varints(fields ...any) (b []byte) {
	for _, f := range fields {
		switch f := f.(type) {
		case int64:
			b = binary.AppendVarint(b, f)
		case int:
			b = binary.AppendVarint(b, int64(f))
		case string:
			b = append(b, f...)
		}
	}
	return b
}

// Each name is a way for the records inside a batch with a good CRC to be wrong:
// a producer's bug, or an attack. Nothing is skipped, nothing is guessed.
func TestMalformedRecords(t *testing.T) {
	// length, attributes, timestamp, offset, key, value, headers
	good := varints(6, "\x00", 0, 0, -1, -1, 0)
	second := varints(6, "\x00", 0, 1, -1, -1, 0)
	tooLong := string(slices.Repeat([]byte{0xff}, 10)) + "\x01"
	tests := []struct {
		name    string
		count   int32
		records []byte
	}{
		{"no records where one was promised", 1, nil},
		{"fewer records than promised", 2, good},
		{"more records than promised", 1, slices.Concat(good, second)},
		{"length negative", 1, varints(-6, "\x00", 0, 0, -1, -1, 0)},
		{"length too long", 1, varints(7, "\x00", 0, 0, -1, -1, 0)},
		{"length too short", 1, varints(5, "\x00", 0, 0, -1, -1, 0)},
		{"length zero", 1, varints(0)},
		{"length of more than five bytes", 1, varints(tooLong)},
		{"bytes behind the last field", 1, varints(7, "\x00", 0, 0, -1, -1, 0, "x")},
		{"two records with one offset", 2, slices.Concat(good, good)},
		{"offsets going down", 2, slices.Concat(second, good)},
		{"offset negative", 1, varints(6, "\x00", 0, -1, -1, -1, 0)},
		{"offset behind the last", 1, varints(6, "\x00", 0, 63, -1, -1, 0)},
		{"offset out of range", 1, varints(11, "\x00", 0, int64(1<<40), -1, -1, 0)},
		{"timestamp without end", 1, varints(13, "\x00", tooLong, 0)},
		{"key length below null", 1, varints(6, "\x00", 0, 0, -2, -1, 0)},
		{"key longer than the record", 1, varints(6, "\x00", 0, 0, 3, -1, 0)},
		{"value longer than the record", 1, varints(6, "\x00", 0, 0, -1, 60, 0)},
		{"header count negative", 1, varints(6, "\x00", 0, 0, -1, -1, -1)},
		{"header count without headers", 1, varints(6, "\x00", 0, 0, -1, -1, 1)},
		{"a billion headers", 1, varints(10, "\x00", 0, 0, -1, -1, 1<<30)},
		{"header key null", 1, varints(8, "\x00", 0, 0, -1, -1, 1, -1, -1)},
		{"header key cut short", 1, varints(8, "\x00", 0, 0, -1, -1, 1, 9, -1)},
		{"header value below null", 1, varints(8, "\x00", 0, 0, -1, -1, 1, 0, -2)},
	}
	if records, err := tryDecode(section(0, 2, 1, slices.Concat(good, second)), SizeMax); err != nil || len(records) != 2 {
		t.Fatalf("the good ones are not: %v", err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := section(metadata.CodecNone, test.count, 1, test.records)
			if _, err := Verify(b); err != nil {
				t.Fatal(err)
			}
			if records, err := tryDecode(b, SizeMax); !errors.Is(err, ErrMalformed) {
				t.Errorf("%d records, %v", len(records), err)
			}
		})
	}
}

// Compaction upstream may leave gaps between offsets.
func TestGapsBetweenOffsetsAreRead(t *testing.T) {
	b := section(metadata.CodecNone, 2, 9, varints(6, "\x00", 0, 2, -1, -1, 0, 6, "\x00", 0, 7, -1, -1, 0))
	records, err := tryDecode(b, SizeMax)
	if err != nil || len(records) != 2 || records[0].Offset != 2 || records[1].Offset != 7 {
		t.Errorf("%+v, %v", records, err)
	}
}

func TestLogAppendTimeIsTheTimeOfAllRecords(t *testing.T) {
	one := build(t, metadata.CodecNone, NoProducer, readings(3))
	one[posAttributes+1] |= attrLogAppendTime
	be.PutUint64(one[posMaxTimestamp:], 99)
	reseal(one)
	for _, r := range decode(t, one) {
		if r.Timestamp != 99 {
			t.Errorf("timestamp is %d", r.Timestamp)
		}
	}
}
