package segstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
