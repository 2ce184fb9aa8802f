package replica

import (
	"errors"
	"slices"
	"sync"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

// local is one partition's copy on this gateway: the protocol, the log, and
// who waits for it to become safe.
type local struct {
	m    *Manager
	id   metadata.PartitionID
	log  *segstore.Log
	lane string

	mu      sync.Mutex
	p       *Partition
	waiting []waiting                 // in order of end
	polls   map[*poll]int             // index in the poll's request
	drained map[metadata.NodeID]int64 // what each follower was told last
	saved   time.Duration             // when the small facts were last put
	unsaved bool
	broken  bool          // stopped, and that was said
	heals   *healing      // nil: nothing to heal
	starved Starved       // what nobody has and a follower was last found to wait in front of
	starves time.Duration // when that was
}

// waiting is an append that is on flash here and not yet everywhere.
type waiting struct {
	a    *Append
	base int64
	end  int64
}

// newLocal opens the copy: the high watermark and the producers as they were
// last kept, brought up to the log's end by reading what came after.
func newLocal(m *Manager, id metadata.PartitionID, log *segstore.Log) (*local, error) {
	c, _ := m.cfg.Store.Stream(id.Stream)
	l := &local{m: m, id: id, log: log, lane: c.Lane, polls: map[*poll]int{}, drained: map[metadata.NodeID]int64{}}
	facts, err := loadFacts(m.cfg.Store.State(), id)
	if err != nil {
		return nil, err
	}
	log.Replicate(l.placed)
	self, incarnation := m.Self()
	l.p = NewPartition(id, log, facts.HighWatermark, Options{Self: self, ReplicaLagMax: m.cfg.ReplicaLagMax})
	l.p.Registered(incarnation)
	if err := l.replay(facts.producers); err != nil {
		return nil, err
	}
	log.SetHighWatermark(l.p.HighWatermark())
	if mustHeal(m.cfg.Store.State(), id) {
		l.heals = &healing{until: m.now() + healHold}
	}
	return l, nil
}

func (l *local) registered(incarnation uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.p.Registered(incarnation)
}

// apply takes the site's word on this partition; state nil: no copy here. It
// says whether role, leader or epoch changed: then followers have to ask anew.
func (l *local) apply(state *metadata.PartitionState, image *metadata.Image, minInsync int) (changed bool) {
	l.mu.Lock()
	role, leader, epoch := l.p.Role(), l.p.Leader(), l.p.LeaderEpoch()
	e := l.p.Image(l.m.now(), state, image.Incarnation, minInsync)
	if changed = role != l.p.Role() || leader != l.p.Leader() || epoch != l.p.LeaderEpoch(); changed {
		l.m.log.Info("partition changes hands", "partition", l.id, "role", l.p.Role(), "leader", l.p.Leader(), "epoch", l.p.LeaderEpoch(), "end", l.log.EndOffset())
		if l.p.Role() == RoleLeader {
			l.m.counts.elections.Add(1)
		}
		l.wake(wakeNow)
	}
	l.finish(e)
	return changed
}

// admit is asked by the lane right before a batch is placed.
func (l *local) admit(h *batch.Header, base int64, acks metadata.Acks) (int32, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.p.Admit(h, base, acks)
}

// placed is told by the lane when batches are about to be written: followers
// may have them.
func (l *local) placed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wake(wakeNow)
}

// appended is told what became of a batch that this gateway leads.
func (l *local) appended(a *Append, e *segstore.Entry) {
	var dup *DuplicateError
	switch {
	case errors.As(e.Err, &dup):
		l.wait(a, dup.Base, dup.End)
	case errors.Is(e.Err, segstore.ErrLatched), errors.Is(e.Err, segstore.ErrEpochSpent):
		l.failed()
		a.fail(refusal(e.Err))
	case e.Err != nil:
		a.fail(refusal(e.Err))
	default:
		h, _ := batch.ParseHeader(e.Batch)
		l.wait(a, e.BaseOffset, e.BaseOffset+int64(h.LastOffsetDelta)+1)
	}
}

