package replica

import (
	"fmt"
	"slices"

	"cistern/segstore/batch"
)

const (
	// ProducersMax is how many producers a partition remembers: a site has 64
	// gateways at most, and each of their processes is one.
	ProducersMax = 64
	// ProducerWindow is how many batches of each: a gateway has five on their
	// way at most, so one that is confirmed stays however many are cut off.
	ProducerWindow = 6

	sequenceMask = 1<<31 - 1 // sequences go on at 0 after 2^31-1
)

// Producers tells batches that were appended before from new ones. Per
// producer it knows the last few batches, so that a truncation can be undone
// exactly.
type Producers struct {
	byID  map[int64]*producer
	end   int64 // all batches below are accounted for
	epoch int32 // of a stored table: the one that the log had before end
	empty bool  // there may be a producer of whom nothing is known: see Forgetful
}

// producer is one process of one gateway.
type producer struct {
	window [ProducerWindow]sent // oldest first
	n      int
	more   bool // there were older ones
}

// sent is one batch: its last record's sequence, and the offset after it.
type sent struct {
	records int32
	last    int32
	end     int64
}

// DuplicateError says that a batch is in the log already. It is as good as
// appended once the high watermark has passed End.
type DuplicateError struct {
	Base int64 // where it is, -1 when that is not known any more
	End  int64
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("the batch was appended before, it ends at %d", e.End)
}

// NewProducers returns a table that knows nobody.
func NewProducers() *Producers { return &Producers{byID: map[int64]*producer{}} }

// End is the offset up to which every batch is accounted for: from there on
// the log has to be observed again.
func (t *Producers) End() int64 { return t.end }

// check reports whether a batch may be appended: a *DuplicateError, a gap or an
// unknown producer say no. Batches without producer are always welcome.
func (t *Producers) check(h *batch.Header) error {
	if h.Producer.ID < 0 {
		return nil
	}
	p := t.byID[h.Producer.ID]
	first, last := h.Producer.Sequence, lastSequence(h)
	switch {
	case p == nil && first == 0:
		return nil
	case p == nil || p.n == 0:
		return fmt.Errorf("producer %d begins with sequence %d: %w", h.Producer.ID, first, ErrUnknownProducer)
	}
	next := after(p.window[p.n-1].last)
	switch {
	case first == next:
		return nil
	case before(last, next):
		return p.duplicate(first, last)
	}
	return fmt.Errorf("producer %d: sequence %d, %d expected: %w", h.Producer.ID, first, next, ErrOutOfOrderSequence)
}

// duplicate finds the batch that ends with last, or the first one known after
// it: once that is confirmed, so is everything before.
func (p *producer) duplicate(first, last int32) error {
	for _, s := range p.window[:p.n] {
		switch {
		case s.last == last && after(last-s.records) == first:
			return &DuplicateError{Base: s.end - int64(s.records), End: s.end}
		case !before(s.last, last):
			return &DuplicateError{Base: -1, End: s.end}
		}
	}
	return nil // not reached: last lies before the window's end
}

// Observe notes a batch that is placed at base. Offsets below End are known.
func (t *Producers) Observe(h *batch.Header, base int64) {
	end := base + int64(h.LastOffsetDelta) + 1
	if end <= t.end {
		return
	}
	t.end = end
	if h.Producer.ID < 0 {
		return
	}
	p := t.byID[h.Producer.ID]
	if p == nil {
		t.evict()
		p = &producer{more: h.Producer.Sequence != 0}
		t.byID[h.Producer.ID] = p
	}
	if p.n == ProducerWindow {
		copy(p.window[:], p.window[1:])
		p.n, p.more = p.n-1, true
	}
	p.window[p.n] = sent{records: h.LastOffsetDelta + 1, last: lastSequence(h), end: end}
	p.n++
}

