package replica

import (
	"errors"
	"fmt"

	"cistern/segstore"
	"cistern/segstore/batch"
)

const replayBytes = 1 << 20 // read at once

// replay teaches the protocol what producers have sent: the table that was kept,
// and every batch after it. What flash lost is left out, and learned when it is back.
func (l *local) replay(kept []byte) error {
	known := NewProducers()
	if len(kept) > 0 {
		var err error
		if known, err = DecodeProducers(kept); err != nil {
			return fmt.Errorf("state %s: %w", factsKey(l.id), err)
		}
	}
	if len(kept) > 0 && !known.Matches(l.log) {
		l.p.Forget()
	}
	if known.Align(l.log); known.Forgetful() {
		known = NewProducers()
	}
	if err := l.replayPatches(known); err != nil {
		return err
	}
	err := l.eachBatch(max(known.End(), l.log.StartOffset()), l.log.EndOffset, func(h *batch.Header) {
		known.Observe(h, h.BaseOffset)
	})
	if err == nil {
		l.p.SetProducers(known)
	}
	return err
}

// replayPatches adds to a table that was kept what patches hold of the log before its
// end: it may be older than they are.
func (l *local) replayPatches(known *Producers) error {
	for at := l.log.StartOffset(); ; {
		first, last, ok := l.log.Patched(at)
		if !ok || first >= known.End() {
			return nil
		}
		err := l.eachBatch(first, func() int64 { return min(last+1, known.End()) }, func(h *batch.Header) {
			if h.NextOffset() <= known.End() {
				known.Insert(h, h.BaseOffset)
			}
		})
		if err != nil {
			return err
		}
		at = last + 1
	}
}

// recovered is called when offsets from first to next-1, which could not be read, can
// be again. What is learned is what the log holds now: it may have been cut since.
func (l *local) recovered(first, next int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unsaved = true
	err := l.eachBatch(first, func() int64 { return min(next, l.log.EndOffset()) }, func(h *batch.Header) {
		if h.BaseOffset < next {
			l.p.Recovered(h)
		}
	})
	if err != nil {
		l.m.log.Warn("what producers have sent can't be read from records that are back: a late retry of one may be refused, or taken twice",
			"partition", l.id, "first", first, "last", next-1, "error", err)
	}
}

// eachBatch calls fn for each batch that can be read from offset at to before end, and
// for some behind that.
func (l *local) eachBatch(at int64, end func() int64, fn func(*batch.Header)) error {
	var buf []byte
	for at < end() {
		var err error
		if buf, err = l.log.ReadPlaced(at, buf[:0], replayBytes); err != nil {
			if c := (*segstore.CorruptError)(nil); errors.As(err, &c) {
				at = c.LastOffset + 1 // said aloud by whoever reads it next
				continue
			}
			return fmt.Errorf("read producers of %s: %w", l.id, err)
		}
		for rest := buf; len(rest) > 0; {
			h, err := batch.ParseHeader(rest)
			if err != nil {
				return fmt.Errorf("read producers of %s: %w", l.id, err)
			}
			fn(&h)
			at, rest = h.NextOffset(), rest[h.Size():]
		}
		if len(buf) == 0 {
			break
		}
	}
	return nil
}
