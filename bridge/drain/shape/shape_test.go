package shape

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

func TestNilSendsAsItIs(t *testing.T) {
	run, records := runOf(t, 3, 4)
	var s *Shaper
	all := pieces(t, s, run, Options{})
	if len(all) != 3 || all[0].Copied {
		t.Fatalf("%d pieces", len(all))
	}
	mustEqual(t, decodeAll(t, all), records)
	if s.Linger(run, time.Now(), time.Now()) != 0 || s.Reach() != 0 || s.Stats() != (Stats{}) {
		t.Error("a nil Shaper waits, reads on, or counts")
	}
	if _, err := s.Next(nil, nil, Options{}); !errors.Is(err, batch.ErrTruncated) {
		t.Errorf("of nothing: %v", err)
	}
}

func TestSmallBatchesAreMerged(t *testing.T) {
	run, records := runOf(t, 40, 5)
	s := New(config(&Rebatch{}))
	all := pieces(t, s, run, Options{})
	if len(all) != 1 || !all[0].Copied || all[0].Header.Codec() != metadata.CodecZstd {
		t.Fatalf("%d pieces, %+v", len(all), all[0].Header)
	}
	mustEqual(t, decodeAll(t, all), records)
	h := all[0].Header
	if h.Count != 200 || h.MaxTimestamp < h.BaseTimestamp || h.ClockUnset() {
		t.Errorf("%+v", h)
	}
	if got, want := s.Stats(), (Stats{Merged: 40, MergedBytes: int64(len(run)), Pieces: 1, PieceBytes: int64(len(all[0].Bytes))}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

// What ends a merged batch.
func TestMergingStops(t *testing.T) {
	type part struct {
		base  int64
		n     int
		epoch int32
		unset bool
	}
	for name, tc := range map[string]struct {
		parts []part
		want  []int32 // records of each piece
	}{
		"nothing":           {[]part{{0, 5, 1, false}, {5, 5, 1, false}}, []int32{10}},
		"another epoch":     {[]part{{0, 5, 1, false}, {5, 5, 2, false}, {10, 1, 2, false}}, []int32{5, 6}},
		"a hole":            {[]part{{0, 5, 1, false}, {6, 5, 1, false}, {11, 1, 1, false}}, []int32{5, 6}},
		"a step back":       {[]part{{10, 5, 1, false}, {3, 5, 1, false}}, []int32{5, 5}},
		"the clock was set": {[]part{{0, 5, 1, true}, {5, 5, 1, true}, {10, 5, 1, false}, {15, 1, 1, false}}, []int32{10, 6}},
		"a large one":       {[]part{{0, 5, 1, false}, {5, 5, 1, false}, {10, 300, 1, false}, {310, 1, 1, false}, {311, 1, 1, false}}, []int32{10, 300, 2}},
		"full":              {[]part{{0, 100, 1, false}, {100, 100, 1, false}, {200, 100, 1, false}}, []int32{200, 100}},
	} {
		t.Run(name, func(t *testing.T) {
			var run []byte
			var want []batch.Record
			for _, p := range tc.parts {
				records := readings(int(p.base), p.n)
				for i := range records {
					records[i].Offset = p.base + int64(i)
				}
				put := records
				if p.unset {
					put = unsetClock(records, boot, 5000)
					for i := range records {
						records[i].Headers = put[i].Headers
					}
				}
				run = append(run, stored(t, metadata.CodecSnappy, p.base, p.epoch, p.unset, put)...)
				want = append(want, records...)
			}
			all := pieces(t, New(config(&Rebatch{Bytes: 64 << 10})), run, Options{})
			var counts []int32
			for _, p := range all {
				counts = append(counts, p.Header.Count)
			}
			if !slices.Equal(counts, tc.want) {
				t.Fatalf("pieces of %v records, want %v", counts, tc.want)
			}
			mustEqual(t, decodeAll(t, all), want)
		})
	}
}

func TestMergedBatchKeepsItsLimits(t *testing.T) {
	run, records := runOf(t, 120, 20)
	for _, bytesMax := range []int{1, BytesMin, 10_000, 100_000, 1 << 30} {
		s := New(config(&Rebatch{Bytes: bytesMax}))
		limit := min(max(bytesMax, BytesMin), metadata.BatchBytesMax)
		all := pieces(t, s, run, Options{})
		for i, p := range all {
			size := batch.HeaderLen + batch.SectionSize(p.Bytes)
			if size > limit && p.Copied {
				t.Errorf("%d allowed: a piece of %d bytes", limit, size)
			}
			if size < limit/3 && i < len(all)-1 {
				t.Errorf("%d allowed: a piece of only %d bytes", limit, size)
			}
		}
		mustEqual(t, decodeAll(t, all), records)
	}
	var tiny []byte
	one := stored(t, metadata.CodecNone, 0, 0, false, []batch.Record{{}})
	for i := range RecordsMax + 10 {
		batch.Stamp(one, int64(i), 0)
		tiny = append(tiny, one...)
	}
	if p := next(t, New(config(&Rebatch{Bytes: 1 << 20})), tiny, Options{}); p.Header.Count != RecordsMax {
		t.Errorf("%d records in one", p.Header.Count)
	}
}

// A damaged batch is named; what lies before it leaves first.
func TestDamage(t *testing.T) {
	parts := [][]byte{}
	for i := range 5 {
		parts = append(parts, stored(t, metadata.CodecZstd, int64(i*10), 1, false, readings(i*10, 10)))
	}
	parts[2][len(parts[2])-1] ^= 1
	run := slices.Concat(parts...)
	for name, o := range map[string]Options{"merged": {}, "identified": {Identified: true, Partition: "s/t/0"}} {
		t.Run(name, func(t *testing.T) {
			s := New(config(&Rebatch{}))
			p := next(t, s, run, o)
			if p.Header.Count != 20 {
				t.Fatalf("%d records before the damage", p.Header.Count)
			}
			_, err := s.Next(run[p.Used:], nil, o)
			damage, ok := errors.AsType[*DamageError](err)
			if !ok || damage.FirstOffset != 20 || damage.LastOffset != 29 || !errors.Is(err, batch.ErrChecksum) {
				t.Fatalf("%v", err)
			}
			rest := run[p.Used+len(parts[2]):]
			if p := next(t, s, rest, o); p.Header.BaseOffset != 30 || p.Header.Count != 20 {
				t.Errorf("behind it: %+v", p.Header)
			}
		})
	}
	t.Run("alone before it", func(t *testing.T) {
		s := New(config(&Rebatch{}))
		if p := next(t, s, run[len(parts[0]):], Options{}); p.Copied || !bytes.Equal(p.Bytes, parts[1]) || s.Stats() != (Stats{}) {
			t.Errorf("the batch before the damage was made anew: %+v, %+v", p.Header, s.Stats())
		}
	})
	t.Run("verbatim", func(t *testing.T) {
		p, err := New(config(nil)).Next(parts[2], nil, Options{})
		if err != nil || !bytes.Equal(p.Bytes, parts[2]) {
			t.Errorf("a batch that need not be read was: %v", err)
		}
	})
}

func TestIdentified(t *testing.T) {
	run, records := runOf(t, 3, 7)
	for i := range records {
		records[i].Headers = append(slices.Clip(records[i].Headers), batch.RecordHeader{Key: HeaderID, Value: fmt.Appendf(nil, "north/mqtt/4/3/%d", i)})
	}
	o := Options{Partition: "north/mqtt/4", Identified: true}
	for name, tc := range map[string]struct {
		s    *Shaper
		want int
	}{"nil": {nil, 3}, "one by one": {New(config(nil)), 3}, "merged": {New(config(&Rebatch{})), 1}} {
		t.Run(name, func(t *testing.T) {
			all := pieces(t, tc.s, run, o)
			if len(all) != tc.want {
				t.Errorf("%d pieces", len(all))
			}
			mustEqual(t, decodeAll(t, all), records)
			again := pieces(t, tc.s, run, o)
			for i := range all {
				if !bytes.Equal(all[i].Bytes, again[i].Bytes) {
					t.Error("sent again, it is another batch")
				}
			}
		})
	}
}

// A batch as large as can be has no room for ids in its own codec, or in any.
func TestIdentifiedLarge(t *testing.T) {
	o := Options{Partition: strings.Repeat("x", 100), Identified: true}
	rng := newRand(5)
	full := func(value func() []byte) []byte {
		b := batch.NewBuilder(metadata.CodecNone)
		for {
			full, err := b.Append(&batch.Record{Timestamp: rng.Int64N(1 << 50), Value: value()})
			if err != nil {
				t.Fatal(err)
			}
			if full {
				one, err := b.AppendTo(nil, batch.NoProducer)
				if err != nil {
					t.Fatal(err)
				}
				return one
			}
		}
	}
	s := New(config(nil))
	plain := full(func() []byte { return bytes.Repeat([]byte("a"), 500) })
	p := next(t, s, plain, o)
	if !p.Copied || p.Header.Codec() != metadata.CodecZstd || len(decode(t, p.Bytes)[0].Headers) != 1 {
		t.Errorf("%+v", p.Header)
	}
	for name, size := range map[string]int{"too many": 1, "too dense": 60} {
		noise := full(func() []byte {
			b := make([]byte, size)
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			return b
		})
		before := s.Stats().Unidentified
		if p := next(t, s, noise, o); p.Copied || s.Stats().Unidentified != before+1 {
			t.Errorf("%s: a piece of %d bytes, %+v", name, len(p.Bytes), s.Stats())
		}
	}
}

func TestLinger(t *testing.T) {
	small, _ := runOf(t, 3, 5)
	large, _ := runOf(t, 1, 1000)
	full, _ := runOf(t, 30, 40)
	epochs := append(stored(t, metadata.CodecZstd, 0, 1, false, readings(0, 2)), stored(t, metadata.CodecZstd, 2, 2, false, readings(2, 2))...)
	clocks := append(stored(t, metadata.CodecZstd, 0, 1, true, readings(0, 2)), stored(t, metadata.CodecZstd, 2, 1, false, readings(2, 2))...)
	s := New(config(&Rebatch{Linger: time.Second}))
	at := time.UnixMilli(now)
	for name, tc := range map[string]struct {
		s      *Shaper
		run    []byte
		waited time.Duration
		want   time.Duration
	}{
		"just come":      {s, small, 0, time.Second},
		"a while ago":    {s, small, 700 * time.Millisecond, 300 * time.Millisecond},
		"long ago":       {s, small, time.Minute, 0},
		"in the future":  {s, small, -time.Hour, time.Second},
		"a large one":    {s, large, 0, 0},
		"full":           {s, full, 0, 0},
		"another epoch":  {s, epochs, 0, 0},
		"another clock":  {s, clocks, 0, 0},
		"nothing":        {s, nil, 0, 0},
		"no linger":      {New(config(&Rebatch{})), small, 0, 0},
		"no re-batching": {New(config(nil)), small, 0, 0},
	} {
		if got := tc.s.Linger(tc.run, at.Add(-tc.waited), at); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

func TestScratchIsUsed(t *testing.T) {
	run, _ := runOf(t, 10, 5)
	scratch := make([]byte, 0, 64<<10)
	p, err := New(config(&Rebatch{})).Next(run, scratch, Options{})
	if err != nil || &p.Bytes[0] != &scratch[:1][0] {
		t.Errorf("the piece lies elsewhere (%v)", err)
	}
}
