package forward

import (
	"time"

	"cistern/gossip/metadata"
)

// Queue brings the batches of one partition to its leader, once and in order,
// or to the parked log. It is a pure state machine: every method takes the time
// and something that happened, and returns what is to be done. It knows no
// goroutine, clock or file, and is used by one caller at a time.
type Queue struct {
	partition metadata.PartitionID
	policy    Policy
	identity  identity
	e         Effects

	// In memory, oldest first. window is at the leader or about to be: batches
	// read back from the parked log as long as there are any, else submitted
	// ones. What is in parking is on its way to flash.
	window    []*Item
	parking   []*Item
	submitted []*Item // what of parking was in Effects.Park
	fresh     []*Item

	generation int   // of attempts; those before it are stale
	out        int   // attempts of this generation without an answer
	stale      int   // of earlier ones
	outID      int64 // the producer of those in out
	flashOut   int   // attempts without an answer, of what was read back

	broken  bool // nothing is sent until out is 0 and retryAt has come, or the leader changed
	cause   error
	retryAt time.Time
	backoff time.Duration
	again   bool // wait for backoff once out is 0
	probing bool // the last attempt failed: one batch at a time
	gap     bool // the leader refused a batch for good: close up what follows
	renew   bool // the leader does not know the producer

	pos, end  int64 // of the parked log: next to hand over, and where it ends
	remap     Remap
	saving    bool // of remap
	reading   bool
	held      []*Item // parked, and somebody waits for the answer
	since     time.Time
	parkAgain time.Time // flash refused: not before then
	parkErr   error

	counts Counts
}

// Counts of a queue, over its life.
type Counts struct {
	Parked     int64 // batches
	Confirmed  int64 // records confirmed because they were parked
	HandedOver int64 // batches that went from the parked log to the leader
	Resent     int64 // batches sent again
	Renewed    int64 // new producer ids after a leader forgot the old one
	Refused    int64 // batches answered with an error
	Lost       int64 // parked records that flash could not give back
}

// Effects is what is to be done now, in the order of its fields. The slices are
// valid until the queue's next method.
type Effects struct {
	Answer []*Item    // tell their senders
	Hold   []*Item    // safe here: their senders wait, but not in memory
	Send   []*Attempt // to the leader, in order; tell Answered
	Park   []*Item    // append to the parked log, in order; tell Parked
	Save   *Remap     // make it durable together with the position From; tell Saved
	Read   int64      // read back from this offset on, tell ReadBack or Lost; -1: no
	Moved  bool       // everything parked below Position is settled
	Wake   time.Time  // call Tick then; zero: not needed
}

// NewQueue returns a queue whose parked log holds [pos, end) still to be handed
// over. newID gives a producer id that nobody else has.
func NewQueue(p metadata.PartitionID, policy Policy, newID func() int64, pos, end int64, remap Remap, now time.Time) *Queue {
	policy.setDefaults()
	return &Queue{partition: p, policy: policy, identity: identity{newID: newID}, generation: 1,
		pos: pos, end: end, remap: remap, since: now, probing: pos < end}
}

// Position returns the first offset of the parked log that is not settled, and
// the end of what is parked.
func (q *Queue) Position() (pos, end int64) { return q.pos, q.end }

// Counts returns what the queue has counted.
func (q *Queue) Counts() Counts { return q.counts }

// Reading says that batches read back are in memory.
func (q *Queue) Reading() bool {
	return q.reading || q.flashOut > 0 || len(q.window) > 0 && q.window[0].flash
}

// Idle says that nothing is here and nothing under way.
func (q *Queue) Idle() bool {
	return q.pos == q.end && len(q.window)+len(q.parking)+len(q.fresh) == 0 && q.out+q.stale == 0
}

// Refuses says why the queue had better take nothing: flash here refuses and
// the leader does not answer. Nil otherwise.
func (q *Queue) Refuses(now time.Time) error {
	if q.parkErr != nil && now.Before(q.parkAgain) && (q.broken || q.probing) {
		return q.parkErr
	}
	return nil
}

// Submit takes finished batches, in order.
func (q *Queue) Submit(now time.Time, items ...*Item) *Effects {
	q.begin()
	for _, it := range items {
		it.since = now
		q.fresh = append(q.fresh, it)
	}
	return q.step(now)
}

// Tick looks at the time.
func (q *Queue) Tick(now time.Time) *Effects {
	q.begin()
	return q.step(now)
}

// Changed says that the site's metadata about the partition has changed. With
// another leader what is at the last one is given up: its fate is unknown.
func (q *Queue) Changed(now time.Time, leader bool) *Effects {
	q.begin()
	if leader && q.out > 0 && q.out+q.stale <= StaleMax {
		for _, it := range q.window {
			it.doubt = it.doubt || it.attempts > 0
		}
		q.stale += q.out
		q.out = 0
		q.generation++
		q.broken = true
	}
	q.retryAt, q.backoff = now, 0
	return q.step(now)
}

