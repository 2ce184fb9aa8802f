package shape

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// The machine of most tests was started at bootAt, and it is now now.
const (
	bootAt = int64(1_790_000_000_000)
	now    = bootAt + 3_600_000
	boot   = "b007"
)

// known is a table of boots with one in it.
func known(name string) (int64, bool) { return bootAt, name == boot }

func config(r *Rebatch) Config {
	return Config{Rebatch: r, BootAt: known, Now: func() time.Time { return time.UnixMilli(now) }}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 17)) }

// readings are records as machines send them, the first of them number first.
func readings(first, n int) []batch.Record {
	rng := newRand(uint64(first))
	records := make([]batch.Record, n)
	for i := range records {
		at, device := bootAt+int64(first+i)*40+rng.Int64N(15), (first+i)%25
		records[i] = batch.Record{
			Timestamp: at,
			Key:       fmt.Appendf(nil, "plant-7/line-%d/press-%02d/telemetry", device/5, device),
			Value: fmt.Appendf(nil, `{"ts":%q,"device":"press-%02d","temperature":%.2f,"pressure":%.3f,"vibration":{"x":%.4f,"y":%.4f,"z":%.4f},"state":"running","count":%d}`,
				time.UnixMilli(at).UTC().Format("2006-01-02T15:04:05.000Z"), device, 60+5*math.Sin(float64(first+i)/200)+rng.NormFloat64()/5,
				4.2+rng.NormFloat64()/50, rng.NormFloat64()/10, rng.NormFloat64()/10, rng.NormFloat64()/10, 100_000+(first+i)/25),
			Headers: []batch.RecordHeader{{Key: "cistern.site", Value: []byte("plant-7")}},
		}
	}
	return records
}

// stored is a batch as it lies on flash.
func stored(t testing.TB, codec metadata.Codec, base int64, epoch int32, unset bool, records []batch.Record) []byte {
	t.Helper()
	b := batch.NewBuilder(codec)
	for i := range records {
		if full, err := b.Append(&records[i]); full || err != nil {
			t.Fatal(full, err)
		}
	}
	if unset {
		b.MarkClockUnset()
	}
	one, err := b.AppendTo(nil, batch.NoProducer)
	if err != nil {
		t.Fatal(err)
	}
	batch.Stamp(one, base, epoch)
	return one
}

// unsetClock turns records into such as were taken before the clock was set: it
// showed wall ms at boot.
func unsetClock(records []batch.Record, boot string, wall int64) []batch.Record {
	out := slices.Clone(records)
	for i := range out {
		monotonic := out[i].Timestamp - bootAt
		out[i].Timestamp = wall + monotonic
		out[i].Headers = append(slices.Clip(out[i].Headers), batch.RecordHeader{Key: batch.HeaderClock, Value: batch.AppendClockMark(nil, boot, monotonic)})
	}
	return out
}

// runOf is n stored batches of size records each.
func runOf(t testing.TB, n, size int) (run []byte, records []batch.Record) {
	for i := range n {
		part := readings(i*size, size)
		run = append(run, stored(t, metadata.CodecZstd, int64(i*size), 3, false, part)...)
		records = append(records, part...)
	}
	for i := range records {
		records[i].Offset = int64(i)
	}
	return run, records
}

// pieces makes all pieces of run, and checks what holds for any.
func pieces(t testing.TB, s *Shaper, run []byte, o Options) (all []Piece) {
	t.Helper()
	for len(run) > 0 {
		p := next(t, s, run, o)
		all = append(all, p)
		run = run[p.Used:]
	}
	return all
}

func next(t testing.TB, s *Shaper, run []byte, o Options) Piece {
	t.Helper()
	before := bytes.Clone(run)
	p, err := s.Next(run, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(run, before) {
		t.Fatal("the run was changed")
	}
	checkPiece(t, run, &p)
	return p
}

func checkPiece(t testing.TB, run []byte, p *Piece) {
	t.Helper()
	h, err := batch.ParseHeader(p.Bytes)
	if err != nil || h != p.Header || h.Size() != len(p.Bytes) {
		t.Fatalf("%d bytes with header %+v, told as %+v, %v", len(p.Bytes), h, p.Header, err)
	}
	if p.Used < batch.HeaderLen || p.Used > len(run) || len(p.Bytes) > max(metadata.BatchBytesMax, p.Used) {
		t.Fatalf("a piece of %d bytes of %d of %d", len(p.Bytes), p.Used, len(run))
	}
	if !p.Copied && (&p.Bytes[0] != &run[0] || len(p.Bytes) != p.Used) {
		t.Fatal("a verbatim piece is not the run's own")
	}
	first, _ := batch.ParseHeader(run)
	if h.BaseOffset != first.BaseOffset || h.LeaderEpoch != first.LeaderEpoch {
		t.Fatalf("the piece begins at %d of epoch %d, the run at %d of %d", h.BaseOffset, h.LeaderEpoch, first.BaseOffset, first.LeaderEpoch)
	}
}

// decode returns the records of one, which must be valid.
func decode(t testing.TB, one []byte) (records []batch.Record) {
	t.Helper()
	h, err := batch.Verify(one)
	if err == nil {
		err = h.CheckProduced()
	}
	if err != nil {
		t.Fatal(err)
	}
	for r, err := range batch.Records(one, batch.SizeMax) {
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	return records
}

func decodeAll(t testing.TB, all []Piece) (records []batch.Record) {
	t.Helper()
	for _, p := range all {
		records = append(records, decode(t, p.Bytes)...)
	}
	return records
}

func mustEqual(t testing.TB, got, want []batch.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range got {
		if !equal(&got[i], &want[i]) {
			t.Fatalf("record %d is\n%.300v, want\n%.300v", i, fmt.Sprint(got[i]), fmt.Sprint(want[i]))
		}
	}
}

func equal(a, b *batch.Record) bool {
	return a.Offset == b.Offset && a.Timestamp == b.Timestamp && same(a.Key, b.Key) && same(a.Value, b.Value) &&
		slices.EqualFunc(a.Headers, b.Headers, func(x, y batch.RecordHeader) bool { return x.Key == y.Key && same(x.Value, y.Value) })
}

// same tells null from empty.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
