package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

func (d *mender) run(ctx context.Context) {
	for ctx.Err() == nil {
		e, wait := d.next()
		if e == nil {
			d.sleep(ctx, wait)
			continue
		}
		d.try(ctx, e)
	}
}

// sleep waits until there is something to try; wait is negative when only
// somebody who asks can bring that.
func (d *mender) sleep(ctx context.Context, wait time.Duration) {
	var due <-chan time.Time
	if wait >= 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-ctx.Done():
	case <-d.wake:
	case <-due:
	}
}

// next returns the range that has been due for longest, or how long until one is.
func (d *mender) next() (first *mend, wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.anew {
		d.anew = false
		clear(d.silent)
	}
	now := d.m.now()
	for k, e := range d.mends {
		if now-e.asked > mendKept {
			delete(d.mends, k)
		} else if e.tries() && (first == nil || e.due < first.due) {
			first = e
		}
	}
	switch {
	case first == nil:
		return nil, -1
	case first.due > now:
		return nil, first.due - now
	}
	return first, 0
}

// try asks for a range once, piece by piece. What no copy has at its beginning may
// be followed by what one has.
func (d *mender) try(ctx context.Context, e *mend) {
	d.mu.Lock()
	at, last := e.first, e.last
	d.mu.Unlock()
	lost := at
	var all, got recalled
	for at <= last && ctx.Err() == nil {
		if got = d.recall(ctx, e.id, at, last); got.waits() {
			break
		}
		if got.records == 0 && lost == at {
			lost = min(got.next, last+1)
		}
		all.records, all.kept = all.records+got.records, all.kept+got.kept
		at = got.next
	}
	all.blocked, all.lent = got.blocked, got.lent
	if ctx.Err() == nil {
		d.settle(e, last, lost, all)
	}
}

// settle notes what came of a try. Where something is back, whoever asks reads
// again, and comes with what is still missing.
func (d *mender) settle(e *mend, last, lost int64, got recalled) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.m.now()
	if got.records == 0 && got.waits() {
		if !e.same(got.blocked) {
			d.sayBlocked(now, e, last, got)
		}
		e.blocked, e.lent = got.blocked, got.lent
		e.due, e.retry = now+e.retry, min(2*e.retry, mendRetryMax, d.pause)
		if got.lent {
			e.lentAt, e.lost = now, lost
			d.forgetLent(e)
			d.tell()
		}
		return
	}
	d.m.counts.mended.Add(got.kept)
	if lost > e.first {
		d.m.log.Error("flash lost records here, and no other copy has them", "partition", e.id, "first", e.first, "last", lost-1)
	}
	if got.kept > 0 {
		d.say(now, e, last, got.kept)
	}
	e.done, e.ended, e.lost, e.last = true, now, lost, last
	d.tell()
}

// forgetLent ends the ranges of e's partition of which pieces were lent before: only
// the last can still be read. d.mu is held.
func (d *mender) forgetLent(e *mend) {
	for k, o := range d.mends {
		if o != e && o.lent && k.id == e.id {
			delete(d.mends, k)
		}
	}
}