// Stop gives back every item that has no answer. The queue is not used again.
func (q *Queue) Stop() []*Item {
	var all []*Item
	for _, list := range [][]*Item{q.held, q.parking, q.window, q.fresh} {
		for _, it := range list {
			if !it.flash {
				all = append(all, it)
			}
		}
	}
	q.held, q.parking, q.window, q.fresh = nil, nil, nil, nil
	return all
}

// direct says that nothing is parked or being parked: batches go from memory to
// the leader.
func (q *Queue) direct() bool { return q.pos == q.end && len(q.parking) == 0 }

func (q *Queue) begin() {
	e := &q.e
	clear(e.Answer)
	clear(e.Hold)
	clear(e.Send)
	*e = Effects{Answer: e.Answer[:0], Hold: e.Hold[:0], Send: e.Send[:0], Read: -1}
}

// step does whatever can be done now.
func (q *Queue) step(now time.Time) *Effects {
	q.settle(now)
	q.refuse(now)
	q.park(now)
	q.mend(now)
	if !q.broken {
		q.fill(now)
		q.send()
		q.readOn()
	}
	q.e.Wake = q.wake()
	return &q.e
}

// fill moves submitted batches to the window.
func (q *Queue) fill(now time.Time) {
	for q.direct() && len(q.fresh) > 0 && len(q.window) < InFlightMax {
		it := q.fresh[0]
		q.fresh = pop(q.fresh)
		switch {
		case it.done && len(q.window) == 0: // by an attempt from before it could not be parked
			q.answer(it, it.Offset, it.Err)
		case q.number(it):
			q.window = append(q.window, it)
		}
	}
}

// number gives it an identity; what is no batch is answered.
func (q *Queue) number(it *Item) bool {
	if it.numbered {
		return true
	}
	if err := q.identity.assign(it); err != nil {
		q.answer(it, -1, err)
		return false
	}
	return true
}

// send brings what is in the window to the leader. What is there at one time
// has one producer, since the leader keeps no order between two.
func (q *Queue) send() {
	limit := InFlightMax
	if q.probing {
		limit = 1
	}
	for i, it := range q.window {
		if it.done || q.out >= limit || q.out > 0 && it.producer.ID != q.outID {
			return
		}
		if it.sent == q.generation {
			continue
		}
		if it.sent != 0 {
			q.counts.Resent++
		}
		a := &Attempt{Item: it, generation: q.generation, first: i == 0 && q.out == 0 && q.stale == 0}
		a.Partition, a.Batch, a.Acks = q.partition, it.Data, it.Acks
		it.sent = q.generation
		it.attempts++
		if it.flash {
			q.flashOut++
		}
		q.out++
		q.outID = it.producer.ID
		q.e.Send = append(q.e.Send, a)
	}
}

// settle lets go of what is done at the head of the window.
func (q *Queue) settle(now time.Time) {
	for len(q.window) > 0 && q.window[0].done {
		it := q.window[0]
		q.window = pop(q.window)
		if it.flash {
			it.Data = nil
			q.counts.HandedOver++
			q.advance(it.next, it.Offset)
			continue
		}
		// All before it is at the leader, and it is not, so nothing behind it is.
		// In doubt all keep their numbers, and the leader tells which it is.
		if it.refused && !it.doubt && it.producer == q.identity.taken {
			q.gap = true
			q.halt(now, it.Err)
		}
		q.answer(it, it.Offset, it.Err)
	}
}

func (q *Queue) answer(it *Item, offset int64, err error) {
	it.done, it.Offset, it.Err, it.Data = true, offset, err, nil
	if err != nil {
		q.counts.Refused++
	}
	q.e.Answer = append(q.e.Answer, it)
}

// wake returns when something is due.
func (q *Queue) wake() (at time.Time) {
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	if it := q.oldest(); it != nil && len(q.parking) == 0 {
		due := it.since.Add(q.policy.parkAfter(it))
		if due.Before(q.parkAgain) {
			due = q.parkAgain
		}
		sooner(due)
		if q.parkErr != nil {
			sooner(it.since.Add(q.policy.RefuseAfter))
		}
	}
	if q.broken && q.out == 0 && !q.blocked() && (len(q.window)+len(q.fresh) > 0 || q.pos < q.end) {
		sooner(q.retryAt)
	}
	return at
}

// oldest returns the oldest item that waits in memory for its answer and could
// be parked, nil when there is none.
func (q *Queue) oldest() *Item {
	switch {
	case len(q.window) > 0 && !q.window[0].flash:
		return q.window[0]
	case len(q.fresh) > 0:
		return q.fresh[0]
	}
	return nil
}

// pop takes the first of a list, and keeps its memory while it is small.
func pop(list []*Item) []*Item {
	list[0] = nil
	if len(list) == 1 {
		return list[:0]
	}
	return list[1:]
}
