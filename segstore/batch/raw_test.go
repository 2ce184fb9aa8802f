package batch

import (
	"bytes"
	"io"
	"slices"
	"testing"

	"cistern/gossip/metadata"
)

// move moves the records of b to a batch of its own, with extra added to each;
// nil when there are none or they take too much.
func move(b []byte, sizeMax int, extra *RecordHeader) ([]byte, error) {
	var r RawReader
	if err := r.Reset(b, sizeMax); err != nil {
		return nil, err
	}
	builder := NewBuilder(metadata.CodecNone)
	var raw Raw
	fits := true
	for {
		switch err := r.Next(&raw); {
		case err == io.EOF && (!fits || builder.Count() == 0):
			return nil, nil
		case err == io.EOF:
			return builder.AppendTo(nil, NoProducer)
		case err != nil:
			return nil, err
		}
		fits = fits && builder.AppendRaw(&raw, extra, BuilderBytesMax)
	}
}

func TestRawRecordsMove(t *testing.T) {
	for seed := range uint64(100) {
		rng := newRand(seed)
		want := randomRecords(rng)
		one := build(t, codecs[rng.IntN(len(codecs))], NoProducer, want)
		Stamp(one, 4711, 3)
		moved, err := move(one, metadata.BatchBytesMax, nil)
		if err != nil {
			t.Fatal(err)
		}
		mustEqual(t, decode(t, moved), want)
		if plain := build(t, metadata.CodecNone, NoProducer, want); !bytes.Equal(plain, moved) {
			t.Fatal("moved records differ from those that a Builder encodes")
		}

		extra := RecordHeader{Key: "cistern.id", Value: randomBytes(rng)}
		if moved, err = move(one, metadata.BatchBytesMax, &extra); err != nil {
			t.Fatal(err)
		}
		for i := range want {
			want[i].Headers = append(slices.Clip(want[i].Headers), extra)
		}
		mustEqual(t, decode(t, moved), want)
	}
}

// Between 127 and 128 headers their number takes a byte more.
func TestOneHeaderMoreThanOneByteCounts(t *testing.T) {
	r := Record{Value: []byte("v"), Headers: make([]RecordHeader, 63)}
	extra := RecordHeader{Key: "k"}
	moved, err := move(build(t, metadata.CodecZstd, NoProducer, []Record{r}), 1<<20, &extra)
	if err != nil {
		t.Fatal(err)
	}
	r.Headers = append(r.Headers, extra)
	mustEqual(t, decode(t, moved), []Record{r})
}

func TestRewind(t *testing.T) {
	records := readings(500)
	var r RawReader
	if err := r.Reset(build(t, metadata.CodecZstd, NoProducer, records), 1<<20); err != nil {
		t.Fatal(err)
	}
	var raw Raw
	b := NewBuilder(metadata.CodecZstd)
	var mark Mark
	for i := 0; r.Next(&raw) == nil; i++ {
		if i == 100 {
			mark = b.Mark()
		}
		if i >= 100 {
			raw.Timestamp += 1e9 // must not show in the largest timestamp
		}
		if !b.AppendRaw(&raw, nil, 1<<20) {
			t.Fatal("full")
		}
	}
	b.Rewind(mark)
	one, err := b.AppendTo(nil, NoProducer)
	if err != nil {
		t.Fatal(err)
	}
	if want := build(t, metadata.CodecZstd, NoProducer, records[:100]); !bytes.Equal(one, want) {
		t.Error("something of what was taken back is left")
	}
}

func TestAppendRawKeepsTheLimit(t *testing.T) {
	var r RawReader
	if err := r.Reset(build(t, metadata.CodecNone, NoProducer, readings(50)), 1<<20); err != nil {
		t.Fatal(err)
	}
	const sizeMax = 2000
	var raw Raw
	b := NewBuilder(metadata.CodecNone)
	for r.Next(&raw) == nil && b.AppendRaw(&raw, nil, sizeMax) {
	}
	size := b.Size()
	if size > sizeMax || size < sizeMax-200 {
		t.Errorf("full at %d bytes of %d", size, sizeMax)
	}
	if b.AppendRaw(&raw, nil, sizeMax) || b.Size() != size {
		t.Error("a record that did not fit left something behind")
	}
}

func TestRawHeader(t *testing.T) {
	records := []Record{{Headers: []RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "b"}, {Key: "a", Value: []byte("2")}}}}
	var r RawReader
	var raw Raw
	if err := r.Reset(build(t, metadata.CodecNone, NoProducer, records), 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := r.Next(&raw); err != nil {
		t.Fatal(err)
	}
	if v, ok := raw.Header("a"); string(v) != "1" || !ok {
		t.Errorf("a is %q, %v", v, ok)
	}
	if v, ok := raw.Header("b"); v != nil || !ok {
		t.Errorf("b is %q, %v", v, ok)
	}
	if v, ok := raw.Header("c"); v != nil || ok {
		t.Errorf("c is %q, %v", v, ok)
	}
}

func TestMovingAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector drops pooled buffers at random")
	}
	one := build(t, metadata.CodecZstd, NoProducer, readings(1000))
	var r RawReader
	var raw Raw
	b := NewBuilder(metadata.CodecZstd)
	level := NewLevel(3)
	b.Use(metadata.CodecZstd, level)
	var out []byte
	all := func() {
		if err := r.Reset(one, 1<<20); err != nil {
			t.Fatal(err)
		}
		for r.Next(&raw) == nil {
			b.AppendRaw(&raw, nil, 1<<20)
		}
		out, _ = b.AppendTo(out[:0], NoProducer)
		b.Reset()
	}
	all()
	if n := testing.AllocsPerRun(20, all); n > 3 { // pools may have been emptied
		t.Errorf("%v allocations", n)
	}
}

func TestLevels(t *testing.T) {
	records := readings(2000)
	size := map[int]int{}
	for _, level := range []int{-5, 0, 1, 3, 6, LevelBest, LevelMax, 1000} {
		b := NewBuilder(metadata.CodecZstd)
		b.Use(metadata.CodecZstd, NewLevel(level))
		for i := range records {
			if full, err := b.Append(&records[i]); full || err != nil {
				t.Fatal(full, err)
			}
		}
		one, err := b.AppendTo(nil, NoProducer)
		if err != nil {
			t.Fatal(err)
		}
		mustEqual(t, decode(t, one), records)
		size[level] = len(one)
	}
	// Those in between depend on the data.
	if size[LevelBest] >= size[1] || size[LevelMax] != size[LevelBest] || size[-5] != size[1] {
		t.Errorf("bytes by level: %v", size)
	}
}

func TestSectionSize(t *testing.T) {
	records := readings(300)
	want := len(build(t, metadata.CodecNone, NoProducer, records)) - HeaderLen
	for _, codec := range codecs {
		got := SectionSize(build(t, codec, NoProducer, records))
		if codec != metadata.CodecLZ4 && got != want {
			t.Errorf("%s: %d bytes, want %d", codec, got, want)
		}
	}
	for _, b := range [][]byte{nil, make([]byte, HeaderLen-1), make([]byte, HeaderLen), section(metadata.CodecZstd, 1, 0, []byte("no frame"))} {
		if n := SectionSize(b); n < 0 || n > SizeMax {
			t.Errorf("%d bytes of nothing", n)
		}
	}
}
