package shape

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// FuzzNext gives Next any bytes for a run. With seal the checksums are made to
// fit, since no fuzzer finds one: then what can be decoded must come out as it
// went in, and what can't must leave untouched.
func FuzzNext(f *testing.F) {
	for seed := range uint64(6) {
		w := newWorld(f, newRand(seed), Options{})
		f.Add(w.run, seed%2 == 0, seed%3 == 0, true)
	}
	f.Add(stored(f, metadata.CodecNone, 0, 1, true, unsetClock(readings(0, 2), boot, 0)), true, false, true)
	f.Add([]byte(nil), true, true, false)
	f.Add(make([]byte, 3*batch.HeaderLen), true, true, true)
	f.Fuzz(func(t *testing.T, run []byte, merge, identified, sealed bool) {
		if sealed {
			run = seal(run)
		}
		c := config(nil)
		if merge {
			c.Rebatch = &Rebatch{Bytes: 8 << 10, Level: 1}
		}
		s, o := New(c), Options{Partition: "s/t/0", Identified: identified}
		for len(run) > 0 {
			p, err := s.Next(run, nil, o)
			if err != nil {
				_, rest, nextErr := batch.Next(run)
				if _, ok := errors.AsType[*DamageError](err); !ok || nextErr != nil {
					return
				}
				run = rest
				continue
			}
			checkPiece(t, run, &p)
			checkRecords(t, run[:p.Used], &p)
			run = run[p.Used:]
		}
	})
}

// checkRecords holds a piece against the batches that it was made of.
func checkRecords(t *testing.T, run []byte, p *Piece) {
	if !p.Copied {
		return // the run's own bytes: checkPiece
	}
	var want []batch.Record
	for len(run) > 0 {
		one, rest, err := batch.Next(run)
		if err != nil {
			t.Fatal(err)
		}
		if p.Used == len(one) && bytes.Equal(one[batch.HeaderLen:], p.Bytes[batch.HeaderLen:]) {
			return // only its times were moved
		}
		for r, err := range batch.Records(one, sectionBytesMax) {
			if err != nil {
				t.Fatalf("a batch that can't be decoded is in a piece: %v", err)
			}
			want = append(want, r)
		}
		run = rest
	}
	got := decode(t, p.Bytes)
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range got {
		// Times may have been set right, and an id is the last header.
		got[i].Timestamp = want[i].Timestamp
		got[i].Headers = got[i].Headers[:min(len(want[i].Headers), len(got[i].Headers))]
		want[i].Offset = want[0].Offset + int64(i)
	}
	mustEqual(t, got, want)
}

// seal makes the checksums of a run's batches fit.
func seal(run []byte) []byte {
	run = bytes.Clone(run)
	for rest := run; ; {
		one, after, err := batch.Next(rest)
		if err != nil || len(after) == len(rest) {
			return run
		}
		binary.BigEndian.PutUint32(one[17:], crc32.Checksum(one[21:], crc32.MakeTable(crc32.Castagnoli)))
		rest = after
	}
}