// Insert notes a batch at base that could not be read when those after it were
// observed. Nobody's state goes back by it: among what is known of its producer it
// takes the place that its offsets have.
func (t *Producers) Insert(h *batch.Header, base int64) {
	if h.Producer.ID < 0 {
		t.end = max(t.end, base+int64(h.LastOffsetDelta)+1)
		return
	}
	s := sent{records: h.LastOffsetDelta + 1, last: lastSequence(h), end: base + int64(h.LastOffsetDelta) + 1}
	p := t.byID[h.Producer.ID]
	if p == nil {
		if len(t.byID) >= ProducersMax && s.end <= t.byID[t.byRecency()[ProducersMax-1]].lastEnd() {
			return // it would have been forgotten since
		}
		t.evict()
		p = &producer{}
		t.byID[h.Producer.ID] = p
	} else if p.n == 0 {
		return // what came after it is not known: see Forgetful
	}
	t.end = max(t.end, s.end)
	p.insert(s)
	p.more = p.more || h.Producer.Sequence != 0 && p.window[0] == s
}

func (p *producer) insert(s sent) {
	i := p.n
	for i > 0 && p.window[i-1].end > s.end {
		i--
	}
	switch {
	case i > 0 && p.window[i-1].end == s.end:
		return // known
	case p.n < ProducerWindow:
		copy(p.window[i+1:p.n+1], p.window[i:p.n])
		p.window[i] = s
		p.n++
		return
	case i > 0:
		copy(p.window[:i-1], p.window[1:i])
		p.window[i-1] = s
	}
	p.more = true
}

// evict makes room for one more: whoever appended longest ago goes.
func (t *Producers) evict() {
	if len(t.byID) < ProducersMax {
		return
	}
	ids := t.byRecency()
	for _, id := range ids[ProducersMax-1:] {
		delete(t.byID, id)
	}
}

// byRecency returns the producers, who appended last first.
func (t *Producers) byRecency() []int64 {
	ids := make([]int64, 0, len(t.byID))
	for id := range t.byID {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b int64) int {
		switch x, y := t.byID[a].lastEnd(), t.byID[b].lastEnd(); {
		case x != y && x > y, x == y && a < b:
			return -1
		}
		return 1
	})
	return ids
}

func (p *producer) lastEnd() int64 {
	if p.n == 0 {
		return 0
	}
	return p.window[p.n-1].end
}

// Rollback forgets what was appended from offset to on. A producer of whom
// older batches were there but none is left known makes the table Forgetful:
// whether one it sends now is new can't be told.
func (t *Producers) Rollback(to int64) {
	t.end = min(t.end, to)
	for id, p := range t.byID {
		for p.n > 0 && p.window[p.n-1].end > to {
			p.n--
		}
		if p.n == 0 && !p.more {
			delete(t.byID, id)
		}
		t.empty = t.empty || p.n == 0
	}
}

// Forgetful reports whether there is a producer of whom only batches are known
// that were cut off: the older ones have to be observed again from the log's
// start on, in a new table. Only then can what it sends be told from what it
// sends again.
func (t *Producers) Forgetful() bool {
	if !t.empty { // asked at every step of a leader
		return false
	}
	for _, p := range t.byID {
		if p.n == 0 {
			return true
		}
	}
	return false
}

// upTo returns a copy as it was when the log ended at offset.
func (t *Producers) upTo(offset int64) *Producers {
	c := &Producers{byID: make(map[int64]*producer, len(t.byID)), end: t.end, empty: t.empty}
	for id, p := range t.byID {
		one := *p
		c.byID[id] = &one
	}
	c.Rollback(offset)
	return c
}

// Align makes a table that was stored one of what the log holds now: after an
// unclean election that may be something else, and then all is to be observed
// again.
func (t *Producers) Align(log Log) {
	if !t.Matches(log) {
		*t = *NewProducers()
	}
}

// Matches reports whether a table that was stored is about what the log holds
// now.
func (t *Producers) Matches(log Log) bool {
	epoch, end := log.EndOffsetForEpoch(t.epoch)
	return t.end <= log.StartOffset() || epoch == t.epoch && end >= t.end
}

func lastSequence(h *batch.Header) int32 {
	return int32((int64(h.Producer.Sequence) + int64(h.LastOffsetDelta)) & sequenceMask)
}

func after(sequence int32) int32 { return int32((int64(sequence) + 1) & sequenceMask) }

// before compares on the circle of 2^31 sequences.
func before(a, b int32) bool {
	d := (int64(b) - int64(a)) & sequenceMask
	return d != 0 && d < 1<<30
}
