package segstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/vfs"
)

// TestReadersBesideRecycling runs writers, readers and house-keeping together in
// a store so small that segments are recycled all the time. A reader must see
// every offset once and in order, with the bytes that were appended, or be told
// that the offset has expired; never anything else.
func TestReadersBesideRecycling(t *testing.T) {
	const partitions, commits = 4, 300
	s := openStore(t, Config{Dir: t.TempDir(), SegmentBytes: SegmentBytesMin, MaxBytes: 48 * SegmentBytesMin})
	defer s.Close()
	a, b := testStream("a", partitions), testStream("b", partitions)
	b.Lane = "bulk"
	if err := errors.Join(s.PutStream(a), s.PutStream(b)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var keeping, writing, reading sync.WaitGroup
	keeping.Go(func() { s.Run(ctx) })
	// House-keeping that stands still may let the writers fill new files only: then
	// another round is written.
	const rounds = 5
	for round := int64(0); round == 0 || round < rounds && !recycles(s) && !t.Failed(); round++ {
		first, end := round*commits, (round+1)*commits
		for _, g := range s.Logs() {
			finished := make(chan struct{})
			writing.Go(func() {
				defer close(finished)
				for n := first; n < end; n++ {
					v := fmt.Sprintf("%s %d %0*d", g.id, n, int(n%7)*600, 0)
					if _, err := s.Commit(Entry{Log: g, Batch: makeBatch(t, v)}); err != nil {
						t.Errorf("%s, append %d: %v", g.id, n, err)
						return
					}
					g.SetDrained(n) // so that all but the last may go at any time
				}
			})
			reading.Go(func() { readAll(t, g, finished, first, end) })
		}
		writing.Wait()
		reading.Wait()
	}
	stop()
	keeping.Wait()
	if !recycles(s) {
		t.Errorf("%d segments in %d slots: none was recycled", s.nextID, s.pool.nextSlot)
	}
}

// recycles says whether some segment lies where another did.
func recycles(s *Store) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	return s.nextID > uint64(s.pool.nextSlot)
}

// A reader that looked at the bounds before retention freed what it asks for is
// told that it expired, not that flash lost it.
func TestAReaderOvertakenByRetention(t *testing.T) {
	s := openStore(t, crashConfig(vfs.NewPowerCut(), newMemMeta()))
	c := testStream("bulk", 1)
	c.Lane, c.WhenFull = "bulk", metadata.DropOldest
	if err := s.PutStream(c); err != nil {
		t.Fatal(err)
	}
	g := s.Log(metadata.PartitionID{Stream: "bulk"})
	for i := range 40 {
		if err := put(s, g, t, fmt.Sprintf("%20000d", i)); err != nil {
			t.Fatal(err)
		}
	}
	gone := g.StartOffset() - 1
	if gone < 0 {
		t.Fatal("nothing was freed")
	}
	looked := false
	before := func() bounds {
		b := g.visible()
		if !looked {
			looked, b.start = true, gone
		}
		return b
	}
	if buf, err := g.readTo(before, gone, nil, 8<<10); !errors.Is(err, ErrOffsetOutOfRange) || len(buf) > 0 {
		t.Errorf("%d bytes, %v", len(buf), err)
	}
}

// readAll follows a log from an offset until it has seen its last record.
func readAll(t *testing.T, g *Log, finished <-chan struct{}, from, end int64) {
	moved, cancel := g.Watch()
	defer cancel()
	var buf []byte
	for offset := from; offset < end; {
		var err error
		buf, err = g.Read(offset, buf[:0], 8<<10)
		switch {
		case errors.Is(err, ErrOffsetOutOfRange):
			start := g.StartOffset()
			if start <= offset {
				t.Errorf("%s: out of range at %d, which has not expired: it begins at %d", g.id, offset, start)
				return
			}
			offset = start
			continue
		case err != nil:
			t.Errorf("%s at %d: %v", g.id, offset, err)
			return
		case len(buf) == 0:
			select {
			case <-moved:
			case <-finished:
				if g.EndOffset() < end {
					return // the writer failed, and said so
				}
			}
			continue
		}
		if offset, err = follow(g.id, buf, offset); err != nil {
			t.Error(err)
			return
		}
	}
}

// follow checks a run of batches that begins at offset, and returns the next.
func follow(id metadata.PartitionID, buf []byte, offset int64) (int64, error) {
	for len(buf) > 0 {
		one, rest, err := batch.Next(buf)
		if err != nil {
			return offset, err
		}
		for r, err := range batch.Records(one, 1<<20) {
			if err != nil {
				return offset, err
			}
			want := fmt.Sprintf("%s %d ", id, offset)
			if r.Offset != offset || len(r.Value) < len(want) || string(r.Value[:len(want)]) != want {
				return offset, fmt.Errorf("%s at %d: record %d holds %.30q", id, offset, r.Offset, r.Value)
			}
			offset++
		}
		buf = rest
	}
	return offset, nil
}
