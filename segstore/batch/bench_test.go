package batch

import (
	"fmt"
	"testing"

	"cistern/gossip/metadata"
)

var sizes = []int{1, 16, 1000}

// BenchmarkBuild is one batch, from records to finished bytes.
func BenchmarkBuild(b *testing.B) {
	for _, codec := range codecs {
		for _, n := range sizes {
			b.Run(fmt.Sprintf("codec=%s/records=%d", codec, n), func(b *testing.B) {
				records := readings(n)
				builder := NewBuilder(codec)
				var dst []byte
				b.ReportAllocs()
				for b.Loop() {
					for i := range records {
						builder.Append(&records[i])
					}
					dst, _ = builder.AppendTo(dst[:0], NoProducer)
					builder.Reset()
				}
				perRecord(b, n)
				b.ReportMetric(float64(len(dst))/float64(n), "B/record")
			})
		}
	}
}

// BenchmarkDecode iterates over all records of one batch.
func BenchmarkDecode(b *testing.B) {
	for _, codec := range codecs {
		for _, n := range sizes {
			b.Run(fmt.Sprintf("codec=%s/records=%d", codec, n), func(b *testing.B) {
				one := build(b, codec, NoProducer, readings(n))
				b.ReportAllocs()
				for b.Loop() {
					for _, err := range Records(one, metadata.BatchBytesMax) {
						if err != nil {
							b.Fatal(err)
						}
					}
				}
				perRecord(b, n)
			})
		}
	}
}

// BenchmarkVerify grows with the batch; BenchmarkRewrite must not.
func BenchmarkVerify(b *testing.B) {
	forSizes(b, func(b *testing.B, one []byte) {
		b.SetBytes(int64(len(one)))
		for b.Loop() {
			if _, err := Verify(one); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRewrite(b *testing.B) {
	r := Rewrite{Producer: Producer{ID: 42, Epoch: 1, Sequence: 1000}, LeaderEpoch: -1}
	forSizes(b, func(b *testing.B, one []byte) {
		dst := make([]byte, 0, HeaderLen)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.AppendHeader(dst, one); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func forSizes(b *testing.B, run func(*testing.B, []byte)) {
	for _, size := range []int{200, 16 << 10, metadata.BatchBytesMax - 100} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			run(b, build(b, metadata.CodecNone, NoProducer, []Record{{Value: make([]byte, size-HeaderLen-12)}}))
		})
	}
}

func perRecord(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
}
