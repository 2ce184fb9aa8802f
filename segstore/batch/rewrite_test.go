package batch

import (
	"bytes"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"cistern/gossip/metadata"
)

func randomRewrite(rng *rand.Rand) Rewrite {
	r := Rewrite{
		BaseOffset:    rng.Int64(),
		LeaderEpoch:   int32(rng.Uint32()),
		Producer:      Producer{ID: int64(rng.Uint64()), Epoch: int16(rng.Uint32()), Sequence: int32(rng.Uint32())},
		Transactional: rng.IntN(2) == 0,

		KeepClockUnset: rng.IntN(2) == 0,
	}
	if rng.IntN(2) == 0 {
		base, latest := int64(rng.Uint64()), int64(rng.Uint64())
		r.BaseTimestamp, r.MaxTimestamp = &base, &latest
	}
	return r
}

// rewriteInFull is what Rewrite must equal on a good batch: the same fields,
// and a CRC computed over everything.
func rewriteInFull(r Rewrite, b []byte) []byte {
	out := bytes.Clone(b)
	Stamp(out, r.BaseOffset, r.LeaderEpoch)
	attributes := be.Uint16(out[posAttributes:]) &^ (attrTransactional | attrLogAppendTime)
	if r.Transactional {
		attributes |= attrTransactional
	}
	if !r.KeepClockUnset {
		attributes &^= 1 << 15
	}
	be.PutUint16(out[posAttributes:], attributes)
	putProducer(out, r.Producer)
	if r.BaseTimestamp != nil {
		be.PutUint64(out[posBaseTimestamp:], uint64(*r.BaseTimestamp))
		be.PutUint64(out[posMaxTimestamp:], uint64(*r.MaxTimestamp))
	}
	reseal(out)
	return out
}

// reseal computes length and CRC anew.
func reseal(b []byte) {
	be.PutUint32(b[posLength:], uint32(len(b)-lengthEnd))
	be.PutUint32(b[posCRC:], crc32.Checksum(b[posAttributes:], castagnoli))
}

func TestRewriteEqualsFullRecompute(t *testing.T) {
	for seed := range uint64(300) {
		rng := newRand(seed)
		one := build(t, codecs[rng.IntN(len(codecs))], NoProducer, randomRecords(rng))
		if rng.IntN(4) == 0 {
			one[posAttributes+1] |= attrLogAppendTime
			reseal(one)
		}
		if rng.IntN(4) == 0 {
			one[posAttributes] |= 0x80
			reseal(one)
		}
		r := randomRewrite(rng)
		got, err := r.Apply([]byte("before"), one)
		if err != nil {
			t.Fatal(err)
		}
		if want := rewriteInFull(r, one); !bytes.Equal(got[len("before"):], want) {
			t.Fatalf("seed %d: header is\n%x, want\n%x", seed, got[6:6+HeaderLen], want[:HeaderLen])
		}
	}
}

// The reason for the algebra: a bit that rotted anywhere stays detected, even
// in a field that the rewrite replaces.
func TestRewriteKeepsRottenBitsDetected(t *testing.T) {
	one := build(t, metadata.CodecZstd, NoProducer, readings(20))
	r := Rewrite{Producer: Producer{ID: 42, Epoch: 1, Sequence: 7}, LeaderEpoch: -1}
	for bit := posCRC * 8; bit < len(one)*8; bit++ {
		rotten := bytes.Clone(one)
		rotten[bit/8] ^= 1 << (bit % 8)
		out, err := r.Apply(nil, rotten)
		if err != nil {
			continue // refused outright: an unknown codec, a control batch
		}
		if _, err := Verify(out); err == nil {
			t.Fatalf("bit %d of byte %d rotted, and the rewritten batch is valid", bit%8, bit/8)
		}
		if full := rewriteInFull(r, rotten); bit >= HeaderLen*8 {
			if _, err := Verify(full); err != nil {
				t.Fatal("a full recompute would not have hidden it: the test proves nothing")
			}
		}
	}
}

func TestRewriteThereAndBack(t *testing.T) {
	one := build(t, metadata.CodecLZ4, Producer{ID: 3, Epoch: 4, Sequence: 5}, readings(300))
	Stamp(one, 1000, 12)
	there, err := Rewrite{Producer: NoProducer, LeaderEpoch: -1, Transactional: true}.Apply(nil, one)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Rewrite{BaseOffset: 1000, LeaderEpoch: 12, Producer: Producer{ID: 3, Epoch: 4, Sequence: 5}}.Apply(nil, there)
	if err != nil || !bytes.Equal(back, one) {
		t.Errorf("the batch changed on the way (%v)", err)
	}
}

func TestRewriteRefusesControlBatches(t *testing.T) {
	one := build(t, metadata.CodecNone, NoProducer, readings(1))
	one[posAttributes+1] |= attrControl
	reseal(one)
	if _, err := (Rewrite{}).Apply(nil, one); !errors.Is(err, ErrMalformed) {
		t.Errorf("got %v", err)
	}
}

func TestRewriteAllocatesNothing(t *testing.T) {
	one := build(t, metadata.CodecZstd, NoProducer, readings(10))
	dst := make([]byte, 0, HeaderLen)
	if n := testing.AllocsPerRun(100, func() { Rewrite{}.AppendHeader(dst, one) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestShiftEqualsZeroBytes(t *testing.T) {
	rng := newRand(3)
	zeros := make([]byte, 70_000)
	for _, n := range []int{0, 1, 2, 255, 256, 257, 511, 65_535, 65_536, 69_999} {
		c := rng.Uint32()
		// crc32.Update inverts on both sides, shift on neither.
		if got, want := shift(c, n), ^crc32.Update(^c, castagnoli, zeros[:n]); got != want {
			t.Errorf("shift(%08x, %d) = %08x, want %08x", c, n, got, want)
		}
	}
	for _, n := range []int{1 << 20, 1 << 24, SizeMax} {
		c := rng.Uint32()
		if got, want := shift(c, n), shift(shift(c, n/2), n-n/2); got != want {
			t.Errorf("shift(%08x, %d) is not two half shifts", c, n)
		}
	}
}
