package shape

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// world is a log as it may lie on flash, and what has to leave of it.
type world struct {
	run     []byte
	want    []batch.Record // of the batches that are sound
	damaged []int64        // base offsets
}

// newWorld makes a log of batches of every kind. The reference is plain: records
// are decided first, stored after.
func newWorld(t testing.TB, rng *rand.Rand, o Options) *world {
	w := &world{}
	codecs := []metadata.Codec{metadata.CodecNone, metadata.CodecSnappy, metadata.CodecLZ4, metadata.CodecZstd}
	offset, epoch, at, unset := rng.Int64N(1000), int32(rng.IntN(5)), bootAt, rng.IntN(3) == 0
	for range 1 + rng.IntN(40) {
		switch rng.IntN(12) {
		case 0:
			offset += 1 + rng.Int64N(50)
		case 1:
			epoch++
		case 2:
			unset = !unset
		}
		records := randomRecords(rng, &at)
		name, wall := boot, rng.Int64N(1e9)
		if rng.IntN(4) == 0 {
			name = "other"
		}
		put := records
		if unset {
			put = unsetClock(records, name, wall)
		}
		one := stored(t, codecs[rng.IntN(len(codecs))], offset, epoch, unset, put)
		for i := range records {
			r := put[i]
			if unset && name == boot {
				r.Timestamp = records[i].Timestamp
			}
			r.Offset = offset + int64(i)
			if o.Identified {
				r.Headers = append(slices.Clip(r.Headers), batch.RecordHeader{Key: HeaderID, Value: fmt.Appendf(nil, "%s/%d/%d", o.Partition, epoch, r.Offset)})
			}
			records[i] = r
		}
		if rng.IntN(15) == 0 {
			one[batch.HeaderLen+rng.IntN(len(one)-batch.HeaderLen)] ^= byte(1 << rng.IntN(8))
			w.damaged = append(w.damaged, offset)
		} else {
			w.want = append(w.want, records...)
		}
		w.run = append(w.run, one...)
		offset += int64(len(records))
	}
	return w
}

// randomRecords are records that nobody would send, but may, taken from at on.
func randomRecords(rng *rand.Rand, at *int64) []batch.Record {
	n := 1 + rng.IntN(8)
	if rng.IntN(10) == 0 {
		n = 1 + rng.IntN(400)
	}
	records := make([]batch.Record, n)
	for i := range records {
		*at += rng.Int64N(100)
		records[i] = batch.Record{Timestamp: *at, Key: randomBytes(rng), Value: randomBytes(rng)}
		for range rng.IntN(4) {
			records[i].Headers = append(records[i].Headers, batch.RecordHeader{Key: string(randomBytes(rng)), Value: randomBytes(rng)})
		}
	}
	return records
}

// randomBytes are null, empty, repetitive or random.
func randomBytes(rng *rand.Rand) []byte {
	switch rng.IntN(6) {
	case 0:
		return nil
	case 1:
		return []byte{}
	case 2:
		return bytes.Repeat([]byte("ab"), rng.IntN(500))
	}
	b := make([]byte, rng.IntN(60))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// Whatever lies there: every sound record leaves once, in order, with its own
// offset and the right time, and what is damaged is named or stays damaged.
func TestWhatLeavesIsWhatLies(t *testing.T) {
	var shapers []*Shaper
	for _, r := range []*Rebatch{nil, {Bytes: BytesMin, Level: 1}, {Bytes: 20_000, Level: 3}, {Bytes: 100_000, Level: 6}, {}} {
		c := config(r)
		c.Now = func() time.Time { return time.UnixMilli(now + 1e12) }
		shapers = append(shapers, New(c))
	}
	for seed := range uint64(150) {
		rng := newRand(seed)
		o := Options{Partition: "site/stream/0", Identified: rng.IntN(3) == 0}
		w := newWorld(t, rng, o)
		got, damaged := drain(t, shapers[rng.IntN(len(shapers))], w.run, o)
		if !slices.Equal(damaged, w.damaged) {
			t.Fatalf("seed %d: damaged batches at %v, want %v", seed, damaged, w.damaged)
		}
		mustEqual(t, got, w.want)
	}
}

// drain makes all pieces of run, and returns the records of those that are valid
// and where the others begin.
func drain(t testing.TB, s *Shaper, run []byte, o Options) (records []batch.Record, damaged []int64) {
	t.Helper()
	for len(run) > 0 {
		p, err := s.Next(run, nil, o)
		if damage, ok := errors.AsType[*DamageError](err); ok {
			one, rest, _ := batch.Next(run)
			h, _ := batch.ParseHeader(one)
			if damage.FirstOffset != h.BaseOffset || damage.LastOffset != h.LastOffset() {
				t.Fatalf("%+v of a batch %+v", damage, h)
			}
			damaged, run = append(damaged, h.BaseOffset), rest
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		checkPiece(t, run, &p)
		if _, err := batch.Verify(p.Bytes); err != nil {
			damaged = append(damaged, p.Header.BaseOffset) // verbatim: upstream will say so
		} else {
			records = append(records, decode(t, p.Bytes)...)
		}
		run = run[p.Used:]
	}
	return records, damaged
}

// Many partitions use one Shaper.
func TestShaperIsShared(t *testing.T) {
	s := New(config(&Rebatch{Bytes: 20_000}))
	run, records := runOf(t, 60, 10)
	done := make(chan []batch.Record)
	const users = 8
	for range users {
		go func() {
			var got []batch.Record
			defer func() { done <- got }()
			scratch := make([]byte, 0, 20_000)
			for rest := run; len(rest) > 0; {
				p, err := s.Next(rest, scratch, Options{})
				if err != nil {
					t.Error(err)
					return
				}
				for r, err := range batch.Records(bytes.Clone(p.Bytes), 1<<20) {
					if err != nil {
						t.Error(err)
						return
					}
					got = append(got, r)
				}
				rest = rest[p.Used:]
			}
		}()
	}
	for range users {
		mustEqual(t, <-done, records)
	}
}

// However much goes through, a Shaper weighs the same.
func TestMemoryIsFlat(t *testing.T) {
	s := New(config(&Rebatch{Level: 1}))
	run, _ := runOf(t, 100, 20)
	scratch := make([]byte, 0, 256<<10)
	pass := func() {
		for rest := run; len(rest) > 0; {
			p, err := s.Next(rest, scratch, Options{})
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[p.Used:]
		}
	}
	pass()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC() // pools keep what they have over one
	runtime.ReadMemStats(&before)
	const passes = 50 // 22 MB of records
	for range passes {
		pass()
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("the heap has grown by %d KiB", grown>>10)
	}
	// Pools are emptied now and then, and under the race detector at random.
	if total := after.TotalAlloc - before.TotalAlloc; !raceEnabled && total > 10<<20 {
		t.Errorf("%d KiB allocated for %d KiB of batches", total>>10, passes*len(run)>>10)
	}
}
