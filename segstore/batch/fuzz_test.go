package batch

import (
	"bytes"
	"slices"
	"testing"

	"cistern/gossip/metadata"
)

// seeds adds a good batch of every form, and some that are just not good.
func seeds(f *testing.F, add func([]byte)) {
	for _, form := range forms {
		section := build(f, metadata.CodecNone, NoProducer, readings(12))[HeaderLen:]
		add(sectionOf(form.codec, 12, form.compress(section)))
	}
	whole := build(f, metadata.CodecZstd, Producer{ID: 1, Epoch: 2, Sequence: 3}, randomRecords(newRand(1)))
	add(whole)
	add(whole[:len(whole)-1])
	add(append(bytes.Clone(whole), whole...))
	add(make([]byte, HeaderLen))
	add(nil)
}

func sectionOf(codec metadata.Codec, count int32, records []byte) []byte {
	return section(codec, count, count-1, records)
}

func FuzzVerify(f *testing.F) {
	seeds(f, func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := Verify(b)
		if err != nil {
			return
		}
		if h.Size() != len(b) || h.NextOffset() <= h.BaseOffset {
			t.Errorf("%d bytes verified as %+v", len(b), h)
		}
	})
}

func FuzzNext(f *testing.F) {
	seeds(f, func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		rest := b
		for len(rest) > 0 {
			one, after, err := Next(rest)
			if err != nil {
				if one != nil || len(after) != len(rest) {
					t.Fatal("an error took bytes with it")
				}
				return
			}
			if len(one) < HeaderLen || len(one)+len(after) != len(rest) {
				t.Fatalf("%d bytes split into %d and %d", len(rest), len(one), len(after))
			}
			rest = after
		}
	})
}

func FuzzRewrite(f *testing.F) {
	seeds(f, func(b []byte) { f.Add(b, int64(7), int16(1), int32(1000), true, int64(1), false) })
	f.Fuzz(func(t *testing.T, b []byte, id int64, epoch int16, sequence int32, txn bool, latest int64, move bool) {
		r := Rewrite{Producer: Producer{ID: id, Epoch: epoch, Sequence: sequence}, LeaderEpoch: -1, Transactional: txn}
		if move {
			r.MaxTimestamp = &latest
		}
		out, err := r.Apply(nil, b)
		if err != nil {
			if len(out) > 0 {
				t.Error("an error left bytes behind")
			}
			return
		}
		_, before := Verify(b)
		h, after := Verify(out)
		if (before == nil) != (after == nil) {
			t.Errorf("before: %v, after: %v", before, after)
		}
		if h.Producer != r.Producer || h.Transactional() != txn || h.LogAppendTime() || h.ClockUnset() {
			t.Errorf("rewritten to %+v", h)
		}
		if !bytes.Equal(out[HeaderLen:], b[HeaderLen:]) {
			t.Error("the records changed")
		}
	})
}

// FuzzRecords gives the bytes a header that fits, since no fuzzer finds one.
func FuzzRecords(f *testing.F) {
	seeds(f, func(b []byte) {
		if h, err := Verify(b); err == nil {
			f.Add(uint8(h.Codec()), h.Count, b[HeaderLen:])
		}
	})
	f.Fuzz(func(t *testing.T, codec uint8, count int32, records []byte) {
		const sizeMax = 1 << 20
		b := sectionOf(metadata.Codec(codec%5), count, records)
		decoded, err := tryDecode(b, sizeMax)
		if err != nil || len(decoded) == 0 {
			return
		}
		if len(decoded) != int(count) {
			t.Fatalf("%d records decoded without an error, %d promised", len(decoded), count)
		}
		rebuilt := NewBuilder(metadata.CodecNone)
		for i := range decoded {
			if full, err := rebuilt.Append(&decoded[i]); full || err != nil {
				return // longer than we build
			}
		}
		one, err := rebuilt.AppendTo(nil, NoProducer)
		if err != nil {
			t.Fatal(err)
		}
		mustEqual(t, decode(t, one), decoded)
	})
}

// FuzzRawReader holds RawReader against Records: they agree on what is valid, and
// on what it says once its records have moved to another batch.
func FuzzRawReader(f *testing.F) {
	seeds(f, func(b []byte) {
		if h, err := Verify(b); err == nil {
			f.Add(uint8(h.Codec()), h.Count, b[HeaderLen:], true)
			f.Add(uint8(h.Codec()), h.Count, b[HeaderLen:], false)
		}
	})
	f.Fuzz(func(t *testing.T, codec uint8, count int32, records []byte, extended bool) {
		const sizeMax = 1 << 20
		b := sectionOf(metadata.Codec(codec%5), count, records)
		want, wantErr := tryDecode(b, sizeMax)
		var extra *RecordHeader
		if extended {
			extra = &RecordHeader{Key: "id", Value: []byte("7")}
		}
		moved, err := move(b, sizeMax, extra)
		if (wantErr == nil) != (err == nil) {
			t.Fatalf("Records: %v, RawReader: %v", wantErr, err)
		}
		if err != nil || moved == nil {
			return
		}
		for i := range want {
			want[i].Offset = int64(i)
			if extended {
				want[i].Headers = append(slices.Clip(want[i].Headers), *extra)
			}
		}
		mustEqual(t, decode(t, moved), want)
	})
}
