package batch

import (
	"bytes"
	"compress/gzip"
	"errors"
	"runtime"
	"testing"

	"github.com/klauspost/compress/snappy/xerial"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"cistern/gossip/metadata"
)

// forms are all the ways in which a records section may come compressed: ours,
// and those of other clients.
var forms = []struct {
	name     string
	codec    metadata.Codec
	compress func([]byte) []byte
}{
	{"zstd, ours", metadata.CodecZstd, ours(metadata.CodecZstd)},
	{"zstd, streamed without its size", metadata.CodecZstd, func(b []byte) []byte {
		var out bytes.Buffer
		w, _ := zstd.NewWriter(&out)
		w.Write(b[:len(b)/2])
		w.Flush()
		w.Write(b[len(b)/2:])
		w.Close()
		return out.Bytes()
	}},
	{"lz4, ours", metadata.CodecLZ4, ours(metadata.CodecLZ4)},
	{"lz4, blocks of 4 MiB with checksums", metadata.CodecLZ4, func(b []byte) []byte {
		var out bytes.Buffer
		w := lz4.NewWriter(&out)
		w.Apply(lz4.BlockSizeOption(lz4.Block4Mb), lz4.BlockChecksumOption(true), lz4.ChecksumOption(true))
		w.Write(b)
		w.Close()
		return out.Bytes()
	}},
	{"snappy, plain as ours", metadata.CodecSnappy, ours(metadata.CodecSnappy)},
	{"snappy, framed as Java writes it", metadata.CodecSnappy, func(b []byte) []byte { return xerial.Encode(nil, b) }},
	{"gzip", metadata.CodecGzip, func(b []byte) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		w.Write(b)
		w.Close()
		return out.Bytes()
	}},
}

func ours(codec metadata.Codec) func([]byte) []byte {
	return func(b []byte) []byte {
		out, _, err := compress(codec, nil, nil, b)
		if err != nil {
			panic(err)
		}
		return out
	}
}

// repetitive is longer than a block of any codec, and compresses.
func repetitive(n int) []byte {
	return bytes.Repeat([]byte("record batch "), n/13+1)[:n]
}

func TestEveryFormIsRead(t *testing.T) {
	for _, form := range forms {
		for _, n := range []int{200, 5000, 300_000} {
			want := repetitive(n)
			got, err := decompress(form.codec, form.compress(want), n)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes came back as %d, %v", form.name, n, len(got), err)
			}
		}
	}
}

// A batch of some kilobytes may not fill the memory of a gateway.
func TestDecompressionIsBounded(t *testing.T) {
	const bomb, sizeMax = 12 << 20, 100_000
	for _, form := range forms {
		small := form.compress(repetitive(sizeMax + 1))
		if _, err := decompress(form.codec, small, sizeMax); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: one byte over the limit: %v", form.name, err)
		}
		b := form.compress(repetitive(bomb))
		used := allocated(func() {
			if _, err := decompress(form.codec, b, sizeMax); !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s: %v", form.name, err)
			}
		})
		// LZ4 blocks of 4 MiB and zstd windows of 8 MiB count as working memory.
		if used > 10<<20 {
			t.Errorf("%s: %d bytes allocated to find that %d are too many", form.name, used, bomb)
		}
	}
}

func TestBrokenCompressionIsMalformed(t *testing.T) {
	want := repetitive(70_000)
	for _, form := range forms {
		whole := form.compress(want)
		for _, cut := range []int{0, 1, 4, 7, len(whole) / 2, len(whole) - 1} {
			if got, err := decompress(form.codec, whole[:cut], 1<<20); err == nil && bytes.Equal(got, want) {
				t.Errorf("%s: cut at %d of %d, nothing noticed", form.name, cut, len(whole))
			} else if err != nil && !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: cut at %d: %v", form.name, cut, err)
			}
		}
		if _, err := decompress(form.codec, append(bytes.Clone(whole), "more"...), 1<<20); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: bytes after the end: %v", form.name, err)
		}
	}
}

func TestHugeClaimsAllocateNothing(t *testing.T) {
	claims := map[string]struct {
		codec metadata.Codec
		b     []byte
	}{
		"snappy block of 4 GiB":       {metadata.CodecSnappy, []byte("\xff\xff\xff\xff\x0f\x00")},
		"snappy block of 800 MB":      {metadata.CodecSnappy, []byte("\x80\x80\x80\xff\x02\x00")},
		"xerial block longer than it": {metadata.CodecSnappy, []byte(xerialMagic + "\x00\x00\x00\x01\x00\x00\x00\x01\x7f\xff\xff\xff")},
	}
	for name, c := range claims {
		used := allocated(func() {
			if _, err := decompress(c.codec, c.b, SizeMax); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %v", name, err)
			}
		})
		if used > 100_000 {
			t.Errorf("%s: %d bytes allocated", name, used)
		}
	}
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
