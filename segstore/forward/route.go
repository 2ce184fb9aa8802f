package forward

import (
	"sync"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/ingest"
	"cistern/segstore/replica"
)

// route is one partition's queue, and what carries out its effects.
type route struct {
	f  *Forwarder
	id metadata.PartitionID

	mu     sync.Mutex
	q      *Queue
	closed bool
	log    *segstore.Log // the parked log, nil before the first need

	leaderEpoch    int32 // as last seen
	partitionEpoch int32

	wakeAt   time.Time
	armed    bool // the clock knows this route
	readFrom int64
	reading  bool // the readers know this route
	remap    Remap
	backlog  bool // there was one after the last step
	last     Counts
}

// addRoute makes a route. Forwarder.mu is held.
func (f *Forwarder) addRoute(id metadata.PartitionID) *route {
	r := &route{f: f, id: id}
	if s := f.cfg.Image().Partition(id); s != nil {
		r.leaderEpoch, r.partitionEpoch = s.LeaderEpoch, s.PartitionEpoch
	}
	var pos, end int64
	if r.log = f.cfg.Store.Log(parkedID(id)); r.log != nil {
		pos, r.remap = loadPosition(f.cfg.Store.State(), r.log)
		end = r.log.EndOffset()
		r.log.SetDrained(pos)
	}
	r.q = NewQueue(id, f.cfg.Policy, newProducerID, pos, end, r.remap, time.Now())
	r.backlog = pos < end
	f.routes[id] = r
	return r
}

// step gives the queue news and carries out what follows.
func (r *route) step(news func(*Queue, time.Time) *Effects) {
	r.mu.Lock()
	if !r.closed {
		r.apply(news(r.q, time.Now()))
	}
	r.mu.Unlock()
	r.f.outbox.flush()
}

func (r *route) submit(b *ingest.Batch, confirm bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	it := &Item{Data: b.Data, Records: int32(b.Records), Acks: b.Acks, Confirm: confirm, Owner: b, Offset: -1}
	if r.closed || r.f.stopped.Load() {
		it.Err = ingest.ErrUnavailable
		r.answer(it)
		return
	}
	r.apply(r.q.Submit(time.Now(), it))
}

func (r *route) refuses() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.q.Refuses(time.Now()); err != nil {
		return refusal(err)
	}
	return nil
}

func (r *route) changed(s *metadata.PartitionState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || s == nil || s.Leader == metadata.NoNode || s.LeaderEpoch == r.leaderEpoch && s.PartitionEpoch == r.partitionEpoch {
		return
	}
	another := s.LeaderEpoch != r.leaderEpoch
	r.leaderEpoch, r.partitionEpoch = s.LeaderEpoch, s.PartitionEpoch
	r.apply(r.q.Changed(time.Now(), another))
}

// apply carries out effects. The mutex is held: what is answered, and what goes
// to the outbox, keeps its order.
func (r *route) apply(e *Effects) {
	for _, it := range e.Answer {
		r.answer(it)
	}
	for _, it := range e.Hold {
		b := r.owner(it)
		b.Held(b)
	}
	for _, a := range e.Send {
		a.Done = func(done *replica.Append) { r.answered(a) }
		r.f.outbox.add(&a.Append)
	}
	if len(e.Park) > 0 {
		r.park(e.Park)
	}
	if e.Save != nil {
		remap := *e.Save
		r.f.jobs.add(func() { r.save(remap) })
	}
	if e.Moved {
		r.moved()
	}
	if e.Read >= 0 {
		r.readFrom = e.Read
		r.f.read.ask(r)
		r.reading = true
	} else if r.reading && !r.q.Reading() {
		r.f.read.release(r)
		r.reading = false
	}
	if r.wakeAt = e.Wake; !r.wakeAt.IsZero() {
		r.f.clock.wake(r)
	}
	r.tell()
}

func (r *route) answered(a *Attempt) {
	r.step(func(q *Queue, now time.Time) *Effects { return q.Answered(now, a, a.BaseOffset, a.Err) })
}

func (r *route) answer(it *Item) {
	b := r.owner(it)
	b.BaseOffset, b.Err = it.Offset, nil
	if it.Err != nil {
		b.BaseOffset, b.Err = -1, refusal(it.Err)
	}
	b.Done(b)
}

// owner returns the batch that it was. Its buffer is the pump's again, unless
// an attempt still reads it.
func (r *route) owner(it *Item) *ingest.Batch {
	b := it.Owner.(*ingest.Batch)
	if it.InFlight() && !it.given {
		b.Data = nil
	}
	it.given = true
	return b
}

// tell says in the log what has changed.
func (r *route) tell() {
	pos, end := r.q.Position()
	c := r.q.Counts()
	log := r.f.log
	if c.Renewed > r.last.Renewed {
		log.Warn("forward: the leader does not know what was sent before; going on as another producer", "partition", r.id)
	}
	if c.Lost > r.last.Lost {
		log.Error("forward: parked records can't be read back from flash", "partition", r.id, "records", c.Lost-r.last.Lost)
	}
	if backlog := pos < end; backlog != r.backlog {
		r.backlog = backlog
		if backlog {
			log.Warn("forward: parking, the leader has not answered in time", "partition", r.id, "cause", r.q.cause)
		} else {
			log.Info("forward: the leader has all that was parked", "partition", r.id, "batches", c.HandedOver)
		}
	}
	r.last = c
}

// close answers everything that has no answer.
func (r *route) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, it := range r.q.Stop() {
		it.Offset, it.Err = -1, ingest.ErrUnavailable
		if !it.given {
			it.Owner.(*ingest.Batch).Data = nil // the store may be reading it
			it.given = true
		}
		r.answer(it)
	}
}
