package ingest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

// pump moves the records of one lane: Append fills parts, the sealer builds
// them into a group when it is time, the finisher answers when the journal has
// it on flash. On a site of several gateways the batches of a group are answered
// one by one instead: see ship.go.
//
// The next group is sealed when the one before was answered and those who publish
// again at once are back (company); or while that one is still being written,
// once commit_bytes wait.
type pump struct {
	acc *Accumulator

	mu          sync.Mutex
	waiting     []*part   // open or full, in order of their first record
	deadline    time.Time // when the first of them has waited long enough
	bytes       int       // in waiting
	commitBytes int       // the smallest commit_bytes among them
	records     int       // in waiting
	held        int       // bytes in waiting and in batches without an answer
	outstanding int       // groups
	company     company
	room        chan struct{} // closed when there may be room again
	blocked     int           // appends that wait for it
	stopped     bool
	freeParts   []*part
	freeGroups  []*group

	wake chan struct{} // the sealer has something to look at
	done chan *group   // from the journal to the finisher; closed when the sealer has ended

	shipping
}

// part is a batch being collected, and who waits for it.
type part struct {
	partition *partition
	builder   *batch.Builder
	codec     metadata.Codec // the builder's
	clock     clockMark      // of all its records
	waiters   []waiter
	data      []byte // the finished batch; the buffer is used again
	bytes     int
}

type waiter struct {
	c   Completion
	seq uint64
}

// group is a part of a lane's commit: one batch for each partition that had
// records waiting.
type group struct {
	segstore.Group
	parts []*part
	bytes int
	flush []Completion

	records   int
	submitted time.Time

	// On a site of several gateways:
	sent    []*sent
	counted int // batches that the group still waits for
}

const (
	freePartsMax  = 64       // kept for use again
	partDataKeep  = 64 << 10 // a finished batch's buffer above this is let go
	waitersKeep   = 4096     // likewise
	partsGroupMax = 1024     // batches of one group
)

func newPump(a *Accumulator) *pump {
	u := &pump{acc: a, room: make(chan struct{}), wake: make(chan struct{}, 1), done: make(chan *group, outstandingMax)}
	u.shipping.init()
	return u
}

func (u *pump) append(ctx context.Context, p *partition, r *batch.Record, c Completion, seq uint64) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.awaitRoom(ctx, p); err != nil {
		return err
	}
	clock := markOf(r)
	if p.open == nil || clock.differs(p.open.clock) {
		if err := u.begin(p, clock); err != nil {
			return err
		}
	}
	before := p.open.builder.Size()
	full, err := p.open.builder.Append(r)
	if full {
		if err := u.begin(p, clock); err != nil {
			return err
		}
		before = p.open.builder.Size()
		_, err = p.open.builder.Append(r)
	}
	if err != nil {
		u.undo(p)
		return fmt.Errorf("%s: %w", p.id, cause(err))
	}
	o := p.open
	o.waiters = append(o.waiters, waiter{c, seq})
	size := o.builder.Size() - before
	o.bytes += size
	u.bytes += size
	u.held += size
	u.records++
	if u.records == 1 || u.records == u.company.expected || u.bytes >= u.commitBytes {
		u.poke()
	}
	return nil
}

// awaitRoom waits until p may have one more record. The mutex is held, but not
// while it waits.
func (u *pump) awaitRoom(ctx context.Context, p *partition) error {
	for u.held >= u.limit(p) && !u.stopped {
		room := u.room
		u.blocked++
		u.mu.Unlock()
		var err error
		select {
		case <-room:
		case <-ctx.Done():
			err = ctx.Err()
		}
		u.mu.Lock()
		u.blocked--
		if err != nil {
			return err
		}
	}
	if u.stopped {
		return ErrUnavailable
	}
	if u.heldRecords >= HeldRecordsMax && p.late > 0 {
		return fmt.Errorf("%s: %d records wait here for their leader already: %w", p.id, u.heldRecords, ErrUnavailable)
	}
	return nil
}

// limit is what may be in memory for p to be let in. A partition whose answers
// are late may not take the other half, which is for the others.
func (u *pump) limit(p *partition) int {
	if p.late > 0 {
		return u.acc.pendingMax() / 2
	}
	return u.acc.pendingMax()
}

// begin opens a new part for p behind all that wait, for records of that clock.
func (u *pump) begin(p *partition, clock clockMark) error {
	if err := u.acc.look(p); err != nil {
		return err
	}
	var o *part
	if n := len(u.freeParts); n > 0 {
		o, u.freeParts = u.freeParts[n-1], u.freeParts[:n-1]
	} else {
		o = &part{}
	}
	if o.builder == nil || o.codec != p.config.Codec {
		o.builder, o.codec = batch.NewBuilder(p.config.Codec), p.config.Codec
	}
	o.partition, o.clock = p, clock
	if clock.unset {
		o.builder.MarkClockUnset()
	}
	p.open = o
	deadline := time.Now().Add(u.window(p))
	if len(u.waiting) == 0 || deadline.Before(u.deadline) {
		u.deadline = deadline
		u.poke()
	}
	if len(u.waiting) == 0 || p.config.CommitBytes < u.commitBytes {
		u.commitBytes = p.config.CommitBytes
	}
	u.waiting = append(u.waiting, o)
	return nil
}

// undo takes back a part that begin opened for a record that fits nowhere.
func (u *pump) undo(p *partition) {
	if p.open.builder.Count() == 0 {
		u.waiting = u.waiting[:len(u.waiting)-1]
		u.release(p.open)
		p.open = nil
	}
}

func (u *pump) window(p *partition) time.Duration {
	if p.config.CommitWindow == metadata.WindowAuto {
		return u.acc.budget.window(p.config.CommitLatencyMax)
	}
	return p.config.CommitWindow
}

func (u *pump) poke() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

func (u *pump) release(o *part) {
	o.builder.Reset()
	clear(o.waiters)
	o.waiters, o.bytes = o.waiters[:0], 0
	if cap(o.data) > partDataKeep {
		o.data = nil
	}
	if cap(o.waiters) > waitersKeep {
		o.waiters = nil
	}
	if len(u.freeParts) < freePartsMax {
		u.freeParts = append(u.freeParts, o)
	}
}

func (u *pump) stop() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stopped = true
	u.giveRoom()
	u.poke()
}
