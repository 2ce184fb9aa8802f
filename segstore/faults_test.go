package segstore

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"cistern/gossip/metadata"
	"cistern/segstore/vfs"
)

func faultyStore(t *testing.T) (*Store, *vfs.Faulty, *memMeta, *Log) {
	t.Helper()
	f := vfs.NewFaulty(vfs.NewPowerCut())
	meta := newMemMeta()
	cfg := crashConfig(f, meta)
	s := openStore(t, cfg)
	t.Cleanup(func() { s.Close() })
	if err := s.PutStream(testStream("a", 1)); err != nil {
		t.Fatal(err)
	}
	return s, f, meta, s.Log(metadata.PartitionID{Stream: "a"})
}

func put(s *Store, g *Log, t testing.TB, v string) error {
	_, err := s.Commit(Entry{Log: g, Batch: makeBatch(t, v)})
	return err
}

// TestFailedSyncLatches covers scenario 27: a sync fails once and would succeed
// the next time. Nothing may be confirmed until the end was read back, and what
// the device forgot must be found missing rather than confirmed.
func TestFailedSyncLatches(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpSync, vfs.OpWrite} {
		t.Run(string(op), func(t *testing.T) {
			s, f, meta, g := faultyStore(t)
			var confirmed []string
			for i := range 5 {
				v := fmt.Sprint("before", i)
				if err := put(s, g, t, v); err != nil {
					t.Fatal(err)
				}
				confirmed = append(confirmed, v)
			}
			f.Inject(vfs.Rule{Op: op, Path: "*.seg", Fail: 1, Err: syscall.EIO})
			if err := put(s, g, t, "lost"); !errors.Is(err, ErrLatched) || !errors.Is(err, syscall.EIO) {
				t.Fatalf("append into a failing %s: %v, want ErrLatched and EIO", op, err)
			}
			for range 3 {
				if err := put(s, g, t, "too early"); !errors.Is(err, ErrLatched) {
					t.Fatalf("append before the log was read back: %v, want ErrLatched", err)
				}
			}
			if !s.Stats().Latched || g.Condition() != Latched {
				t.Error("the store does not say that it is latched")
			}
			s.lanes[1].heal()
			for i := range 5 {
				v := fmt.Sprint("after", i)
				if err := put(s, g, t, v); err != nil {
					t.Fatalf("append after healing: %v", err)
				}
				confirmed = append(confirmed, v)
			}
			check := func() {
				t.Helper()
				if got := readValues(t, g, 0); fmt.Sprint(got) != fmt.Sprint(confirmed) {
					t.Fatalf("found %v, confirmed were %v", got, confirmed)
				}
			}
			check()
			if d, _ := s.Damage(); len(d) > 0 {
				t.Errorf("nothing confirmed was lost, yet damage is reported: %v", d)
			}
			s.Close()
			s = openStore(t, crashConfig(f, meta))
			defer s.Close()
			g = s.Log(g.id)
			check()
		})
	}
}

// TestStaysLatchedWhileTheDeviceIsDead: healing needs a device that reads.
func TestStaysLatchedWhileTheDeviceIsDead(t *testing.T) {
	s, f, _, g := faultyStore(t)
	if err := put(s, g, t, "kept"); err != nil {
		t.Fatal(err)
	}
	for _, op := range []vfs.Op{vfs.OpSync, vfs.OpWrite, vfs.OpRead, vfs.OpCreate} {
		f.Inject(vfs.Rule{Op: op, Path: "*.seg*", Err: syscall.EIO})
	}
	for range 3 {
		if err := put(s, g, t, "no"); !errors.Is(err, ErrLatched) {
			t.Fatalf("append to a dead card: %v, want ErrLatched", err)
		}
		s.lanes[1].heal()
	}
	if _, err := g.Read(0, nil, 100); err == nil {
		t.Error("read from a dead card succeeded")
	}
	f.Clear()
	s.lanes[1].heal()
	if err := put(s, g, t, "again"); err != nil {
		t.Fatalf("append after the card came back: %v", err)
	}
	if got := readValues(t, g, 0); fmt.Sprint(got) != "[kept again]" {
		t.Errorf("found %v, want kept and again", got)
	}
}

