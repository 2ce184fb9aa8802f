package batch

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"cistern/gossip/metadata"
)

// Encoders are shared by all builders, because one weighs more than an idle
// partition may: pools hand them out, and the garbage collector takes back what
// was not used for a while.
var (
	zstdEncoders   = sync.Pool{New: newZstdEncoder}
	lz4Compressors = sync.Pool{New: func() any { return new(lz4.Compressor) }}
)

// zstdWindow is how far back zstd looks for repetitions. Records of one batch
// resemble their neighbours, so more would cost memory here and at every reader
// and find little.
const zstdWindow = 128 << 10

func newZstdEncoder() any {
	e, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(zstdWindow),
		zstd.WithEncoderConcurrency(1), // of this encoder; the pool holds one per busy caller
		zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderCRC(false)) // the batch has its own
	if err != nil {
		panic(err) // unreachable: the options are constants
	}
	return e
}

// compress appends src to dst, compressed, and reports whether that made it any
// shorter. When it did not, dst comes back as it was. level is for zstd only;
// nil is the fastest.
func compress(codec metadata.Codec, level *Level, dst, src []byte) (_ []byte, shorter bool, err error) {
	start := len(dst)
	switch codec {
	case metadata.CodecNone:
		return dst, false, nil
	case metadata.CodecZstd:
		if level != nil {
			dst = level.encoder.EncodeAll(src, dst)
			break
		}
		e := zstdEncoders.Get().(*zstd.Encoder)
		dst = e.EncodeAll(src, dst)
		zstdEncoders.Put(e)
	case metadata.CodecLZ4:
		dst, err = appendLZ4(dst, src)
	case metadata.CodecSnappy:
		dst = appendSnappy(dst, src)
	default:
		err = fmt.Errorf("codec %s is never written", codec)
	}
	if err != nil || len(dst)-start >= len(src) {
		return dst[:start], false, err
	}
	return dst, true, nil
}

// appendSnappy writes one plain block, as librdkafka and franz-go do. Java
// writes a frame of 32 KiB blocks around it (xerial) and reads both; the plain
// form is smaller, and says its size before anyone allocates for it.
func appendSnappy(dst, src []byte) []byte {
	start := len(dst)
	dst = slices.Grow(dst, snappy.MaxEncodedLen(len(src)))
	block := snappy.Encode(dst[start:cap(dst)], src)
	return dst[:start+len(block)]
}

// The LZ4 frame that is written: independent blocks of at most 64 KiB, without
// checksums of its own (the batch has one). That is what Kafka's clients write,
// and it keeps a reader's buffer small. The header is always the same, which
// makes its checksum byte a constant too.
const (
	lz4FrameHeader = "\x04\x22\x4d\x18" + // magic
		"\x60" + // version 1, independent blocks
		"\x40" + // blocks of at most 64 KiB
		"\x82" // second byte of the XXH32 of the two bytes before
	lz4BlockMax  = 64 << 10
	lz4BlockRaw  = 1 << 31 // bit of a block's size: stored as it was
	lz4BlockSize = 4       // bytes of that size; zero ends the frame
)

func appendLZ4(dst, src []byte) ([]byte, error) {
	c := lz4Compressors.Get().(*lz4.Compressor)
	defer lz4Compressors.Put(c)
	blocks := (len(src) + lz4BlockMax - 1) / lz4BlockMax
	dst = slices.Grow(dst, len(lz4FrameHeader)+len(src)+(blocks+1)*lz4BlockSize)
	dst = append(dst, lz4FrameHeader...)
	for block := range slices.Chunk(src, lz4BlockMax) {
		at := len(dst) + lz4BlockSize
		// No room to grow: a block that does not shrink is stored as it is.
		n, err := c.CompressBlock(block, dst[at:at+len(block)])
		if err != nil || n == 0 || n >= len(block) {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(len(block))|lz4BlockRaw)
			dst = append(dst, block...)
			continue
		}
		dst = binary.LittleEndian.AppendUint32(dst, uint32(n))
		dst = dst[:at+n]
	}
	return append(dst, 0, 0, 0, 0), nil
}
