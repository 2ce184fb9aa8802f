package batch

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"cistern/gossip/metadata"
)

var (
	zstdDecoders = sync.Pool{New: newZstdDecoder}
	lz4Readers   = sync.Pool{New: func() any { return lz4.NewReader(nil) }}
)

// zstdWindowMax is the largest window that is worth its memory: what every
// decoder should bear, by RFC 8878. It matters only to frames that don't say
// their size.
const zstdWindowMax = 8 << 20

func newZstdDecoder() any {
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(zstdWindowMax),
		zstd.WithDecodeAllCapLimit(true)) // never past the buffer it is given
	if err != nil {
		panic(err) // unreachable: the options are constants
	}
	return d
}

// decompress returns src decompressed into a new buffer of at most sizeMax
// bytes, or src itself if there is nothing to do.
func decompress(codec metadata.Codec, src []byte, sizeMax int) ([]byte, error) {
	return decompressTo(nil, codec, src, sizeMax)
}

// decompressTo is decompress that uses buf again where it can: for zstd, when
// the frame says its size and buf has that much.
func decompressTo(buf []byte, codec metadata.Codec, src []byte, sizeMax int) (out []byte, err error) {
	switch codec {
	case metadata.CodecNone:
		if len(src) > sizeMax {
			return nil, tooLarge(sizeMax)
		}
		return src, nil
	case metadata.CodecZstd:
		out, err = decompressZstd(buf, src, sizeMax)
	case metadata.CodecLZ4:
		out, err = decompressLZ4(src, sizeMax)
	case metadata.CodecSnappy:
		out, err = decompressSnappy(src, sizeMax)
	case metadata.CodecGzip:
		out, err = decompressGzip(src, sizeMax)
	default:
		err = errors.New("unknown codec")
	}
	if err != nil && !errors.Is(err, ErrTooLarge) {
		err = fmt.Errorf("%w: %s: %w", ErrMalformed, codec, err)
	}
	return out, err
}

func tooLarge(sizeMax int) error {
	return fmt.Errorf("%w: its records take more than %d bytes", ErrTooLarge, sizeMax)
}

// Buffers for output of unknown size start at a multiple of the input, and grow
// by that factor as the output comes, up to sizeMax.
const (
	decompressGrowth = 4
	decompressMin    = 512
)

func firstGuess(src []byte, sizeMax int) int {
	return min(sizeMax, max(decompressMin, growth(len(src), sizeMax)))
}

func growth(size, sizeMax int) int {
	if size > sizeMax/decompressGrowth {
		return sizeMax
	}
	return size * decompressGrowth
}

// decompressZstd takes the usual way for a frame that says its size, as ours do,
// and otherwise reads it as a stream, with a decoder of its own: such a decoder
// has grown by a window when it is done, and should not wait in a pool.
func decompressZstd(buf, src []byte, sizeMax int) ([]byte, error) {
	var frame zstd.Header
	if err := frame.Decode(src); err != nil {
		return nil, err
	}
	if !frame.HasFCS {
		d := newZstdDecoder().(*zstd.Decoder)
		defer d.Close()
		if err := d.Reset(bytes.NewReader(src)); err != nil {
			return nil, err
		}
		return readBounded(d, firstGuess(src, sizeMax), sizeMax)
	}
	if frame.FrameContentSize > uint64(sizeMax) {
		return nil, tooLarge(sizeMax)
	}
	d := zstdDecoders.Get().(*zstd.Decoder)
	defer zstdDecoders.Put(d)
	size := max(1, int(frame.FrameContentSize))
	if cap(buf) < size {
		buf = make([]byte, 0, size)
	}
	return d.DecodeAll(src, buf[:0:size])
}

