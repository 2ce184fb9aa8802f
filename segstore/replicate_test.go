package segstore

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/vfs"
)

// heldSync is a device whose syncs of segments wait for a word, once armed.
type heldSync struct {
	vfs.FS
	armed chan error // each sync takes one from here
}

func (h *heldSync) Open(name string) (vfs.File, error) {
	f, err := h.FS.Open(name)
	return heldFile{f, h}, err
}

type heldFile struct {
	vfs.File
	h *heldSync
}

func (f heldFile) Sync() error {
	if f.h.armed != nil {
		if err := <-f.h.armed; err != nil {
			return err
		}
	}
	return f.File.Sync()
}

func heldStore(t *testing.T) (*Store, *heldSync, *Log) {
	t.Helper()
	h := &heldSync{FS: vfs.NewPowerCut()}
	s := openStore(t, crashConfig(h, newMemMeta()))
	t.Cleanup(func() { s.Close() })
	if err := s.PutStream(testStream("a", 1)); err != nil {
		t.Fatal(err)
	}
	return s, h, s.Log(pid(0))
}

func submit(s *Store, entries ...Entry) (done chan []Entry) {
	done = make(chan []Entry, 1)
	s.Submit(&Group{Entries: entries, Done: func(g *Group) { done <- g.Entries }})
	return done
}

func leader(epoch int32) func(*batch.Header, int64) (int32, error) {
	return func(*batch.Header, int64) (int32, error) { return epoch, nil }
}

// TestFollowersReadBeforeTheSync: between write and sync the leader's followers
// have what is placed, from memory, and nobody else does.
func TestFollowersReadBeforeTheSync(t *testing.T) {
	s, h, g := heldStore(t)
	placed := make(chan int64, 10)
	g.Replicate(func() { placed <- g.PlacedOffset() })
	if _, err := s.Commit(Entry{Log: g, Batch: makeBatch(t, "a", "b"), Admit: leader(4)}); err != nil {
		t.Fatal(err)
	}
	if end := <-placed; end != 2 || g.EndOffset() != 2 || g.HighWatermark() != 0 {
		t.Fatalf("placed %d, end %d, high watermark %d; want 2, 2, 0", end, g.EndOffset(), g.HighWatermark())
	}
	h.armed = make(chan error)
	done := submit(s, Entry{Log: g, Batch: makeBatch(t, "c"), Admit: leader(4)}, Entry{Log: g, Batch: makeBatch(t, "d", "e"), Admit: leader(4)})
	if end := <-placed; end != 5 || g.EndOffset() != 2 || g.PlacedOffset() != 5 {
		t.Fatalf("placed %d, end %d; want 5, 2", end, g.EndOffset())
	}
	if epoch, end := g.EndOffsetForEpoch(4); epoch != 4 || end != 5 || g.LastEpoch() != 4 {
		t.Errorf("epoch %d ends at %d, the last is %d; want 4, 5, 4", epoch, end, g.LastEpoch())
	}
	for offset, want := range map[int64]string{0: "[0 1]", 2: "[2 3 4]", 3: "[3 4]", 4: "[3 4]", 5: "[]"} {
		if buf, err := g.ReadPlaced(offset, nil, 1<<20); err != nil || fmt.Sprint(decode(t, buf)) != want {
			t.Errorf("placed from %d: %v, %v; want %s", offset, decode(t, buf), err, want)
		}
	}
	if buf, err := g.ReadPlaced(2, nil, 1); err != nil || fmt.Sprint(decode(t, buf)) != "[2]" {
		t.Errorf("one byte at most: %v, %v; want one batch", decode(t, buf), err)
	}
	if _, err := g.ReadPlaced(6, nil, 1); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("beyond what is placed: %v", err)
	}
	if _, err := g.Read(1, nil, 1); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("above the high watermark: %v", err)
	}
	moved, cancel := g.Watch()
	defer cancel()
	g.SetHighWatermark(99)
	if hw := g.HighWatermark(); hw != 2 {
		t.Errorf("high watermark is %d; only 2 records are synced", hw)
	}
	<-moved
	h.armed <- nil
	for _, e := range <-done {
		if e.Err != nil {
			t.Fatal(e.Err)
		}
	}
	if g.HighWatermark() != 2 || g.EndOffset() != 5 || len(g.flight) != 0 {
		t.Errorf("high watermark %d, end %d, %d in flight; want 2, 5, 0", g.HighWatermark(), g.EndOffset(), len(g.flight))
	}
	g.SetHighWatermark(5)
	g.SetHighWatermark(1)
	if got := readValues(t, g, 0); fmt.Sprint(got) != "[a b c d e]" {
		t.Errorf("read %v", got)
	}
	close(h.armed)
}

