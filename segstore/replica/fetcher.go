package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

// Back-off of a fetcher whose leader does not answer. A change of metadata ends
// it.
const (
	fetchRetryMin = 20 * time.Millisecond
	fetchRetryMax = time.Second
)

// fetcher asks one gateway for all that it leads and this gateway follows. What
// an answer brings becomes one commit for each lane; the next request says that
// it is on flash.
type fetcher struct {
	m       *Manager
	leader  metadata.NodeID
	wake    chan struct{}                     // metadata has changed
	refused map[metadata.PartitionID]*penalty // left out for a while
	said    error                             // logged last

	mu     sync.Mutex
	cancel context.CancelFunc             // of the wait for an answer, nil: none
	asked  map[metadata.PartitionID]int32 // the leader epoch of what was asked for last, or left out on purpose
}

// penalty keeps one partition that its leader refuses from slowing the others.
type penalty struct {
	until time.Duration
	next  time.Duration // how long the next one lasts
	said  bool          // in the log
}

func newFetcher(m *Manager, leader metadata.NodeID) *fetcher {
	return &fetcher{m: m, leader: leader, wake: make(chan struct{}, 1), refused: map[metadata.PartitionID]*penalty{}, asked: map[metadata.PartitionID]int32{}}
}

// interrupt ends a wait, for an answer too: there may be other partitions.
func (f *fetcher) interrupt() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cancel != nil {
		f.cancel()
	}
}

func (f *fetcher) run(ctx context.Context) {
	retry := fetchRetryMin
	for ctx.Err() == nil {
		r := f.request()
		if len(r.Partitions) == 0 {
			f.sleep(ctx, r.MaxWait)
			continue
		}
		changed, err := f.round(ctx, r)
		f.say(err)
		switch {
		case changed:
			clear(f.refused)
		case err != nil:
			f.sleep(ctx, retry/2+rand.N(retry))
			retry = min(2*retry, fetchRetryMax)
		default:
			retry = fetchRetryMin
		}
	}
}

// sleep waits, unless metadata changes: then there may be another leader to ask.
func (f *fetcher) sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-f.wake:
		clear(f.refused)
	case <-t.C:
	}
}

// say logs that a leader went silent, and that it came back.
func (f *fetcher) say(err error) {
	if (err == nil) == (f.said == nil) {
		return
	}
	f.said = err
	if err != nil {
		f.m.log.Warn("a leader can't be followed; trying on", "leader", f.leader, "error", err)
	} else {
		f.m.log.Info("following again", "leader", f.leader)
	}
}

// request is where each partition's log ends now.
func (f *fetcher) request() *FetchRequest {
	self, incarnation := f.m.Self()
	r := &FetchRequest{Node: self, Incarnation: incarnation, MaxWait: FetchWaitMax, MaxBytes: FetchBytesMax}
	all := f.m.all()
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.asked)
	for _, l := range all {
		leader, p, ok := l.nextFetch()
		if !ok || leader != f.leader {
			continue
		}
		f.asked[p.Partition] = p.LeaderEpoch
		if late := f.refused[p.Partition]; late != nil && late.until > f.m.now() {
			r.MaxWait = min(r.MaxWait, late.until-f.m.now())
			continue
		}
		p.Drained = l.log.Drained()
		r.Partitions = append(r.Partitions, p)
	}
	return r
}

// knows reports whether p was in the last request, in this epoch.
func (f *fetcher) knows(p FetchPartition) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	epoch, ok := f.asked[p.Partition]
	return ok && epoch == p.LeaderEpoch
}

// note punishes a partition that was refused, and forgives one that was not.
func (f *fetcher) note(p metadata.PartitionID, err error) {
	if err == nil {
		delete(f.refused, p)
		return
	}
	late := f.refused[p]
	if late == nil {
		late = &penalty{next: fetchRetryMin}
		f.refused[p] = late
	}
	late.until = f.m.now() + late.next/2 + rand.N(late.next)
	if late.next *= 2; late.next > fetchRetryMax {
		if late.next = fetchRetryMax; !late.said {
			late.said = true
			f.m.log.Warn("a partition can't be followed; trying on", "leader", f.leader, "error", err)
		}
	}
}