// TestFullDisk covers scenario 29: no room, at the limit or on the device.
// Appends are refused, nothing is lost, and room that comes back is used.
func TestFullDisk(t *testing.T) {
	for _, c := range []struct {
		name string
		full func(*vfs.Faulty)
	}{
		{"configured limit", func(*vfs.Faulty) {}},
		{"ENOSPC", func(f *vfs.Faulty) {
			f.Inject(vfs.Rule{Op: vfs.OpWrite, Path: "*.seg.tmp", Err: syscall.ENOSPC})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, f, _, g := faultyStore(t)
			var confirmed []string
			fill := func() error {
				for i := range 1000 {
					v := fmt.Sprintf("%d%20000d", len(confirmed), i)
					if err := put(s, g, t, v); err != nil {
						return err
					}
					confirmed = append(confirmed, v)
					if i == 4 {
						c.full(f)
					}
				}
				return nil
			}
			if err := fill(); !errors.Is(err, ErrFull) {
				t.Fatalf("filled: %v, want ErrFull", err)
			}
			if g.Condition() != Full || !s.Stats().Full {
				t.Error("the store does not say that it is full")
			}
			if got := readValues(t, g, 0); len(got) != len(confirmed) {
				t.Fatalf("found %d, confirmed were %d", len(got), len(confirmed))
			}
			before := len(confirmed)
			g.SetDrained(int64(before) - 3) // the uplink is back
			s.retain()
			s.reopenLanes()
			if g.Condition() != Ready {
				t.Fatal("drained records did not make room")
			}
			if err := fill(); !errors.Is(err, ErrFull) {
				t.Fatalf("filled again: %v, want ErrFull", err)
			}
			if len(confirmed) == before {
				t.Error("nothing more was taken")
			}
			if start := g.StartOffset(); start == 0 || start > int64(before)-3 {
				t.Errorf("log starts at %d, drained were %d", start, before-3)
			}
			if g.Dropped() != 0 {
				t.Errorf("%d records count as dropped; all that went had been drained", g.Dropped())
			}
		})
	}
}

