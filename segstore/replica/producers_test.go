package replica

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// header is a batch of n records of a producer, at base.
func header(id int64, sequence int32, n int32) *batch.Header {
	return &batch.Header{LastOffsetDelta: n - 1, Count: n, Producer: batch.Producer{ID: id, Sequence: sequence}}
}

func TestProducersTellNewFromOld(t *testing.T) {
	p := NewProducers()
	for i := range int32(8) {
		p.Observe(header(7, 10*i, 10), int64(10*i)) // 0..79
	}
	for _, c := range []struct {
		name     string
		h        *batch.Header
		want     error
		base, at int64 // of a duplicate
	}{
		{"next", header(7, 80, 5), nil, 0, 0},
		{"last", header(7, 70, 10), &DuplicateError{}, 70, 80},
		{"oldest in the window", header(7, 20, 10), &DuplicateError{}, 20, 30},
		{"older than the window", header(7, 0, 10), &DuplicateError{}, -1, 30},
		{"cut otherwise", header(7, 65, 5), &DuplicateError{}, -1, 70},
		{"gap", header(7, 81, 5), ErrOutOfOrderSequence, 0, 0},
		{"overlap", header(7, 75, 10), ErrOutOfOrderSequence, 0, 0},
		{"unknown", header(8, 5, 1), ErrUnknownProducer, 0, 0},
		{"new", header(8, 0, 1), nil, 0, 0},
		{"no producer", header(-1, -1, 1), nil, 0, 0},
	} {
		err := p.check(c.h)
		var dup *DuplicateError
		switch {
		case errors.As(err, &dup):
			if _, ok := c.want.(*DuplicateError); !ok || dup.Base != c.base || dup.End != c.at {
				t.Errorf("%s: duplicate %+v", c.name, dup)
			}
		case !errors.Is(err, c.want):
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestProducerSequencesWrap(t *testing.T) {
	p := NewProducers()
	p.Observe(header(7, math.MaxInt32-4, 10), 0) // ends with sequence 4
	if err := p.check(header(7, 5, 1)); err != nil {
		t.Fatal(err)
	}
	var dup *DuplicateError
	if err := p.check(header(7, math.MaxInt32-4, 10)); !errors.As(err, &dup) || dup.Base != 0 {
		t.Fatal(err)
	}
	if err := p.check(header(7, 4, 1)); !errors.As(err, &dup) {
		t.Fatal(err)
	}
	if err := p.check(header(7, math.MaxInt32-4, 11)); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Fatal(err)
	}
}

// Whatever is rolled back, the table is the one of the shorter log.
func TestProducersRollback(t *testing.T) {
	for cut := range int64(40) {
		p, want := NewProducers(), NewProducers()
		for i := range int64(20) {
			h := header(1+i%4, int32(i/4)*2, 2)
			p.Observe(h, 2*i)
			if 2*i+2 <= cut {
				want.Observe(h, 2*i)
			}
		}
		p.Rollback(cut)
		for id := range int64(6) {
			for s := range int32(14) {
				got, exp := p.check(header(id, s, 2)), want.check(header(id, s, 2))
				if (got == nil) != (exp == nil) {
					t.Fatalf("cut at %d, producer %d, sequence %d: %v, want %v", cut, id, s, got, exp)
				}
			}
		}
	}
}

// With more cut off than the window holds, nobody knows what is new: not even
// a batch that looks like a beginning.
func TestProducersRollbackBeyondTheWindow(t *testing.T) {
	p := NewProducers()
	for i := range int32(10) {
		p.Observe(header(7, i, 1), int64(i))
	}
	if p.Forgetful() {
		t.Fatal("forgetful before anything was cut off")
	}
	p.Rollback(2)
	if !p.Forgetful() {
		t.Error("it is not said that the log has to be read")
	}
	for s := range int32(4) {
		if err := p.check(header(7, s, 1)); !errors.Is(err, ErrUnknownProducer) {
			t.Fatalf("sequence %d: %v", s, err)
		}
	}
}

func TestProducersAreBounded(t *testing.T) {
	p := NewProducers()
	p.Observe(header(1000, 0, 1), 0)
	for i := range int64(ProducersMax) {
		p.Observe(header(i, 0, 1), i+1)
	}
	if len(p.byID) != ProducersMax || p.byID[1000] != nil || p.byID[0] == nil {
		t.Fatalf("%d producers; who appended longest ago should go", len(p.byID))
	}
}

func TestProducersCodec(t *testing.T) {
	p := NewProducers()
	for i := range int64(200) {
		p.Observe(header(1<<62|i%20, int32(i/20)*3, 3), 3*i)
	}
	p.Rollback(3 * 175)
	b := p.Encode()
	got, err := DecodeProducers(b)
	if err != nil || !reflect.DeepEqual(got.normal(), p.normal()) {
		t.Fatalf("%v, %d bytes\n%v\n%v", err, len(b), got.normal(), p.normal())
	}
	for i := range b {
		DecodeProducers(b[:i]) // an error or a shorter table, never a panic
	}
}

// normal shows the table without what lies beyond the windows' ends.
func (t *Producers) normal() map[int64][]sent {
	m := map[int64][]sent{-1: {{end: t.end}}}
	for id, p := range t.byID {
		m[id] = append([]sent{}, p.window[:p.n]...)
		if p.more {
			m[id] = append(m[id], sent{})
		}
	}
	return m
}

// A full table does not fit in a small fact: who appended last is kept.
func TestProducersEncodeIsBounded(t *testing.T) {
	p := NewProducers()
	base := int64(0)
	for i := range int64(ProducersMax * ProducerWindow) {
		n := int32(1000)
		p.Observe(header(1<<62|i%ProducersMax, int32(i/ProducersMax)*n, n), base)
		base += int64(n)
	}
	b := p.Encode()
	got, err := DecodeProducers(b)
	if err != nil || len(b) > ProducersBytesMax || len(got.byID) < 30 || got.End() != p.End() {
		t.Fatalf("%v: %d bytes, %d producers", err, len(b), len(got.byID))
	}
	if got.byID[1<<62|ProducersMax-1] == nil {
		t.Fatal("who appended last is not kept")
	}
}

func FuzzDecodeProducers(f *testing.F) {
	p := NewProducers()
	for i := range int64(20) {
		p.Observe(header(i%3, int32(i/3), 1), i)
	}
	f.Add(p.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := DecodeProducers(b)
		if err != nil {
			return
		}
		p.Rollback(p.End() / 2)
		for id := range p.byID {
			p.check(header(id, 3, 2))
			p.Observe(header(id, 3, 2), p.End())
		}
		if _, err := DecodeProducers(p.Encode()); err != nil {
			t.Fatal(err)
		}
	})
}

// What was stored must not outlive the records it was about: a table that was
// stored, a cut, other records in their place, and a crash.
func TestStoredProducersAfterACut(t *testing.T) {
	w := newWorld(t, 0)
	send := func(n metadata.NodeID, id int64) {
		if err := w.tryAppend(n, metadata.AcksAll, batch.Producer{ID: id}); err != nil {
			t.Fatal(err)
		}
		w.sync(n)
	}
	w.agree(B, everybody, everybody...)
	w.append(B)
	w.sync(B)
	w.follow(B, A, C)
	send(B, 7) // at B alone
	stored := w.nodes[B].Producers().Encode()
	w.agree(A, everybody, everybody...)
	send(A, 8)
	w.follow(A, B, C)
	known, err := DecodeProducers(stored)
	if err != nil {
		t.Fatal(err)
	}
	known.Align(w.nodes[B].log)
	for _, h := range w.nodes[B].log.batches {
		known.Observe(&h, h.BaseOffset)
	}
	var dup *DuplicateError
	if err := known.check(header(8, 0, 1)); !errors.As(err, &dup) {
		t.Errorf("producer 8 has appended: %v", err)
	}
	if err := known.check(header(7, 0, 1)); err != nil {
		t.Errorf("what producer 7 appended was cut off: %v", err)
	}
}

// After an unclean election even what was confirmed may be something else.
func TestStoredProducersOfAnotherLog(t *testing.T) {
	w := newWorld(t, 0)
	w.agree(B, []metadata.NodeID{B, A}, everybody...)
	for id := range int64(3) {
		if err := w.tryAppend(B, metadata.AcksAll, batch.Producer{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	w.sync(B)
	w.follow(B, A)
	stored, err := DecodeProducers(w.nodes[B].Producers().Encode())
	if err != nil || stored.End() != 3 {
		t.Fatal(stored, err)
	}
	w.state.Unclean++
	w.agree(C, []metadata.NodeID{C}, B, C)
	for range 5 {
		w.nodes[C].log.place(oneRecord(1, noProducer), w.state.LeaderEpoch)
	}
	w.sync(C)
	w.follow(C, B)
	if stored.Align(w.nodes[B].log); stored.End() != 0 || len(stored.byID) != 0 {
		t.Fatal("the table is of records that were given up")
	}
}

// In whatever order batches are found again, the table is the one that saw all of them
// in their order: nobody goes back, and nobody is taken for another.
func TestProducersInsert(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		want, got := NewProducers(), NewProducers()
		var lost []int
		var all []*batch.Header
		next := map[int64]int32{}
		for i := range 60 {
			id := int64(r.IntN(5)) - 1 // -1: none
			all = append(all, header(id, next[id], 2))
			next[id] += 2
			want.Observe(all[i], int64(2*i))
			if r.IntN(3) == 0 {
				lost = append(lost, i)
			} else {
				got.Observe(all[i], int64(2*i))
			}
		}
		r.Shuffle(len(lost), func(i, j int) { lost[i], lost[j] = lost[j], lost[i] })
		for _, i := range lost {
			before := map[int64]int64{}
			for id, p := range got.byID {
				before[id] = p.lastEnd()
			}
			got.Insert(all[i], int64(2*i))
			got.Insert(all[i], int64(2*i)) // told twice
			for id, end := range before {
				if now := got.byID[id].lastEnd(); now < end {
					t.Fatalf("producer %d went back from %d to %d", id, end, now)
				}
			}
		}
		if got.End() != want.End() || len(got.byID) != len(want.byID) {
			t.Fatalf("end %d and %d producers, want %d and %d", got.End(), len(got.byID), want.End(), len(want.byID))
		}
		for id, w := range want.byID {
			g := got.byID[id]
			if g.n != w.n || g.window != w.window || w.more && !g.more {
				t.Fatalf("seed %d, producer %d: %+v, want %+v", seed, id, g, w)
			}
		}
	}
}

// What would have been forgotten by now is not learned again, nor what came before
// something that was cut off and is not known: it would be taken for the last one.
func TestProducersInsertTooLate(t *testing.T) {
	p := NewProducers()
	for i := range int64(ProducersMax) {
		p.Observe(header(100+i, 0, 1), 10+i)
	}
	p.Insert(header(7, 0, 1), 5)
	if p.byID[7] != nil || len(p.byID) != ProducersMax {
		t.Error("one that was forgotten is known again")
	}
	p.Insert(header(7, 0, 1), 200)
	if p.byID[7] == nil || len(p.byID) != ProducersMax {
		t.Error("one that came last is not known")
	}
	p = NewProducers()
	for i := range int32(10) {
		p.Observe(header(7, i, 1), int64(i))
	}
	p.Rollback(3)
	p.Insert(header(7, 1, 1), 1)
	if err := p.check(header(7, 2, 1)); !errors.Is(err, ErrUnknownProducer) {
		t.Errorf("a batch that is in the log: %v", err)
	}
}
