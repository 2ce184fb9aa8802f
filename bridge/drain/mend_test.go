package drain

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
	"cistern/segstore/replica"
)

// rotten is a shelf whose flash has lost batches, and the mender of it.
type rotten struct {
	*shelf
	mu    sync.Mutex
	lost  map[int64]replica.Mending // by base offset: what the mender says of it
	asked int                       // times that the mender was asked
	reads int                       // of what is lost
	ended chan struct{}
}

func rot(log *shelf, says replica.Mending, bases ...int64) *rotten {
	r := &rotten{shelf: log, lost: map[int64]replica.Mending{}, ended: make(chan struct{}, 1)}
	for _, b := range bases {
		r.lost[b] = says
	}
	return r
}

func (r *rotten) Read(offset int64, buf []byte, sizeMax int) ([]byte, error) {
	run, err := r.shelf.Read(offset, nil, sizeMax)
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(buf)
	for rest := run; len(rest) > 0; {
		h, _ := batch.ParseHeader(rest)
		if says, lost := r.lost[h.BaseOffset]; lost && says != replica.Mended {
			if len(buf) > n {
				return buf, nil
			}
			r.reads++
			return buf, &segstore.CorruptError{FirstOffset: h.BaseOffset, LastOffset: h.LastOffset(), Cause: errors.New("rotten")}
		}
		buf, rest = append(buf, rest[:h.Size()]...), rest[h.Size():]
	}
	return buf, err
}

func (r *rotten) Mend(_ metadata.PartitionID, first, _ int64) replica.Mending {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	return r.lost[first]
}

func (r *rotten) WatchMends() (<-chan struct{}, func()) { return r.ended, func() {} }

// becomes says what the mender found out about what is lost.
func (r *rotten) becomes(says replica.Mending, tell bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for b := range r.lost {
		r.lost[b] = says
	}
	if tell {
		r.ended <- struct{}{}
	}
}

func newRottenBench(t *testing.T, r *rotten, m Mender) *bench {
	t.Helper()
	sink := &hand{}
	state := &memory{kept: map[string][]byte{}}
	d, err := New(Config{Sink: sink, State: state, Quarantine: noQuarantine{}, Mender: m, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Add(r, Term{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); d.Run(ctx) }()
	stop := func() { cancel(); <-done }
	t.Cleanup(stop)
	return &bench{d, r.shelf, state, sink, stop}
}

// drained answers whatever is sent, and returns the offsets at which it began.
func (b *bench) drained() (all []int64) {
	for sent := b.sink.take(); len(sent) > 0; sent = b.sink.take() {
		all = append(all, bases(sent)...)
		b.answer(sent)
	}
	return all
}

func wantOffsets(t *testing.T, when string, got []int64, want ...int64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: batches %v, want %v", when, got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: batches %v, want %v", when, got, want)
		}
	}
}

// TestMend: the flow waits at what flash lost, holding neither memory nor busy
// with flash, and goes on with it, in order, as soon as it is back.
func TestMend(t *testing.T) {
	for name, tell := range map[string]bool{"told": true, "looked": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rot(newShelf(t, 0, 6), replica.Underway, 20, 30)
				b := newRottenBench(t, r, r)
				wantOffsets(t, "before what is lost", b.drained(), 0, 10)
				s := b.Status().Partitions[0]
				if s.State != StateMending || !strings.Contains(s.Reason, "records 20 to 29") || s.Gaps.Records != 0 {
					t.Fatalf("it waits as %q, %q, gaps %+v", s.State, s.Reason, s.Gaps)
				}
				b.log.grow(t, 1) // there is news: no reason to read again
				synctest.Wait()
				if used := b.Status().BufferBytes; used != 0 || r.reads != 1 {
					t.Errorf("while it waits it holds %d bytes, and has read %d times", used, r.reads)
				}
				before := time.Now()
				r.becomes(replica.Mended, tell)
				if !tell {
					time.Sleep(MendLook)
				}
				wantOffsets(t, "mended", b.drained(), 20, 30, 40, 50, 60)
				if waited := time.Since(before); tell && waited > 0 {
					t.Errorf("it looked after %s", waited)
				}
				if s := b.Status().Partitions[0]; s.State != StateIdle || s.Gaps.Records != 0 || s.Cursor != 70 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// TestMendNowhere: what no copy has is a gap, counted, as it is without a mender.
func TestMendNowhere(t *testing.T) {
	for name, without := range map[string]bool{"nowhere": false, "no mender": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rot(newShelf(t, 0, 4), replica.Underway, 10)
				var m Mender = r
				if without {
					m = nil
				} else {
					defer func() {
						if r.asked == 0 {
							t.Error("the mender was not asked")
						}
					}()
				}
				b := newRottenBench(t, r, m)
				first := b.drained()
				if !without {
					wantOffsets(t, "at first", first, 0)
					r.becomes(replica.Nowhere, true)
					first = append(first, b.drained()...)
				}
				wantOffsets(t, "all", first, 0, 20, 30)
				if s := b.Status().Partitions[0]; s.Gaps != (Tally{1, 10}) {
					t.Errorf("gaps %+v", s.Gaps)
				}
			})
		})
	}
}

// TestMendInVain: a range that is called mended and still can't be read is neither
// given up nor asked for without a pause.
func TestMendInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rot(newShelf(t, 0, 3), replica.Underway, 10)
		liar := liar{r}
		b := newRottenBench(t, r, liar)
		wantOffsets(t, "before", b.drained(), 0)
		time.Sleep(10*MendLook + MendLook/2)
		synctest.Wait()
		if r.reads > 15 {
			t.Errorf("read %d times in ten seconds", r.reads)
		}
		if s := b.Status().Partitions[0]; s.State != StateMending || s.Gaps.Records != 0 {
			t.Errorf("%+v", s)
		}
		r.becomes(replica.Mended, true)
		wantOffsets(t, "behind", b.drained(), 10, 20)
	})
}

type liar struct{ *rotten }

func (liar) Mend(metadata.PartitionID, int64, int64) replica.Mending { return replica.Mended }

// TestMendSkip: an operator goes on without what is waited for; the next range that
// is lost is waited for all the same. Pausing works as well.
func TestMendSkip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rot(newShelf(t, 0, 8), replica.Underway, 20, 60)
		b := newRottenBench(t, r, r)
		wantOffsets(t, "before what is lost", b.drained(), 0, 10)
		if err := b.Pause(t.Context(), shelfID, true); err != nil {
			t.Fatal(err)
		}
		if err := b.Pause(t.Context(), shelfID, false); err != nil {
			t.Fatal(err)
		}
		wantOffsets(t, "after a pause", b.drained())
		s, err := b.Skip(t.Context(), shelfID, 30, "", false)
		if err != nil || s.Records != 10 {
			t.Fatalf("%+v, %v", s, err)
		}
		wantOffsets(t, "skipped", b.drained(), 30, 40, 50)
		if st := b.Status().Partitions[0]; st.State != StateMending || st.Skipped.Records != 10 || st.Gaps.Records != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// TestMendStop: a drain that waits stops at once, and its successor waits at the
// same place.
func TestMendStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rot(newShelf(t, 0, 3), replica.Underway, 10)
		b := newRottenBench(t, r, r)
		wantOffsets(t, "before", b.drained(), 0)
		before := time.Now()
		b.stop()
		if d := time.Since(before); d > 0 {
			t.Errorf("it took %s to stop", d)
		}
		if c := b.state.cursor(t); c.Position != 10 {
			t.Errorf("stopped with %+v", c)
		}
	})
}