// tell wakes whoever waits. d.mu is held.
func (d *mender) tell() {
	for ch := range d.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// say tells aloud that flash loses records, not each time: a card that does may have
// lost thousands of ranges.
func (d *mender) say(now time.Duration, e *mend, last, mended int64) {
	level := slog.LevelDebug
	if d.said == 0 || now-d.said >= mendKept {
		d.said, level = now, slog.LevelWarn
	}
	d.m.log.Log(context.Background(), level, "flash lost records here, and they were fetched again from another copy; of the next ones the status tells",
		"partition", e.id, "first", e.first, "last", last, "records", mended, "all", d.m.counts.mended.Load())
}

// sayBlocked tells why a range is not back, when that is another reason than before.
func (d *mender) sayBlocked(now time.Duration, e *mend, last int64, got recalled) {
	b := got.blocked
	attrs := []any{"partition", e.id, "first", e.first, "last", last, "error", b.why}
	switch {
	case len(b.await) > 0:
		d.m.log.Warn("flash lost records here, and a copy that may have them can't be asked now: they are waited for", append(attrs, "gateways", b.await, "unproven", b.unproven)...)
	case len(b.unproven) > 0:
		d.m.log.Error("flash lost records here, and nothing proves that what other copies sent is the same: it goes on being asked for, and can be read where another copy leads", append(attrs, "unproven", b.unproven)...)
	case got.lent:
		level := slog.LevelDebug // each piece is a range of its own
		if d.saidLent == 0 || now-d.saidLent >= mendKept {
			d.saidLent, level = now, slog.LevelError
		}
		d.m.log.Log(context.Background(), level, "flash lost records here, and can't keep what another copy gives back: whoever reads them gets them from memory, piece by piece; replace the card, or make room", attrs...)
	default:
		d.m.log.Error("flash lost records here, and they can't be brought back now", attrs...)
	}
}

// recalled is what asking for one piece brought.
type recalled struct {
	records int64 // that can be read again
	kept    int64 // of these, that had been lost
	lent    bool  // they can't be kept, and are read from memory
	next    int64 // the offset behind them; without any: where some copy goes on
	blocked
}

// recall asks one copy after the other for what lies from offset at on.
func (d *mender) recall(ctx context.Context, id metadata.PartitionID, at, last int64) recalled {
	none := recalled{next: last + 1}
	nodes, known := d.m.others(id)
	log := d.m.cfg.Store.Log(id)
	if !known || log == nil {
		return recalled{blocked: blocked{why: fmt.Errorf("%s: %w", id, ErrUnknownPartition)}}
	}
	for _, n := range nodes {
		answer, err := d.askOne(ctx, n, &RecallRequest{Partition: id, Offset: at, MaxBytes: mendBytes})
		if err == nil && answer.Err != nil && !errors.Is(answer.Err, ErrOffsetOutOfRange) && !errors.Is(answer.Err, ErrCorrupt) {
			err = fmt.Errorf("it can't say now: %w", answer.Err)
		}
		if err == nil && answer.Err != nil {
			if answer.Resume > at {
				none.next = min(none.next, answer.Resume)
			}
			continue
		}
		var got recalled
		if err == nil {
			got, err = d.patch(log, answer.Records, at, last)
		}
		if l := d.m.local(id); err == nil && l != nil {
			l.recovered(at, got.next)
		}
		if err == nil || got.waits() {
			return got
		}
		if errors.Is(err, segstore.ErrForeignBatch) {
			none.unproven = append(none.unproven, n)
		} else {
			none.await = append(none.await, n)
		}
		none.why = errors.Join(none.why, fmt.Errorf("gateway %s: %w", d.m.Image().Members[n].Name, err))
	}
	return none
}

// patch keeps what a copy sent. An error says that it sent something else: its end
// may not be cut back yet.
func (d *mender) patch(log *segstore.Log, sent []byte, at, last int64) (recalled, error) {
	raw, next := wanted(sent, at, last)
	if len(raw) == 0 {
		return recalled{}, fmt.Errorf("%s: what was sent for offset %d is something else: %w", log.Partition(), at, segstore.ErrForeignBatch)
	}
	switch kept, err := log.Patch(raw); {
	case err == nil:
		return recalled{records: min(next, last+1) - at, kept: kept, next: next}, nil
	case errors.Is(err, segstore.ErrForeignBatch):
		return recalled{}, err
	case d.lend(log, raw):
		err = fmt.Errorf("they can be read from memory for now, and flash can't keep them: replace the card, or make room: %w", err)
		return recalled{lent: true, blocked: blocked{why: err}}, err
	default:
		err = fmt.Errorf("they came back, and flash can't keep them: replace the card, or make room: %w", err)
		return recalled{blocked: blocked{why: err}}, err
	}
}

// lend has what flash can't keep read from memory, so that a drain goes on. There is
// one piece at a time: whoever waits for it gets the time to read it.
func (d *mender) lend(log *segstore.Log, raw []byte) bool {
	now := d.m.now()
	if d.lent != log.Partition() && now < d.lentUntil || !log.Lend(raw) {
		return false
	}
	d.lent, d.lentUntil = log.Partition(), now+mendLent
	return true
}

// wanted cuts what a copy sent to the batches from offset at on that hold
// something up to last. Log.Patch looks at what they are.
func wanted(raw []byte, at, last int64) (b []byte, next int64) {
	size := 0
	for rest := raw; len(rest) > 0; {
		h, err := batch.ParseHeader(rest)
		if err != nil || h.Size() > len(rest) || h.BaseOffset > max(at, next) || h.BaseOffset > last || h.NextOffset() <= at {
			break
		}
		size, next, rest = size+h.Size(), h.NextOffset(), rest[h.Size():]
	}
	return raw[:size], next
}

var errSilent = errors.New("it did not answer a moment ago")

// askOne asks a gateway, unless it did not answer just now.
func (d *mender) askOne(ctx context.Context, n metadata.NodeID, r *RecallRequest) (*RecallAnswer, error) {
	to, ok := d.m.Image().Members[n]
	if !ok {
		return nil, metadata.ErrUnknownMember
	}
	quiet := d.silent[n]
	if quiet != nil && quiet.until > d.m.now() {
		return nil, errSilent
	}
	a, err := d.m.cfg.Peers.Recall(ctx, to, r)
	if err == nil {
		delete(d.silent, n)
		return a, nil
	}
	if quiet == nil {
		quiet = &silence{next: mendSilenceMin}
		d.silent[n] = quiet
	}
	quiet.until, quiet.next = d.m.now()+min(quiet.next, d.pause), min(2*quiet.next, mendSilenceMax)
	return nil, err
}
