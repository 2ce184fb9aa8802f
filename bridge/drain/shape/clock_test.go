package shape

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// Batches taken before the clock was set leave with the right times, whether
// they are merged or not, and nothing else of them changes.
func TestClockIsSetRight(t *testing.T) {
	want := readings(0, 30)
	taken := unsetClock(want, boot, 12_345)
	var run []byte
	for i := 0; i < 30; i += 10 {
		run = append(run, stored(t, metadata.CodecZstd, int64(i), 1, true, taken[i:i+10])...)
	}
	for i := range want {
		want[i].Offset, want[i].Headers = int64(i), taken[i].Headers
	}
	for name, r := range map[string]*Rebatch{"one by one": nil, "merged": {}} {
		t.Run(name, func(t *testing.T) {
			s := New(config(r))
			all := pieces(t, s, run, Options{})
			mustEqual(t, decodeAll(t, all), want)
			for _, p := range all {
				if p.Header.ClockUnset() || p.Header.MaxTimestamp < bootAt {
					t.Errorf("%+v", p.Header)
				}
			}
			if got := s.Stats(); got.Corrected != 3 || got.Unknown+got.Ahead != 0 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// What can't be set right leaves as it is, said once.
func TestClockIsLeftAlone(t *testing.T) {
	marked := unsetClock(readings(0, 3), boot, 0)
	strange := unsetClock(readings(0, 3), "other", 0)
	odd := readings(0, 3)
	odd[0].Headers = append(odd[0].Headers, batch.RecordHeader{Key: batch.HeaderClock, Value: []byte("unsynced")})
	for name, tc := range map[string]struct {
		records []batch.Record
		bootAt  int64
		now     int64
		want    Stats
	}{
		"known":             {marked, bootAt, now, Stats{Corrected: 2}},
		"unknown":           {strange, bootAt, now, Stats{Unknown: 2}},
		"no header":         {readings(0, 3), bootAt, now, Stats{Unknown: 2}},
		"another header":    {odd, bootAt, now, Stats{Unknown: 2}},
		"in the future":     {marked, bootAt, bootAt + 1, Stats{Corrected: 2}}, // by less than a minute
		"far in the future": {marked, bootAt + 2*3_600_000, bootAt + 2*3_600_000 - aheadMax.Milliseconds(), Stats{Corrected: 2}},
		"ahead":             {unsetAt(marked, 100_000), bootAt, bootAt + 1, Stats{Ahead: 2}},
		"no clock here":     {unsetAt(marked, 100_000), bootAt, 1000, Stats{Corrected: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			s := New(Config{
				BootAt: func(name string) (int64, bool) { return tc.bootAt, name == boot },
				Now:    func() time.Time { return time.UnixMilli(tc.now) },
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
			})
			run := stored(t, metadata.CodecLZ4, 0, 1, true, tc.records)
			for range 2 {
				if p := next(t, s, run, Options{}); p.Copied != (tc.want.Corrected > 0) {
					t.Errorf("copied: %v", p.Copied)
				}
			}
			if got := s.Stats(); got != tc.want {
				t.Errorf("counted %+v, want %+v", got, tc.want)
			}
			if said := strings.Count(log.String(), "level=WARN"); said != int(min(tc.want.Unknown+tc.want.Ahead, 1)) {
				t.Errorf("said %d times:\n%s", said, &log)
			}
		})
	}
}

// unsetAt is the same records, taken so many ms later after boot.
func unsetAt(records []batch.Record, later int64) []batch.Record {
	out := readings(0, len(records))
	for i := range out {
		out[i].Timestamp += later
	}
	return unsetClock(out, boot, 0)
}

// A batch that can be set right and one that can't are not merged: upstream may
// refuse the one.
func TestKnownAndUnknownBootsAreNotMerged(t *testing.T) {
	var run []byte
	for i, name := range []string{boot, boot, "other", "other", "another", boot} {
		run = append(run, stored(t, metadata.CodecZstd, int64(5*i), 1, true, unsetClock(readings(5*i, 5), name, 0))...)
	}
	var counts []int32
	s := New(config(&Rebatch{}))
	for _, p := range pieces(t, s, run, Options{}) {
		counts = append(counts, p.Header.Count)
	}
	if len(counts) != 3 || counts[0] != 10 || counts[1] != 15 || counts[2] != 5 {
		t.Errorf("pieces of %v records", counts)
	}
	if got := s.Stats(); got.Corrected != 3 || got.Unknown != 3 {
		t.Errorf("%+v", got)
	}
}

// The bit of a damaged batch must not make it valid.
func TestClockOfDamagedBatch(t *testing.T) {
	for _, codec := range []metadata.Codec{metadata.CodecNone, metadata.CodecZstd} {
		one := stored(t, codec, 0, 1, true, unsetClock(readings(0, 5), boot, 0))
		for i := batch.HeaderLen; i < len(one); i++ {
			rotten := bytes.Clone(one)
			rotten[i] ^= 4
			p := next(t, New(config(nil)), rotten, Options{})
			if _, err := batch.Verify(p.Bytes); err == nil {
				t.Fatalf("%s: byte %d rotted, and the piece is valid", codec, i)
			}
		}
	}
}

func TestRetime(t *testing.T) {
	records := readings(0, 20)
	one := stored(t, metadata.CodecZstd, 100, 5, true, records)
	got, err := Retime([]byte("before"), one, now)
	if err != nil {
		t.Fatal(err)
	}
	h, err := batch.Verify(got[len("before"):])
	if err != nil || h.MaxTimestamp != now || h.BaseOffset != 100 || h.LeaderEpoch != 5 || h.ClockUnset() {
		t.Errorf("%+v, %v", h, err)
	}
	moved := decode(t, got[len("before"):])
	for i := range moved {
		if moved[i].Timestamp-moved[0].Timestamp != records[i].Timestamp-records[0].Timestamp {
			t.Fatal("the distances changed")
		}
	}
	for _, bad := range [][]byte{nil, one[:50], one[:len(one)-1], append(bytes.Clone(one), 0)} {
		if out, err := Retime(nil, bad, now); err == nil || len(out) > 0 {
			t.Errorf("%d bytes of %d: %v", len(bad), len(one), err)
		}
	}
}
