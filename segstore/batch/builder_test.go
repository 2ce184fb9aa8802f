package batch

import (
	"bytes"
	"errors"
	"math"
	"runtime/debug"
	"testing"

	"cistern/gossip/metadata"
)

func TestBuiltBatchesDecodeToTheirRecords(t *testing.T) {
	for seed := range uint64(200) {
		rng := newRand(seed)
		records := randomRecords(rng)
		codec := codecs[rng.IntN(len(codecs))]
		p := Producer{ID: rng.Int64(), Epoch: int16(rng.Uint32()), Sequence: rng.Int32()}
		one := build(t, codec, p, records)
		mustEqual(t, decode(t, one), records)

		h, _ := ParseHeader(one)
		latest := int64(math.MinInt64)
		for _, r := range records {
			latest = max(latest, r.Timestamp)
		}
		if h.Producer != p || h.MaxTimestamp != latest || h.BaseTimestamp != records[0].Timestamp ||
			int(h.Count) != len(records) || h.CheckProduced() != nil || h.LeaderEpoch != -1 {
			t.Fatalf("seed %d: header is %+v", seed, h)
		}
	}
}

func TestAppendToKeepsWhatIsBeforeIt(t *testing.T) {
	for _, codec := range codecs {
		b := NewBuilder(codec)
		records := readings(50)
		for i := range records {
			b.Append(&records[i])
		}
		alone, _ := b.AppendTo(nil, NoProducer)
		run, err := b.AppendTo([]byte("before"), NoProducer)
		if err != nil || !bytes.HasPrefix(run, []byte("before")) || !bytes.Equal(run[6:], alone) {
			t.Errorf("%s: appended batch differs from a batch of its own (%v)", codec, err)
		}
	}
}

func TestCompressionIsUsedOnlyWhereItHelps(t *testing.T) {
	noise := make([]byte, 1000)
	rng := newRand(1)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	plain := len(build(t, metadata.CodecNone, NoProducer, readings(100)))
	for _, codec := range codecs[1:] {
		one := build(t, codec, NoProducer, readings(100))
		if h, _ := ParseHeader(one); h.Codec() != codec || len(one) > plain/2 {
			t.Errorf("%s: codec %s, %d bytes of %d", codec, h.Codec(), len(one), plain)
		}
		one = build(t, codec, NoProducer, []Record{{Value: noise}})
		if h, _ := ParseHeader(one); h.Codec() != metadata.CodecNone {
			t.Errorf("%s: noise was stored as %s", codec, h.Codec())
		}
	}
}

func TestCallerMayReuseTheRecord(t *testing.T) {
	b := NewBuilder(metadata.CodecNone)
	value := []byte("first")
	r := Record{Value: value}
	b.Append(&r)
	copy(value, "other")
	one, _ := b.AppendTo(nil, NoProducer)
	if got := decode(t, one); string(got[0].Value) != "first" {
		t.Errorf("value is %q after the caller reused it", got[0].Value)
	}
}

func TestBatchNeverPassesTheLimit(t *testing.T) {
	for _, codec := range codecs {
		b := NewBuilder(codec)
		rng := newRand(2)
		appended, taken := 0, 0
		for batches := 0; batches < 3; appended++ {
			r := Record{Timestamp: randomTimestamp(rng), Value: make([]byte, rng.IntN(20_000))}
			for i := range r.Value {
				r.Value[i] = byte(rng.Uint32())
			}
			full, err := b.Append(&r)
			if err != nil {
				t.Fatal(err)
			}
			if !full {
				continue
			}
			one, err := b.AppendTo(nil, NoProducer)
			if err != nil || len(one) > metadata.BatchBytesMax || len(one) > b.Size() {
				t.Fatalf("%s: %d bytes, Size said %d, %v", codec, len(one), b.Size(), err)
			}
			taken += len(decode(t, one))
			batches++
			b.Reset()
			if full, err := b.Append(&r); full || err != nil {
				t.Fatalf("%s: a record that found no room does not fit an empty batch either: %v %v", codec, full, err)
			}
		}
		if taken+b.Count() != appended {
			t.Errorf("%s: %d records appended, %d kept", codec, appended, taken+b.Count())
		}
	}
}