// TestDropOldestCountsEveryRecord: what the policy gives up is counted, over
// restarts too, and goes from the least precious lane first.
func TestDropOldestCountsEveryRecord(t *testing.T) {
	meta, p := newMemMeta(), vfs.NewPowerCut()
	s := openStore(t, crashConfig(p, meta))
	bulk, alarm := testStream("bulk", 1), testStream("alarm", 1)
	bulk.Lane, bulk.WhenFull = "bulk", metadata.DropOldest
	alarm.Lane = "alarm"
	if err := errors.Join(s.PutStream(bulk), s.PutStream(alarm)); err != nil {
		t.Fatal(err)
	}
	b, a := s.Log(metadata.PartitionID{Stream: "bulk"}), s.Log(metadata.PartitionID{Stream: "alarm"})
	for i := range 40 {
		if err := put(s, b, t, fmt.Sprintf("%20000d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if b.Dropped() == 0 || b.Dropped() != b.StartOffset() {
		t.Errorf("%d records dropped, the log starts at %d: both must be the same", b.Dropped(), b.StartOffset())
	}
	n := 0
	for ; n < 100; n++ {
		if err := put(s, a, t, fmt.Sprintf("%20000d", n)); err != nil {
			if !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
			break
		}
	}
	if n < 10 {
		t.Errorf("only %d alarms were taken: bulk did not give way", n)
	}
	if a.StartOffset() != 0 || int(a.EndOffset()) != n {
		t.Errorf("alarms held are %d to %d, confirmed were %d", a.StartOffset(), a.EndOffset(), n)
	}
	dropped, start := b.Dropped(), b.StartOffset()
	s.Close()
	s = openStore(t, crashConfig(p, meta))
	defer s.Close()
	if b = s.Log(b.id); b.Dropped() != dropped || b.StartOffset() != start {
		t.Errorf("after a restart %d dropped, start %d; before %d, %d", b.Dropped(), b.StartOffset(), dropped, start)
	}
}

// TestRottenBatchIsNamed covers scenario 26 on one copy: the reader is told
// which records are gone, and gets all others.
func TestRottenBatchIsNamed(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SegmentBytes: SegmentBytesMin}
	s := openStore(t, cfg)
	defer s.Close()
	if err := s.PutStream(testStream("a", 1)); err != nil {
		t.Fatal(err)
	}
	g := s.Log(metadata.PartitionID{Stream: "a"})
	for i := range 40 {
		if _, err := s.Commit(Entry{Log: g, Batch: makeBatch(t, fmt.Sprint(i), fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
	}
	seg := s.segmentFrom(1, 0)
	flipBit(t, s.pool.path(seg.slot), 5*4096+90)
	var found *CorruptError
	var values int
	for offset := int64(0); offset < g.HighWatermark(); {
		buf, err := g.Read(offset, nil, 300)
		if errors.As(err, &found) {
			offset = found.LastOffset + 1
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		next := offset
		for _, r := range decode(t, buf) {
			if r >= offset {
				values++
				next = r + 1
			}
		}
		offset = next
	}
	if found == nil || found.FirstOffset != 8 || found.LastOffset != 9 || found.Segment != seg.id || found.Stream != "a" {
		t.Errorf("found %v, want records 8 to 9 of segment %d named", found, seg.id)
	}
	if values != 78 {
		t.Errorf("%d records read, want the other 78", values)
	}
}

// TestLostHeader: flash loses the header page of a segment, the newest or an
// older one that lost its footer too. Its first commit tells the same.
func TestLostHeader(t *testing.T) {
	for _, newest := range []bool{true, false} {
		cfg := Config{Dir: t.TempDir(), SegmentBytes: SegmentBytesMin}
		s := openStore(t, cfg)
		if err := s.PutStream(testStream("a", 1)); err != nil {
			t.Fatal(err)
		}
		g := s.Log(metadata.PartitionID{Stream: "a"})
		for i := range 40 {
			if err := put(s, g, t, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		seg := s.lanes[1].active
		if !newest {
			seg = s.segmentFrom(1, 2)
		}
		s.Close()
		flipBit(t, s.pool.path(seg.slot), 30)
		flipBit(t, s.pool.path(seg.slot), SegmentBytesMin-5)
		s = openStore(t, cfg)
		if got := readValues(t, s.Log(g.id), 0); len(got) != 40 || got[39] != "39" {
			t.Errorf("newest %v: %d records read, want all 40", newest, len(got))
		}
		s.Close()
	}
}

// TestLostSnapshot: flash loses the first commit of the newest segment, and with
// it the snapshot. The segment before has one; nothing else may be lost for it.
func TestLostSnapshot(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SegmentBytes: SegmentBytesMin}
	s := openStore(t, cfg)
	if err := s.PutStream(testStream("a", 3)); err != nil {
		t.Fatal(err)
	}
	quiet := s.Log(metadata.PartitionID{Stream: "a", Partition: 2})
	if err := put(s, quiet, t, "long ago"); err != nil {
		t.Fatal(err)
	}
	const records = 50
	for i := range records {
		if err := put(s, s.Log(metadata.PartitionID{Stream: "a", Partition: int32(i % 2)}), t, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	newest := s.lanes[1].active
	if newest.id < 3 || newest.firstSeq+3 > s.lanes[1].seq {
		t.Fatalf("segment %d began with commit %d of %d: the test needs some behind its first", newest.id, newest.firstSeq, s.lanes[1].seq-1)
	}
	s.Close()
	flipBit(t, s.pool.path(newest.slot), 4096+60)
	s = openStore(t, cfg)
	defer s.Close()
	if d, _ := s.Damage(); len(d) == 0 {
		t.Error("the lost commit is not reported")
	}
	if got := readValues(t, s.Log(quiet.id), 0); fmt.Sprint(got) != "[long ago]" {
		t.Errorf("the quiet partition holds %v", got)
	}
	read, lost := 0, int64(0)
	for p := range int32(2) {
		g := s.Log(metadata.PartitionID{Stream: "a", Partition: p})
		if g.EndOffset() != records/2 {
			t.Errorf("partition %d ends at %d, want %d", p, g.EndOffset(), records/2)
		}
		for offset := int64(0); offset < g.EndOffset(); {
			buf, err := g.Read(offset, nil, 1<<10)
			if c := (*CorruptError)(nil); errors.As(err, &c) {
				lost += c.LastOffset - c.FirstOffset + 1
				offset = c.LastOffset + 1
				continue
			} else if err != nil {
				t.Fatal(err)
			}
			n := int64(len(decode(t, buf)))
			read, offset = read+int(n), offset+n
		}
	}
	if lost != 1 || read != records-1 {
		t.Errorf("%d records read and %d named as lost, want %d and 1", read, lost, records-1)
	}
}

// TestBatchesOfNobody: a segment holds batches of a partition that neither the
// metadata file nor a snapshot knows. They are kept, whatever needs room.
func TestBatchesOfNobody(t *testing.T) {
	s, _, _, g := faultyStore(t)
	for i := range 20 {
		if err := put(s, g, t, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	g.SetDrained(20)
	seg := s.segmentFrom(1, 0)
	s.mu.Lock()
	delete(s.refs, g.ref)
	s.mu.Unlock()
	if s.free(seg, drainedBelow) {
		t.Error("a segment of unknown batches was recycled")
	}
	s.mu.Lock()
	s.refs[g.ref] = g
	s.mu.Unlock()
	if !s.free(seg, drainedBelow) {
		t.Error("the same segment, drained and known, was not")
	}
}

func TestPartitionsAreLimited(t *testing.T) {
	s, _, _, _ := faultyStore(t)
	for i := range PartitionsMax / metadata.PartitionsMax {
		err := s.PutStream(testStream(fmt.Sprint("s", i), metadata.PartitionsMax))
		if last := i == PartitionsMax/metadata.PartitionsMax-1; (err != nil) != last { // stream a has one already
			t.Fatalf("stream %d: %v", i, err)
		}
	}
}

// TestStateLimits: a fact beyond the limits is refused, and what was known stays.
func TestStateLimits(t *testing.T) {
	s, _, _, _ := faultyStore(t)
	s.State().Put("k", []byte("v"))
	s.State().Put("k", make([]byte, StateValueMax+1))
	if got := string(s.State().Get("k")); got != "v" {
		t.Errorf("k is %.10q, want v", got)
	}
	if err := s.State().PutSync(strings.Repeat("k", StateKeyMax+1), nil); !errors.Is(err, errStateLimits) {
		t.Errorf("a long key: %v, want errStateLimits", err)
	}
}