// wait keeps an append until the high watermark has reached its end. It looks
// at the epoch only then: whoever leads has the same bytes below it.
func (l *local) wait(a *Append, base, end int64) {
	l.mu.Lock()
	switch {
	case a.Acks != metadata.AcksAll || end <= l.p.HighWatermark():
		l.mu.Unlock()
		a.answer(base, nil)
	case l.p.Role() != RoleLeader:
		l.mu.Unlock()
		a.fail(ErrNotLeader)
	default:
		i := len(l.waiting) // a duplicate waits for less than what came before it
		for i > 0 && l.waiting[i-1].end > end {
			i--
		}
		l.waiting = slices.Insert(l.waiting, i, waiting{a, base, end})
		l.mu.Unlock()
	}
}

// synced is called when the log's synced end has moved.
func (l *local) synced() {
	l.mu.Lock()
	l.unsaved = true
	l.finish(l.p.Synced(l.m.now()))
}

// failed is called when placed batches could not be written. Followers may have
// them already, so this gateway must not lead on in this epoch.
func (l *local) failed() {
	l.mu.Lock()
	e := l.p.Failed()
	l.finish(e)
	if e.Resigned {
		l.m.handOver(l)
	}
}

func (l *local) tick() {
	l.mu.Lock()
	if l.unsaved && l.m.now()-l.saved >= factsInterval {
		l.save()
	}
	l.finish(l.p.Tick(l.m.now()))
}

func (l *local) altered(a *metadata.AlterPartition, r metadata.Result, err error) {
	l.mu.Lock()
	l.finish(l.p.Altered(l.m.now(), a, r, err))
}

// finish carries out what the protocol asks for, and unlocks l.mu. Appends are
// answered after that: whoever waits may call again.
func (l *local) finish(e Effects) {
	var done, failed []waiting
	if l.p.Forgetful() { // after an unclean election that cut off a lot
		if err := l.replay(nil); err != nil {
			l.m.log.Error("what producers have sent can't be read from the log: those that were cut off stay refused", "partition", l.id, "error", err)
		}
	}
	if e.Moved {
		l.log.SetHighWatermark(e.HighWatermark)
		n := 0
		for n < len(l.waiting) && l.waiting[n].end <= e.HighWatermark {
			n++
		}
		done, l.waiting = l.waiting[:n:n], l.waiting[n:]
		l.unsaved = true
		l.wake(wakeSoon)
	}
	if e.Broken != "" && !l.broken {
		l.broken = true
		l.m.counts.broken.Add(1)
		l.m.log.Error("partition stopped: what it was told contradicts what it knows; its copy here takes no part any more until the gateway is restarted", "partition", l.id, "reason", e.Broken)
	}
	if e.Resigned || e.Broken != "" {
		failed, l.waiting = l.waiting, nil
	}
	if len(l.waiting) == 0 {
		l.waiting = nil
	}
	l.mu.Unlock()
	if e.Alter != nil {
		l.m.propose(l, e.Alter)
	}
	for _, w := range done {
		w.a.answer(w.base, nil)
	}
	for _, w := range failed {
		w.a.fail(ErrNotLeader)
	}
}

// nextFetch is what this copy asks its leader, if it follows one.
func (l *local) nextFetch() (metadata.NodeID, FetchPartition, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holds() {
		return metadata.NoNode, FetchPartition{}, false
	}
	return l.p.NextFetch()
}

// save puts the small facts where they ride along with the next commit.
func (l *local) save() {
	l.saved, l.unsaved = l.m.now(), false
	facts{HighWatermark: l.p.HighWatermark(), producers: l.p.Producers().Encode()}.put(l.m.cfg.Store.State(), l.id)
}

// close answers what still waits: nobody knows what becomes of it.
func (l *local) close() {
	l.mu.Lock()
	l.save()
	l.finish(l.p.Resign())
}
