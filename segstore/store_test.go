package segstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

func makeBatch(t testing.TB, values ...string) []byte {
	t.Helper()
	b := batch.NewBuilder(metadata.CodecNone)
	for i, v := range values {
		if _, err := b.Append(&batch.Record{Timestamp: int64(i), Key: []byte("k"), Value: []byte(v)}); err != nil {
			t.Fatal(err)
		}
	}
	out, err := b.AppendTo(nil, batch.NoProducer)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// readValues returns the values of every record from offset on.
func readValues(t testing.TB, g *Log, offset int64) (out []string) {
	t.Helper()
	for offset < g.HighWatermark() {
		buf, err := g.Read(offset, nil, 4096)
		if err != nil {
			t.Fatal(err)
		}
		if len(buf) == 0 {
			t.Fatalf("nothing read at %d, the high watermark is %d", offset, g.HighWatermark())
		}
		for len(buf) > 0 {
			one, rest, err := batch.Next(buf)
			if err != nil {
				t.Fatal(err)
			}
			for r, err := range batch.Records(one, 1<<20) {
				if err != nil {
					t.Fatal(err)
				}
				if r.Offset >= offset {
					if r.Offset != offset {
						t.Fatalf("record at offset %d, expected %d", r.Offset, offset)
					}
					out = append(out, string(r.Value))
					offset++
				}
			}
			buf = rest
		}
	}
	return out
}

func testStream(name string, partitions int32) metadata.StreamConfig {
	c := metadata.DefaultStreamConfig(name)
	c.Partitions = partitions
	return c
}

func openStore(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAppendReadReopen(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SegmentBytes: SegmentBytesMin}
	s := openStore(t, cfg)
	if err := s.PutStream(testStream("a", 3)); err != nil {
		t.Fatal(err)
	}
	want := map[int32][]string{}
	for i := range 400 {
		p := int32(i % 3)
		values := []string{fmt.Sprintf("v%d", i), fmt.Sprintf("w%d", i)}
		if _, err := s.Commit(Entry{Log: s.Log(metadata.PartitionID{Stream: "a", Partition: p}), Batch: makeBatch(t, values...)}); err != nil {
			t.Fatal(err)
		}
		want[p] = append(want[p], values...)
	}
	check := func(s *Store) {
		t.Helper()
		for p, values := range want {
			g := s.Log(metadata.PartitionID{Stream: "a", Partition: p})
			if got := readValues(t, g, 0); fmt.Sprint(got) != fmt.Sprint(values) {
				t.Fatalf("partition %d: got %d records, want %d", p, len(got), len(values))
			}
		}
	}
	check(s)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, cfg)
		check(s)
	}
	if r := s.Opened(); r.Scanned != 1 {
		t.Errorf("opening scanned %d segments of %d, want 1", r.Scanned, r.Segments)
	}
	s.Close()
}

func TestInspectAndCheck(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SegmentBytes: SegmentBytesMin}
	s := openStore(t, cfg)
	if err := s.PutStream(testStream("a", 2)); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		g := s.Log(metadata.PartitionID{Stream: "a", Partition: int32(i % 2)})
		if _, err := s.Commit(Entry{Log: g, Batch: makeBatch(t, "x", "y")}); err != nil {
			t.Fatal(err)
		}
	}
	n, err := Inspect(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Check(func(int, int) {}); !errors.Is(err, ErrInUse) {
		t.Errorf("check beside a running store: %v, want ErrInUse", err)
	}
	s.Close()
	if n, err = Inspect(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	r, err := n.Check(func(int, int) {})
	if err != nil || len(r.Problems) > 0 || r.Records != 200 || r.Partitions["a/1"] != (PartitionReport{Next: 100, Records: 100}) {
		t.Errorf("check: %v, %+v; want 200 records and no problem", err, r)
	}

	// A bit that rots in a sealed segment is found, and named.
	for _, seg := range n.Segments() {
		if seg.State == "sealed" {
			flipBit(t, filepath.Join(cfg.Dir, "segments", seg.File), 3*4096+100)
			break
		}
	}
	if n, err = Inspect(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	if r, err = n.Check(func(int, int) {}); err != nil || len(r.Problems) == 0 || !strings.Contains(r.Problems[0], "checksum") {
		t.Errorf("check after a bit flip: %v, %q; want a checksum problem", err, r.Problems)
	}
}

func flipBit(t testing.TB, path string, pos int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, pos); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b, pos); err != nil {
		t.Fatal(err)
	}
}

