package ingest

import (
	"fmt"
	"slices"
	"testing"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// Records whose times are told by different clocks never share a batch, and
// keep their order; those of an unset clock are in marked batches.
func TestClockCutsBatches(t *testing.T) {
	const hour = 3_600_000
	taken := func(monotonic, wall int64, boot string) batch.Record {
		r := batch.Record{Timestamp: wall}
		if boot != "" {
			r.Headers = []batch.RecordHeader{{Key: "cistern.site"}, {Key: batch.HeaderClock, Value: batch.AppendClockMark(nil, boot, monotonic)}}
		}
		return r
	}
	for name, tc := range map[string]struct {
		records []batch.Record
		want    []string // count and mark of each batch
	}{
		"a set clock": {[]batch.Record{taken(0, 5, ""), taken(0, 6, ""), taken(0, 7, "")}, []string{"3"}},
		"an unset one": {[]batch.Record{taken(1000, 5000, "b"), taken(1100, 5100, "b"), taken(1200, 5199, "b")},
			[]string{"3 unset"}},
		"set now": {[]batch.Record{taken(1000, 5000, "b"), taken(1100, 5100, "b"), taken(1200, 9*hour, "")},
			[]string{"2 unset", "1"}},
		"set before that was seen": {[]batch.Record{taken(1000, 5000, "b"), taken(1100, 9*hour, "b"), taken(1200, 9*hour+100, "b"), taken(1300, 9*hour+200, "")},
			[]string{"1 unset", "2 unset", "1"}},
		"set back": {[]batch.Record{taken(0, 9*hour, ""), taken(1100, 1100, "b"), taken(1200, 1200, "b")},
			[]string{"1", "2 unset"}},
		"slewed": {[]batch.Record{taken(1000, 1000, "b"), taken(2000, 2100, "b"), taken(3000, 3200, "b"), taken(4000, 4300, "b")},
			[]string{"3 unset", "1 unset"}},
		"two connections": {[]batch.Record{taken(0, 9*hour, ""), taken(1100, 9*hour, "b"), taken(0, 9*hour, "")},
			[]string{"1", "1 unset", "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			// One window for all, so that only the clock can part them.
			s := openStore(t, stream("a", 1, 5_000_000_000))
			acc := New(Config{Store: s})
			p := metadata.PartitionID{Stream: "a"}
			for i := range tc.records {
				tc.records[i].Value = fmt.Append(nil, i)
				if err := acc.Append(t.Context(), p, &tc.records[i], nil, 0); err != nil {
					t.Fatal(err)
				}
			}
			acc.Close()
			run, err := s.Log(p).Read(0, nil, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if got := marksOf(t, run); !slices.Equal(got, tc.want) {
				t.Errorf("batches %q, want %q", got, tc.want)
			}
		})
	}
}

// marksOf tells the batches of a run, whose records must be in order.
func marksOf(t *testing.T, run []byte) (marks []string) {
	t.Helper()
	n := 0
	for len(run) > 0 {
		one, rest, err := batch.Next(run)
		if err != nil {
			t.Fatal(err)
		}
		h, err := batch.Verify(one)
		if err != nil {
			t.Fatal(err)
		}
		mark := fmt.Sprint(h.Count)
		if h.ClockUnset() {
			mark += " unset"
		}
		marks, run = append(marks, mark), rest
		for r, err := range batch.Records(one, 1<<20) {
			if err != nil || string(r.Value) != fmt.Sprint(n) {
				t.Fatalf("record %d is %q, %v", n, r.Value, err)
			}
			n++
		}
	}
	return marks
}