// Whether a record is too large must not depend on the batch that it meets.
func TestLargestRecord(t *testing.T) {
	longest := metadata.BatchBytesMax - HeaderLen - overheadMax - payloadLen(&Record{Value: make([]byte, 100_000)}) + 100_000
	for _, before := range []int{0, 1} {
		b := NewBuilder(metadata.CodecNone)
		for range before {
			b.Append(&Record{})
		}
		full, err := b.Append(&Record{Timestamp: math.MinInt64, Value: make([]byte, longest)})
		if err != nil || full != (before > 0) {
			t.Errorf("after %d records, the longest: full %v, %v", before, full, err)
		}
		count := b.Count()
		full, err = b.Append(&Record{Value: make([]byte, longest+1)})
		if full || !errors.Is(err, ErrTooLarge) {
			t.Errorf("after %d records, one byte more: full %v, %v", before, full, err)
		}
		if b.Count() != count {
			t.Errorf("a refused record was counted")
		}
	}
}

func TestEmptyBuilderBuildsNothing(t *testing.T) {
	b := NewBuilder(metadata.CodecZstd)
	if out, err := b.AppendTo([]byte("x"), NoProducer); !errors.Is(err, ErrEmpty) || string(out) != "x" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestUnknownCodecIsRefused(t *testing.T) {
	b := NewBuilder(metadata.CodecGzip)
	b.Append(&Record{})
	if out, err := b.AppendTo([]byte("x"), NoProducer); err == nil || string(out) != "x" {
		t.Errorf("got %q, %v", out, err)
	}
}

// A builder that once held a large batch must not pin its buffer for ever.
func TestIdleBuilderIsSmall(t *testing.T) {
	for _, size := range []int{100, IdleBytesMax, 3 * IdleBytesMax, metadata.BatchBytesMax / 2} {
		b := NewBuilder(metadata.CodecNone)
		for range 3 {
			for b.Size() < size {
				b.Append(&Record{Value: make([]byte, 90)})
			}
			b.Reset()
			if cap(b.records) > IdleBytesMax || cap(b.own) > IdleBytesMax || b.pooled != nil {
				t.Errorf("after a batch of %d bytes an idle builder holds %d and %d", size, cap(b.records), cap(b.own))
			}
		}
	}
}

// Buffers move between builders: none may ever be in two hands.
func TestPooledBuffersAreNotShared(t *testing.T) {
	builders := make([]*Builder, 4)
	for i := range builders {
		builders[i] = NewBuilder(metadata.CodecNone)
	}
	for round := range 20 {
		for i, b := range builders {
			b.Reset()
			for b.Size() < 40_000*(1+(i+round)%4) {
				b.Append(&Record{Value: bytes.Repeat([]byte{byte(i)}, 500)})
			}
		}
		for i, b := range builders {
			one, _ := b.AppendTo(nil, NoProducer)
			for _, r := range decode(t, one) {
				if r.Value[0] != byte(i) || r.Value[499] != byte(i) {
					t.Fatalf("builder %d holds a record of builder %d", i, r.Value[0])
				}
			}
		}
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector empties pools at random")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it would empty the pools
	for _, records := range [][]Record{readings(100), readings(3000)} {
		for _, codec := range codecs {
			b := NewBuilder(codec)
			var dst []byte
			run := func() {
				for i := range records {
					b.Append(&records[i])
				}
				dst, _ = b.AppendTo(dst[:0], NoProducer)
				b.Reset()
			}
			run()
			if n := testing.AllocsPerRun(20, run); n > 0 {
				t.Errorf("%s: %v allocations per batch of %d records", codec, n, len(records))
			}
		}
	}
}