// TestFailedCommitSpendsTheEpoch: followers may have got what this gateway then
// failed to write. Other batches at those offsets must be of another epoch.
func TestFailedCommitSpendsTheEpoch(t *testing.T) {
	s, h, g := heldStore(t)
	fetched := make(chan []byte, 10)
	g.Replicate(func() {
		buf, err := g.ReadPlaced(g.EndOffset(), nil, 1<<20)
		if err != nil {
			t.Error(err)
		}
		fetched <- buf
	})
	lead := func(epoch int32, v string) error {
		_, err := s.Commit(Entry{Log: g, Batch: makeBatch(t, v), Admit: leader(epoch)})
		return err
	}
	if err := lead(4, "a"); err != nil {
		t.Fatal(err)
	}
	<-fetched
	h.armed = make(chan error, 1)
	h.armed <- syscall.EIO
	if err := lead(5, "lost"); !errors.Is(err, ErrLatched) {
		t.Fatal(err)
	}
	if got := decode(t, <-fetched); fmt.Sprint(got) != "[1]" {
		t.Fatalf("followers got %v, want offset 1", got)
	}
	if epoch, end := g.EndOffsetForEpoch(9); epoch != 4 || end != 1 || g.PlacedOffset() != 1 || g.LastEpoch() != 4 {
		t.Errorf("epoch %d ends at %d, placed %d; want 4, 1, 1", epoch, end, g.PlacedOffset())
	}
	close(h.armed)
	s.lanes[1].heal()
	if err := lead(5, "other"); !errors.Is(err, ErrEpochSpent) {
		t.Errorf("another batch in the spent epoch: %v, want ErrEpochSpent", err)
	}
	if err := lead(6, "b"); err != nil {
		t.Fatal(err)
	}
	if epoch, end := g.EndOffsetForEpoch(5); epoch != 4 || end != 1 {
		t.Errorf("epoch 5 left a trace: %d ends at %d", epoch, end)
	}
	g.SetHighWatermark(2)
	if got := readValues(t, g, 0); fmt.Sprint(got) != "[a b]" {
		t.Errorf("read %v", got)
	}
}

// TestAdmit: its word is asked in log order, with the offset the batch will get,
// and only for batches that there is room for.
func TestAdmit(t *testing.T) {
	s, _, g := heldStore(t)
	g.Replicate(nil)
	refused := errors.New("a duplicate")
	var asked []int64
	admit := func(err error) func(*batch.Header, int64) (int32, error) {
		return func(_ *batch.Header, base int64) (int32, error) {
			asked = append(asked, base)
			return 3, err
		}
	}
	entries, err := s.Commit(Entry{Log: g, Batch: makeBatch(t, "a", "b"), Admit: admit(nil)},
		Entry{Log: g, Batch: makeBatch(t, "no"), Admit: admit(refused)}, Entry{Log: g, Batch: makeBatch(t, "c"), Admit: admit(nil)})
	if !errors.Is(err, refused) || entries[0].Err != nil || entries[2].Err != nil || fmt.Sprint(asked) != "[0 2 2]" {
		t.Errorf("asked for %v: %v, %v, %v", asked, entries[0].Err, entries[1].Err, entries[2].Err)
	}
	verbatim := func(epoch, admitted int32) error {
		b := makeBatch(t, "v")
		batch.Stamp(b, g.EndOffset(), epoch)
		_, err := s.Commit(Entry{Log: g, Batch: b, Verbatim: true, Admit: leader(admitted)})
		return err
	}
	if err := verbatim(4, 5); !errors.Is(err, ErrWrongEpoch) {
		t.Errorf("a verbatim batch of another epoch: %v", err)
	}
	if err := errors.Join(verbatim(4, 4), verbatim(5, 5)); err != nil {
		t.Error(err)
	}
	if err := verbatim(4, 4); !errors.Is(err, ErrWrongEpoch) {
		t.Errorf("a batch of an older epoch: %v", err)
	}
	asked = nil
	var last error
	for range 100 {
		n := len(asked)
		if _, last = s.Commit(Entry{Log: g, Batch: makeBatch(t, fmt.Sprintf("%20000d", 1)), Admit: func(*batch.Header, int64) (int32, error) {
			asked = append(asked, 0)
			return 6, nil
		}}); last != nil {
			if len(asked) != n {
				t.Error("Admit was asked about a batch that there was no room for")
			}
			break
		}
	}
	if !errors.Is(last, ErrFull) {
		t.Errorf("filled: %v, want ErrFull: records above the high watermark never give way", last)
	}
}