// SectionSize returns the size of a whole batch's records section before
// compression, where that can be told without decompressing; else a guess.
func SectionSize(b []byte) int {
	if len(b) < HeaderLen {
		return 0
	}
	section := b[HeaderLen:]
	switch metadata.Codec(be.Uint16(b[posAttributes:]) & attrCodecMask) {
	case metadata.CodecNone:
		return len(section)
	case metadata.CodecZstd:
		var frame zstd.Header
		if err := frame.Decode(section); err == nil && frame.HasFCS {
			return int(min(frame.FrameContentSize, SizeMax))
		}
	case metadata.CodecSnappy:
		if size, err := snappy.DecodedLen(section); err == nil && !bytes.HasPrefix(section, []byte(xerialMagic)) {
			return min(size, SizeMax)
		}
	}
	return growth(len(section), SizeMax)
}

// lz4Magic begins the only kind of frame that Kafka's clients write: the
// library would also take the legacy kind, and skip frames of user data.
const lz4Magic = "\x04\x22\x4d\x18"

func decompressLZ4(src []byte, sizeMax int) ([]byte, error) {
	if !bytes.HasPrefix(src, []byte(lz4Magic)) {
		return nil, errors.New("no frame header")
	}
	in := bytes.NewReader(src)
	r := lz4Readers.Get().(*lz4.Reader)
	r.Reset(in)
	defer func() {
		r.Reset(nil)
		lz4Readers.Put(r)
	}()
	return readBounded(r, firstGuess(src, sizeMax), sizeMax)
}

func decompressGzip(src []byte, sizeMax int) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(src))
	if err != nil {
		return nil, err
	}
	return readBounded(r, firstGuess(src, sizeMax), sizeMax)
}

// readBounded reads r to its end, which must come within sizeMax bytes.
func readBounded(r io.Reader, guess, sizeMax int) ([]byte, error) {
	out := make([]byte, 0, guess)
	for {
		if len(out) == cap(out) {
			// One byte more than allowed, to see whether it is there.
			out = slices.Grow(out, growth(cap(out), sizeMax)+1-len(out))
		}
		n, err := r.Read(out[len(out):cap(out)])
		out = out[:len(out)+n]
		switch {
		case len(out) > sizeMax:
			return nil, tooLarge(sizeMax)
		case err == io.EOF:
			return out, nil
		case err != nil:
			return nil, err
		}
	}
}

// xerialMagic begins the frame that the Java client writes around Snappy
// blocks: magic, two int32 versions, then blocks, each after its int32 length.
// No plain block begins like it: it would begin by copying what is not there.
const (
	xerialMagic  = "\x82SNAPPY\x00"
	xerialHeader = len(xerialMagic) + 8
)

func decompressSnappy(src []byte, sizeMax int) ([]byte, error) {
	if !bytes.HasPrefix(src, []byte(xerialMagic)) {
		return appendSnappyBlock(nil, src, sizeMax)
	}
	if len(src) < xerialHeader {
		return nil, io.ErrUnexpectedEOF
	}
	out := make([]byte, 0, firstGuess(src, sizeMax))
	for src = src[xerialHeader:]; len(src) > 0; {
		if len(src) < 4 {
			return nil, io.ErrUnexpectedEOF
		}
		size := binary.BigEndian.Uint32(src)
		if src = src[4:]; uint64(size) > uint64(len(src)) {
			return nil, io.ErrUnexpectedEOF
		}
		var err error
		if out, err = appendSnappyBlock(out, src[:size], sizeMax); err != nil {
			return nil, err
		}
		src = src[size:]
	}
	return out, nil
}

// snappyRatioMax is more than a plain block can shrink: its densest element
// makes 64 bytes of 3.
const snappyRatioMax = 22

func appendSnappyBlock(dst, block []byte, sizeMax int) ([]byte, error) {
	size, err := snappy.DecodedLen(block)
	if err != nil {
		return nil, err
	}
	if size/snappyRatioMax > len(block) {
		return nil, errors.New("claims more than its bytes can say")
	}
	if size > sizeMax-len(dst) {
		return nil, tooLarge(sizeMax)
	}
	if len(dst)+size > cap(dst) {
		dst = slices.Grow(dst, max(size, growth(len(dst), sizeMax)-len(dst)))
	}
	out, err := snappy.Decode(dst[len(dst):len(dst)+size], block)
	if err != nil {
		return nil, err
	}
	return dst[:len(dst)+len(out)], nil
}