// round asks once and takes in the answer. changed says that metadata changed
// before one came.
func (f *fetcher) round(ctx context.Context, r *FetchRequest) (changed bool, err error) {
	to, ok := f.m.Image().Members[f.leader]
	if !ok {
		return false, fmt.Errorf("gateway %d: %w", f.leader, metadata.ErrUnknownMember)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.asks(cancel)
	if f.woken() { // after the request was made
		return true, nil
	}
	answer, err := f.m.cfg.Peers.Fetch(ctx, to, r)
	f.asks(nil)
	switch {
	case err == nil:
	case f.woken():
		return true, nil
	default:
		return false, err
	}
	f.take(r, answer)
	return false, nil
}

// asks notes how to end the wait for an answer. It is waited for here and not
// on a goroutine of its own, which would cost every round a stack that grows.
func (f *fetcher) asks(cancel context.CancelFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cancel = cancel
}

func (f *fetcher) woken() bool {
	select {
	case <-f.wake:
		return true
	default:
		return false
	}
}

// copying is one partition's part of an answer on its way into the journal.
type copying struct {
	l       *local
	step    FollowerStep
	entries int
}

// lot is what an answer brings for one lane.
type lot struct {
	group segstore.Group
	parts []copying
}

// take does what an answer says, and returns when it is on flash. What goes
// wrong with one partition is no reason to ask later for the others; it is
// logged.
func (f *fetcher) take(r *FetchRequest, a *FetchAnswer) {
	lots := map[string]*lot{}
	asked := make(map[metadata.PartitionID]FetchPartition, len(r.Partitions))
	for _, p := range r.Partitions {
		asked[p.Partition] = p
	}
	for i := range a.Partitions {
		said := &a.Partitions[i]
		p, ok := asked[said.Partition]
		l := f.m.local(said.Partition)
		if !ok || l == nil {
			continue
		}
		c, entries, err := l.fetched(p, said)
		if f.note(l.id, err); err != nil {
			f.m.log.Debug("a leader refuses a partition", "leader", f.leader, "error", err)
			continue
		}
		if len(entries) == 0 {
			l.copied(c, nil)
			continue
		}
		b := lots[l.lane]
		if b == nil {
			b = &lot{}
			lots[l.lane] = b
		}
		c.entries = len(entries)
		b.parts = append(b.parts, c)
		b.group.Entries = append(b.group.Entries, entries...)
	}
	f.commit(lots)
}

// commit writes every lane's lot, all at the same time.
func (f *fetcher) commit(lots map[string]*lot) {
	done := make(chan *lot, len(lots))
	for _, b := range lots {
		b.group.Done = func(*segstore.Group) { done <- b }
		f.m.cfg.Store.Submit(&b.group)
	}
	for range lots {
		b := <-done
		at := 0
		for _, c := range b.parts {
			err := c.l.copied(c, b.group.Entries[at:at+c.entries])
			if f.note(c.l.id, err); err != nil {
				f.m.log.Debug("a batch of the leader's was not appended", "leader", f.leader, "error", err)
			}
			at += c.entries
		}
	}
}

// fetched turns a leader's answer into journal entries.
func (l *local) fetched(asked FetchPartition, said *FetchedPartition) (copying, []segstore.Entry, error) {
	l.mu.Lock()
	step := l.p.Fetched(l.m.now(), asked, said)
	l.finish(step.Effects)
	c := copying{l: l, step: step}
	switch {
	case step.Err != nil:
		return c, nil, fmt.Errorf("%s: %w", l.id, step.Err)
	case step.Truncate:
		l.m.log.Warn("log cut back: its end was never confirmed, the leader's log goes another way", "partition", l.id, "to", step.Offset, "records", l.log.EndOffset()-step.Offset, "epoch", step.LeaderEpoch)
		return c, []segstore.Entry{{Log: l.log, Truncate: true, Offset: step.Offset, Admit: l.admitCut(&c.step)}}, nil
	case step.Restart:
		l.m.log.Warn("log begins anew: the leader no longer has what comes next here", "partition", l.id, "at", step.Offset, "end", l.log.EndOffset())
		return c, []segstore.Entry{{Log: l.log, Restart: true, Offset: step.Offset, Admit: l.admitCut(&c.step)}}, nil
	}
	entries, err := l.copies(step)
	return c, entries, err
}

func (l *local) admitCut(step *FollowerStep) func(*batch.Header, int64) (int32, error) {
	return func(*batch.Header, int64) (int32, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return 0, l.p.AdmitCut(step)
	}
}

// copies are the leader's batches as journal entries.
func (l *local) copies(step FollowerStep) (entries []segstore.Entry, err error) {
	for rest := step.Records; len(rest) > 0; {
		one, more, err := batch.Next(rest)
		if err == nil {
			_, err = batch.Verify(one)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: the leader sent what is no batch: %w", l.id, err)
		}
		entries = append(entries, segstore.Entry{Log: l.log, Batch: one, Verbatim: true, Admit: func(h *batch.Header, base int64) (int32, error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.p.AdmitCopy(h, base, step.LeaderEpoch)
		}})
		rest = more
	}
	return entries, nil
}

// copied is told what became of the entries, and moves the high watermark. A
// refusal is no failure of the journal: this gateway may lead by now, and what
// its former leader sent comes late.
func (l *local) copied(c copying, entries []segstore.Entry) (failure error) {
	for i := range entries {
		if err := entries[i].Err; err != nil && failure == nil {
			failure = fmt.Errorf("%s: %w", l.id, err)
		}
	}
	l.mu.Lock()
	var e Effects
	switch {
	case errors.Is(failure, segstore.ErrLatched):
		e = l.p.Failed()
	case failure != nil:
		e = l.p.NotCopied(l.m.now())
	case c.step.Truncate:
		e = l.p.Truncated(l.log.EndOffset()) // which may lie below, at a batch's beginning
	case c.step.Restart:
		e = l.p.Restarted(c.step.Offset)
	case len(entries) > 0:
		e = l.p.Synced(l.m.now())
	}
	l.unsaved = l.unsaved || len(entries) > 0
	l.finish(e)
	if e.Resigned {
		l.m.handOver(l)
	}
	if failure == nil {
		l.log.SetDrained(min(c.step.Drained, l.log.EndOffset()))
	}
	return failure
}