// TestRestart: a follower that fell behind, or followed another history, begins
// anew where its leader says, above or below.
func TestRestart(t *testing.T) {
	meta, p := newMemMeta(), vfs.NewPowerCut()
	s := openStore(t, crashConfig(p, meta))
	if err := s.PutStream(testStream("a", 1)); err != nil {
		t.Fatal(err)
	}
	var first int64
	var want []string
	add := func(n int, epoch int32, word string) {
		t.Helper()
		for i := range n {
			g := s.Log(pid(0))
			v := fmt.Sprintf("%s%d%9000d", word, i, i)
			b := makeBatch(t, v)
			batch.Stamp(b, g.EndOffset(), epoch)
			if _, err := s.Commit(Entry{Log: g, Batch: b, Verbatim: true}); err != nil {
				t.Fatal(err)
			}
			want = append(want, v)
		}
	}
	check := func() {
		t.Helper()
		g := s.Log(pid(0))
		if g.StartOffset() != first || g.EndOffset() != first+int64(len(want)) {
			t.Fatalf("the log has %d to %d, want %d to %d", g.StartOffset(), g.EndOffset(), first, first+int64(len(want)))
		}
		if got := readValues(t, g, first); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%d records read back wrong", len(want))
		}
		if _, err := g.Read(first-1, nil, 1); !errors.Is(err, ErrOffsetOutOfRange) {
			t.Errorf("below the start: %v", err)
		}
	}
	reopen := func() {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, crashConfig(p, meta))
		if u := s.Unclean(); len(u) > 0 {
			t.Fatalf("unclean: %v", u)
		}
	}
	restart := func(at int64) {
		t.Helper()
		if _, err := s.Commit(Entry{Log: s.Log(pid(0)), Restart: true, Offset: at}); err != nil {
			t.Fatal(err)
		}
		first, want = at, nil
		if e := s.Log(pid(0)).LastEpoch(); e != -1 {
			t.Errorf("the last epoch of an empty log is %d", e)
		}
	}
	add(12, 3, "a")
	restart(500)
	check()
	reopen()
	check()
	add(9, 2, "b") // an older epoch: nothing is left that it could contradict
	check()
	reopen()
	check()
	restart(100)
	add(2, 5, "c")
	check()
	reopen()
	check()
	s.Log(pid(0)).SetDrained(101)
	add(8, 6, "d")
	restart(101) // in the middle of what older segments hold
	add(3, 6, "e")
	check()
	reopen()
	check()
	g := s.Log(pid(0))
	if epoch, end := g.EndOffsetForEpoch(99); epoch != 6 || end != 104 {
		t.Errorf("epoch %d ends at %d, want 6 and 104", epoch, end)
	}
	if epoch, _ := g.EndOffsetForEpoch(5); epoch != -1 {
		t.Errorf("epoch %d is still known", epoch)
	}
	if g.Truncated() != 12+9+10 || g.Dropped() != 0 {
		t.Errorf("%d records truncated, %d dropped; want 31 and 0", g.Truncated(), g.Dropped())
	}
	// What was given up makes room without a word from anybody.
	for s.freeFirst(1, drainedBelow) {
	}
	check()
	add(6, 7, "f")
	check()
	reopen()
	check()
	s.Close()
}

