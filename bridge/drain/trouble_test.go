package drain

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cistern/bridge/drain/shape"
)

// shelter keeps what is set aside.
type shelter struct {
	mu   sync.Mutex
	kept []Poison
}

func (q *shelter) Add(p Poison) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.kept = append(q.kept, p)
	return nil
}

var tooLarge = &Error{Verdict: Refused, Reason: "MESSAGE_TOO_LARGE", Err: errors.New("too large")}

// merging makes pieces of several stored batches.
func merging(bytes int, linger time.Duration) *shape.Shaper {
	return shape.New(shape.Config{Rebatch: &shape.Rebatch{Bytes: bytes, Level: 1, Linger: linger}})
}

// TestMergedRefused: upstream refuses a piece of several stored batches for good.
// The one that is the cause is found, and it alone is set aside.
func TestMergedRefused(t *testing.T) {
	for _, verdict := range []*Error{tooLarge, {Verdict: Corrupt, Err: errors.New("damaged")}} {
		t.Run(verdict.Verdict.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := &shelter{}
				log := newShelf(t, 0, 30)
				if verdict.Verdict == Corrupt {
					log.batches[12][70] ^= 1
				}
				b := newBenchOf(t, log, nil, Term{}, Config{Shaper: merging(1<<10, 0), Quarantine: q})
				singles, merged := 0, 0
				for sent := b.sink.take(); len(sent) > 0; sent = b.sink.take() {
					broken := false
					for _, s := range sent {
						if merged++; s.next-s.base == 10 {
							merged--
							singles++
						}
						switch {
						case broken:
							s.done(-1, errors.New("out of order"))
						case s.base <= 120 && 130 <= s.next:
							broken = true
							s.done(-1, verdict)
						default:
							s.done(s.next, nil)
						}
					}
					time.Sleep(QuietTime)
				}
				if len(q.kept) != 1 || q.kept[0].FirstOffset != 120 || q.kept[0].LastOffset != 129 {
					t.Fatalf("set aside: %+v", q.kept)
				}
				if c, _ := b.Cursor(shelfID); c != 300 || merged < 1 || singles < 3 && verdict == tooLarge {
					t.Errorf("drained to %d, with %d merged batches and %d single ones", c, merged, singles)
				}
			})
		})
	}
}

// TestInvalidTimestamp: a batch that is refused for its timestamps, and proven to
// be, goes as if it were of now; if that is refused as well, it is set aside.
func TestInvalidTimestamp(t *testing.T) {
	for name, hopeless := range map[string]bool{"taken": false, "refused again": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := &shelter{}
				b := newBenchOf(t, newShelf(t, 0, 3), nil, Term{}, Config{Quarantine: q})
				refused := &Error{Verdict: Refused, Reason: "INVALID_TIMESTAMP", Err: errors.New("too old")}
				var retimed []*sending
				for sent := b.sink.take(); len(sent) > 0; sent = b.sink.take() {
					broken := false
					for _, s := range sent {
						moved := s.latest == time.Now().UnixMilli()
						if moved {
							retimed = append(retimed, s)
						}
						switch {
						case broken:
							s.done(-1, errors.New("out of order"))
						case s.base == 10 && (hopeless || !moved):
							broken = true
							s.done(-1, refused)
						default:
							s.done(s.next, nil)
						}
					}
				}
				s := b.Status().Partitions[0]
				if len(retimed) != 1 || retimed[0].base != 10 || retimed[0].sequence != 10 || s.Cursor != 30 {
					t.Fatalf("%d batches were given another time, drained to %d", len(retimed), s.Cursor)
				}
				if want := (Tally{1, 10}); hopeless && (s.Quarantined != want || len(q.kept) != 1) || !hopeless && (s.Retimed != want || len(q.kept) > 0) {
					t.Errorf("status %+v, set aside %+v", s, q.kept)
				}
				b.stop()
				if n := b.state.record(t).Counts; !hopeless && n.Retimed.Ranges != 1 {
					t.Errorf("stored %+v", n)
				}
			})
		})
	}
}

// TestLinger: what is little and fresh waits for more, and holds no memory
// meanwhile; what is enough does not.
func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &shelf{fresh: true}
		log.grow(t, 1)
		b := newBenchOf(t, log, nil, Term{}, Config{Shaper: merging(4<<10, 5*time.Second)})
		wantBases(t, "at once", b.sink.take())
		time.Sleep(time.Second)
		log.grow(t, 2)
		wantBases(t, "while it waits", b.sink.take())
		if n := b.Status().BufferBytes; n != 0 {
			t.Errorf("%d bytes are held while it waits", n)
		}
		time.Sleep(5 * time.Second)
		sent := b.sink.take()
		wantBases(t, "after the wait", sent, 0)
		if sent[0].next != 30 {
			t.Errorf("the piece ends at %d, want 30", sent[0].next)
		}
		b.answer(sent)
		log.grow(t, 100)
		time.Sleep(2 * LingerLook)
		full := b.sink.take()
		if len(full) == 0 || full[0].base != 30 || full[0].next < 60 {
			t.Errorf("what is enough waits: %v", bases(full))
		}
		b.answer(full)
	})
}

// TestShapedMemory: what pieces take is in the budget, and comes back.
func TestShapedMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBenchOf(t, newShelf(t, 0, 300), nil, Term{}, Config{Shaper: merging(4<<10, 0)})
		for sent := b.sink.take(); len(sent) > 0; sent = b.sink.take() {
			if n := b.Status().BufferBytes; n < ChunkBytes/4 || n > BufferBytesDefault {
				t.Fatalf("%d bytes in use", n)
			}
			b.answer(sent)
		}
		if s := b.Status(); s.BufferBytes != 0 || s.Partitions[0].Cursor != 3000 || s.Shaped.Pieces == 0 {
			t.Errorf("status %+v", s)
		}
	})
}

// TestRefusedRun: a topic that refuses everything is no poison.
func TestRefusedRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &shelter{}
		b := newBenchOf(t, newShelf(t, 0, 30), nil, Term{}, Config{Quarantine: q})
		for range 4 * RefusedRunMax {
			for _, s := range b.sink.take() {
				s.done(-1, tooLarge)
			}
		}
		if s := b.Status().Partitions[0]; len(q.kept) != RefusedRunMax || s.State != StateStopped {
			t.Errorf("%d set aside, status %+v", len(q.kept), s)
		}
	})
}