// TestLostMetadataFileCostsNoRecord covers the metadata file's part of scenario 26:
// one that is gone or damaged is made again from the journal, and never the
// reason of a panic.
func TestLostMetadataFileCostsNoRecord(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SegmentBytes: SegmentBytesMin}
	s := openStore(t, cfg)
	if err := s.PutStream(testStream("a", 2)); err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		g := s.Log(metadata.PartitionID{Stream: "a", Partition: int32(i % 2)})
		if _, err := s.Commit(Entry{Log: g, Batch: makeBatch(t, fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
	}
	id := s.ID()
	s.Close()
	path := filepath.Join(cfg.Dir, metaFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string][]byte{
		"gone":      nil,
		"empty":     {},
		"one page":  whole[:4096],
		"two pages": whole[:8192],
		"noise":     bytes.Repeat([]byte("noise!"), 5000),
		"no data":   append(bytes.Clone(whole[:8192]), make([]byte, len(whole)-8192)...),
	}
	for at := 0; at+4096 <= min(len(whole), 32*4096); at += 4096 {
		cases[fmt.Sprint("zeros at ", at)] = slices.Concat(whole[:at], make([]byte, 4096), whole[at+4096:])
	}
	aside := 0
	for name, file := range cases {
		t.Run(name, func(t *testing.T) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if file != nil {
				if err := os.WriteFile(path, file, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s := openStore(t, cfg)
			defer s.Close()
			if os.Remove(path+".damaged") == nil {
				aside++
				if n := len(s.Unclean()); n != 2 {
					t.Errorf("%d partitions are unclean, want both", n)
				}
			}
			g := s.Log(metadata.PartitionID{Stream: "a", Partition: 1})
			if g == nil || s.ID() != id {
				t.Fatalf("log %v, store ID kept: %v", g, s.ID() == id)
			}
			if got := readValues(t, g, 0); len(got) != 30 || got[29] != "59" {
				t.Errorf("got %d records, want 30", len(got))
			}
			if err := s.PutStream(testStream("a", 4)); err != nil {
				t.Fatal(err)
			}
		})
	}
	if t.Logf("%d files were set aside", aside); aside < 5 {
		t.Error("damage was not seen")
	}
}

func TestStateSurvives(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SegmentBytes: SegmentBytesMin}
	s := openStore(t, cfg)
	if err := s.PutStream(testStream("a", 1)); err != nil {
		t.Fatal(err)
	}
	g := s.Log(metadata.PartitionID{Stream: "a"})
	for i := range 100 { // over several segments
		s.State().Put("lazy", fmt.Append(nil, i))
		if err := func() error { _, err := s.Commit(Entry{Log: g, Batch: makeBatch(t, "x")}); return err }(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.State().PutSync("sync", []byte("now")); err != nil {
		t.Fatal(err)
	}
	s.State().Put("at close", []byte("too"))
	s.Close()
	s = openStore(t, cfg)
	defer s.Close()
	for key, want := range map[string]string{"lazy": "99", "sync": "now", "at close": "too"} {
		if got := string(s.State().Get(key)); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
}

// What was dropped is gone after a restart, and what is Put under its name later
// counts, whatever is found of the old one.
func TestStateDrop(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SegmentBytes: SegmentBytesMin}
	s := openStore(t, cfg)
	if err := s.PutStream(testStream("a", 1)); err != nil {
		t.Fatal(err)
	}
	commit := func() {
		t.Helper()
		if _, err := s.Commit(Entry{Log: s.Log(metadata.PartitionID{Stream: "a"}), Batch: makeBatch(t, "x")}); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"n/1", "n/2", "m"} {
		s.State().Put(key, []byte("old"))
	}
	commit()
	if err := s.State().PutSync("n/3", []byte("old")); err != nil {
		t.Fatal(err)
	}
	s.State().Put("n/4", []byte("old"))
	if got := s.State().Keys("n/"); !slices.Equal(got, []string{"n/1", "n/2", "n/3", "n/4"}) {
		t.Errorf("keys %q", got)
	}
	if n, err := s.State().Drop("n/", func(key string) bool { return key != "n/3" }); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	s.State().unride([]string{"n/4"}) // of a commit that was under way, and failed
	commit()
	s.Close()
	s = openStore(t, cfg)
	if got := s.State().Keys("n/"); !slices.Equal(got, []string{"n/3"}) || string(s.State().Get("n/3"))+string(s.State().Get("m")) != "oldold" {
		t.Errorf("after a restart: %q, %q, %q", got, s.State().Get("n/3"), s.State().Get("m"))
	}
	s.State().Put("n/2", []byte("new"))
	commit()
	s.Close()
	s = openStore(t, cfg)
	defer s.Close()
	if got := s.State().Keys("n/"); !slices.Equal(got, []string{"n/2", "n/3"}) || string(s.State().Get("n/2")) != "new" {
		t.Errorf("after another: %q, %q", got, s.State().Get("n/2"))
	}
	// Whatever order copies are found in.
	found := newState(nil, nil)
	for _, e := range []stateEntry{{Version: 3, Key: "n/1"}, {Version: 9, Key: "n/2"}, {Version: 8, Key: dropMark + "n/", Value: binary.BigEndian.AppendUint64(nil, 7)}, {Version: 7, Key: "n/3"}, {Version: 7, Key: "m"}} {
		found.load(e)
	}
	if got := found.Keys(""); !slices.Equal(got, []string{dropMark + "n/", "m", "n/2"}) {
		t.Errorf("found %q", got)
	}
}

func TestTruncate(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SegmentBytes: SegmentBytesMin}
	s := openStore(t, cfg)
	if err := s.PutStream(testStream("a", 1)); err != nil {
		t.Fatal(err)
	}
	id := metadata.PartitionID{Stream: "a"}
	var want []string
	add := func(g *Log, n int, word string) {
		t.Helper()
		for range n {
			v := fmt.Sprint(word, len(want))
			if _, err := s.Commit(Entry{Log: g, Batch: makeBatch(t, v)}); err != nil {
				t.Fatal(err)
			}
			want = append(want, v)
		}
	}
	cut := func(to int) {
		t.Helper()
		if _, err := s.Commit(Entry{Log: s.Log(id), Truncate: true, Offset: int64(to)}); err != nil {
			t.Fatal(err)
		}
		want = want[:to]
	}
	check := func() {
		t.Helper()
		for _, from := range []int{0, 5, 20, len(want) - 1} {
			if got := readValues(t, s.Log(id), int64(from)); fmt.Sprint(got) != fmt.Sprint(want[from:]) {
				t.Fatalf("from %d: got %d records %.80v…, want %d", from, len(got), got, len(want)-from)
			}
		}
	}
	add(s.Log(id), 60, "first") // 4 segments
	cut(22)
	add(s.Log(id), 30, "second")
	cut(50)
	cut(21)
	add(s.Log(id), 10, "third")
	check()
	s.Close()
	s = openStore(t, cfg)
	check()
	add(s.Log(id), 40, "fourth")
	check()
	s.Close()
	s = openStore(t, cfg)
	defer s.Close()
	check()
}

// TestEpochsAfterTruncation: a follower cuts off a leader epoch that lost, and
// goes on with batches of an older one. Neither memory, nor the metadata file,
// nor a replay may bring the lost epoch back.
func TestEpochsAfterTruncation(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SegmentBytes: SegmentBytesMin}
	s := openStore(t, cfg)
	if err := s.PutStream(testStream("a", 1)); err != nil {
		t.Fatal(err)
	}
	id := metadata.PartitionID{Stream: "a"}
	add := func(n int, epoch int32) {
		t.Helper()
		for range n {
			b := makeBatch(t, "x")
			batch.Stamp(b, s.Log(id).EndOffset(), epoch)
			if _, err := s.Commit(Entry{Log: s.Log(id), Batch: b, Verbatim: true}); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func() {
		t.Helper()
		for _, c := range []struct {
			ask, epoch int32
			end        int64
		}{{3, 3, 70}, {4, 3, 70}, {5, 5, 75}} {
			if epoch, end := s.Log(id).EndOffsetForEpoch(c.ask); epoch != c.epoch || end != c.end {
				t.Errorf("end of epoch %d: epoch %d offset %d, want %d and %d", c.ask, epoch, end, c.epoch, c.end)
			}
		}
	}
	add(60, 3)
	add(4, 4)
	if _, err := s.Commit(Entry{Log: s.Log(id), Truncate: true, Offset: 60}); err != nil {
		t.Fatal(err)
	}
	add(10, 3)
	s.Close()
	s = openStore(t, cfg)
	add(5, 5)
	check()
	for range 2 {
		s.Close()
		s = openStore(t, cfg)
		check()
	}
	s.Close()
}

func TestVerbatimAndEpochs(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SegmentBytes: SegmentBytesMin}
	s := openStore(t, cfg)
	if err := s.PutStream(testStream("a", 1)); err != nil {
		t.Fatal(err)
	}
	id := metadata.PartitionID{Stream: "a"}
	at := func(offset int64, epoch int32, values ...string) Entry {
		b := makeBatch(t, values...)
		batch.Stamp(b, offset, epoch)
		return Entry{Log: s.Log(id), Batch: b, Verbatim: true}
	}
	if _, err := s.Commit(at(0, 3, "a", "b"), at(2, 3, "c"), at(3, 7, "d")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(at(5, 7, "gap")); !errors.Is(err, ErrWrongOffset) {
		t.Errorf("a batch beyond the end: %v, want ErrWrongOffset", err)
	}
	check := func() {
		t.Helper()
		for _, c := range []struct {
			ask, epoch int32
			end        int64
		}{{2, -1, -1}, {3, 3, 3}, {6, 3, 3}, {7, 7, 4}, {99, 7, 4}} {
			if epoch, end := s.Log(id).EndOffsetForEpoch(c.ask); epoch != c.epoch || end != c.end {
				t.Errorf("end of epoch %d: epoch %d offset %d, want %d and %d", c.ask, epoch, end, c.epoch, c.end)
			}
		}
	}
	check()
	// An epoch that was noted, and whose first batch a crash cut off.
	if err := s.meta.Put(epochKV(id, 9, 4)); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = openStore(t, cfg)
	defer s.Close()
	check()
	s.meta.Each(bucketEpochs, func(key string, _ []byte) error {
		if key != epochKey(id, 3) && key != epochKey(id, 7) {
			t.Errorf("%s is still in the metadata file", key)
		}
		return nil
	})
	if e := s.Log(id).Epoch(); e != 8 {
		t.Errorf("epoch after a restart is %d, want 8: one above the last used", e)
	}
}

// decode returns the offsets of all records in a run of batches.
func decode(t testing.TB, buf []byte) (offsets []int64) {
	t.Helper()
	for len(buf) > 0 {
		one, rest, err := batch.Next(buf)
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range batch.Records(one, 1<<20) {
			if err != nil {
				t.Fatal(err)
			}
			offsets = append(offsets, r.Offset)
		}
		buf = rest
	}
	return offsets
}