// TestFreedSegmentsTakeOnlyTheirOwn: a segment whose tail was cut off is freed
// with what it still counts for, not with what was written at those offsets since.
func TestFreedSegmentsTakeOnlyTheirOwn(t *testing.T) {
	meta, p := newMemMeta(), vfs.NewPowerCut()
	s := openStore(t, crashConfig(p, meta))
	if err := s.PutStream(testStream("a", 1)); err != nil {
		t.Fatal(err)
	}
	g := s.Log(pid(0))
	for range 10 {
		if err := put(s, g, t, fmt.Sprintf("old%9000d", 1)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Commit(Entry{Log: g, Truncate: true, Offset: 2}); err != nil {
		t.Fatal(err)
	}
	for range 12 {
		if err := put(s, g, t, fmt.Sprintf("new%9000d", 1)); err != nil {
			t.Fatal(err)
		}
	}
	g.SetDrained(2)
	for s.freeFirst(1, drainedBelow) {
	}
	if g.StartOffset() != 2 || g.Dropped() != 0 {
		t.Fatalf("the log starts at %d, %d dropped; drained were 2", g.StartOffset(), g.Dropped())
	}
	for range 2 {
		if got := readValues(t, g, 2); len(got) != 12 || got[0][:3] != "new" {
			t.Fatalf("%d records, %.5q…", len(got), got)
		}
		s.Close()
		s = openStore(t, crashConfig(p, meta))
		g = s.Log(pid(0))
	}
	s.Close()
}

// TestReservedStreamsHaveRoom: what gateways keep for themselves is stored like
// any stream.
func TestReservedStreamsHaveRoom(t *testing.T) {
	s, _, _ := heldStore(t)
	name := metadata.ReservedPrefix + "parked.a"
	if err := s.PutStream(testStream(name, 2)); err != nil {
		t.Fatal(err)
	}
	if err := put(s, s.Log(metadata.PartitionID{Stream: name, Partition: 1}), t, "waits"); err != nil {
		t.Error(err)
	}
}

// What is cut off is out of bounds before the index forgets it: a reader between
// the two would take it for lost.
func TestBoundsGoBeforeTheIndex(t *testing.T) {
	for _, restart := range []bool{false, true} {
		s, _, g := heldStore(t)
		for range 4 {
			if _, err := s.Commit(Entry{Log: g, Batch: makeBatch(t, "v")}); err != nil {
				t.Fatal(err)
			}
		}
		g.lane.activeMu.RLock() // nothing is forgotten while somebody looks
		cut := submit(s, Entry{Log: g, Truncate: !restart, Restart: restart, Offset: 2})
		for deadline := time.Now().Add(time.Minute); g.EndOffset() != 2; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Errorf("restart %v: the log ends at %d while the index is about to forget what is behind 2", restart, g.EndOffset())
				break
			}
		}
		g.lane.activeMu.RUnlock()
		if done := <-cut; done[0].Err != nil {
			t.Error(done[0].Err)
		}
	}
}

// TestReadersBesideTruncation: a reader never gets what was cut off before it
// asked, nor is told of damage where there is none, while a follower is cut back
// and goes on with batches of another leader all the time.
func TestReadersBesideTruncation(t *testing.T) {
	s, _, g := heldStore(t)
	var epoch atomic.Int32 // of the tail; below low nothing is ever cut
	const low, rounds = 6, 60
	add := func(n int) error {
		for range n {
			b := makeBatch(t, fmt.Sprintf("%5000d", 1))
			batch.Stamp(b, g.EndOffset(), epoch.Load())
			if _, err := s.Commit(Entry{Log: g, Batch: b, Verbatim: true}); err != nil {
				return err
			}
		}
		return nil
	}
	if err := add(low); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		reading.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				oldest := epoch.Load() - 1 // the truncation for the epoch itself may still be on its way
				buf, err := g.Read(low+3, nil, 1)
				if errors.Is(err, ErrOffsetOutOfRange) || err == nil && len(buf) == 0 {
					continue
				}
				h, herr := batch.ParseHeader(buf)
				if err = errors.Join(err, herr); err != nil || h.BaseOffset != low+3 || h.LeaderEpoch < oldest {
					t.Errorf("read offset %d of epoch %d, %v; asked for %d when the epoch was at least %d", h.BaseOffset, h.LeaderEpoch, err, low+3, oldest)
					return
				}
			}
		})
	}
	var err error
	for range rounds {
		epoch.Add(1)
		if _, err = s.Commit(Entry{Log: g, Truncate: true, Offset: low}); err != nil {
			break
		}
		if err = add(8); err != nil {
			break
		}
	}
	close(done)
	reading.Wait()
	if err != nil {
		t.Fatal(err)
	}
}

// TestCutOutlivesItsFrame: the segment with the truncation may go before an
// older one that holds what was cut off, pinned there by another partition.
func TestCutOutlivesItsFrame(t *testing.T) {
	meta, p := newMemMeta(), vfs.NewPowerCut()
	s := openStore(t, crashConfig(p, meta))
	if err := s.PutStream(testStream("a", 3)); err != nil {
		t.Fatal(err)
	}
	log := func(i int32) *Log { return s.Log(metadata.PartitionID{Stream: "a", Partition: i}) }
	add := func(i int32, n int, word string) {
		t.Helper()
		for range n {
			if err := put(s, log(i), t, fmt.Sprintf("%s%9000d", word, 1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(0, 8, "old")
	add(1, 1, "pin")
	pinned := s.lanes[1].header.ID
	add(0, 1, "old")
	add(2, 5, "filler")
	if _, err := s.Commit(Entry{Log: log(0), Truncate: true, Offset: 2}); err != nil {
		t.Fatal(err)
	}
	cut := s.lanes[1].header.ID
	add(2, 9, "filler")
	add(0, 9, "new")
	log(2).SetDrained(14)
	for s.freeFirst(1, drainedBelow) {
	}
	if s.segment(cut) != nil || s.segment(pinned) == nil || cut == pinned {
		t.Fatal("the segments did not go in the order this test is about")
	}
	add(2, 6, "filler") // the next snapshot says that they went
	for range 2 {
		got := tell(t, log(0)).records // with reads that span segments
		if len(got) != 11 || got[1].value[:3] != "old" || got[2].value[:3] != "new" {
			t.Fatalf("%d records, the third is %.5q…", len(got), got[2].value)
		}
		s.Close()
		s = openStore(t, crashConfig(p, meta))
	}
	s.Close()
}

// TestEpochsAreWitnessed: what batches in the journal say of epochs counts more
// than what was noted of them.
func TestEpochsAreWitnessed(t *testing.T) {
	for _, c := range []struct {
		noted epochCache
		epoch int32
		at    int64
		want  string
	}{
		{epochCache{{3, 0}}, 3, 7, "[{3 0}]"},
		{epochCache{{3, 0}, {5, 10}}, 5, 12, "[{3 0} {5 10}]"},
		{epochCache{{3, 0}, {5, 10}}, 4, 10, "[{3 0} {4 10}]"}, // noted for a commit that failed, another was there
		{epochCache{{3, 0}}, 5, 10, "[{3 0} {5 10}]"},          // removed for a commit that never came
		{epochCache{{3, 0}, {4, 2}, {5, 4}}, 4, 4, "[{3 0} {4 2}]"},
	} {
		got := append(epochCache(nil), c.noted...)
		if got.witness(c.epoch, c.at); fmt.Sprint(got) != c.want {
			t.Errorf("%v, and epoch %d at %d: %v, want %s", c.noted, c.epoch, c.at, got, c.want)
		}
	}
}
