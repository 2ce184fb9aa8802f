package drain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// central is a broker that checks sequence numbers as Kafka does.
type central struct {
	mu     sync.Mutex
	log    []arrived
	end    int64
	ids    map[int64]*producer
	lastID int64
	lanes  []*wire
	poison map[identified]string // the reason for which a record is refused
	broken []string              // what should never have been seen
	refuse int                   // as many lanes are not opened
}

func (c *central) say(format string, args ...any) {
	if modelLog {
		fmt.Fprintf(os.Stderr, "   "+format+"\n", args...)
	}
}

// arrived is a batch upstream.
type arrived struct {
	id      int64
	first   int32 // sequence
	records []identified
	end     int64 // the offset behind it
}

// producer is what a broker remembers of a producer id.
type producer struct {
	next   int32
	recent []arrived // the last InFlightMax
}

// wire is a lane: what was sent through it, in order.
type wire struct {
	c       *central
	gateway *modelSink
	cursor  *Cursor
	id      int64
	queue   []*request
	broken  bool
	closed  time.Time // nobody waits for its answers any more
	stale   int64     // mutant: the base when it was opened
}

type request struct {
	b        []byte
	sequence int32
	done     func(int64, error)
	reached  bool // the broker has dealt with it
	upstream int64
	err      error
}

// modelSink is a gateway's way to the central.
type modelSink struct {
	c       *central
	dead    bool
	window  int
	mutants mutants
}

var errCut = errors.New("connection lost")

func (s *modelSink) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (s *modelSink) Uplink() Uplink                { return Uplink{State: UplinkUp} }
func (s *modelSink) Kick()                         {}

// Open finds the position as kafkasink does.
func (s *modelSink) Open(ctx context.Context, _ metadata.PartitionID, c *Cursor, how Opening) (Lane, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.dead {
		return nil, errCut
	}
	if s.c.refuse > 0 {
		s.c.refuse--
		return nil, errCut
	}
	if s.mutants.blind {
		how = Opening{Flow: how.Flow}
	}
	before := *c
	s.c.position(c, how)
	s.c.say("%p opens %+v at %d (%d), id %d, base %d", s, how, c.Position, before.Position, c.Producer, c.Base)
	w := &wire{c: s.c, gateway: s, cursor: c, id: c.Producer, stale: c.Base}
	s.c.lanes = append(s.c.lanes, w)
	return w, nil
}

func (c *central) position(cursor *Cursor, how Opening) {
	switch {
	case cursor.Producer < 0:
		c.incarnate(cursor)
		return
	case !how.First && !how.Relocate:
		return
	}
	if p := c.ids[cursor.Producer]; p != nil {
		cursor.Position = cursor.OffsetOf((p.next-1)&sequenceMask) + 1
		return
	}
	if !cursor.InDoubt && !how.Relocate {
		return
	}
	before := cursor.Position
	for _, a := range c.log {
		if a.id == cursor.Producer && a.end > cursor.Upstream {
			cursor.Position = cursor.OffsetOf(a.first) + int64(len(a.records))
		}
	}
	cursor.Upstream = c.end
	old := time.Since(time.UnixMilli(cursor.AckedAt)) > SilenceMax
	if how.Forgotten || how.Contradicted && cursor.Position == before && old {
		c.incarnate(cursor)
	}
}

func (c *central) incarnate(cursor *Cursor) {
	c.lastID++
	cursor.Incarnate(time.Now(), Target{Cluster: "c", Topic: "t"}, c.lastID, 0, c.end)
}

func (w *wire) Target() string { return "t/0" }
func (w *wire) Traits() Traits { return Traits{Window: w.gateway.window} }
func (w *wire) Close() {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	w.closed = time.Now()
}
func (w *wire) Send(b []byte, h *batch.Header, sequence int32, done func(int64, error)) {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	if w.gateway.mutants.staleBase {
		sequence = int32((h.BaseOffset - w.stale) & sequenceMask)
	}
	if w.broken || w.gateway.dead {
		done(-1, errCut)
		return
	}
	w.queue = append(w.queue, &request{b: b, sequence: sequence, done: done})
}

// reach lets the next request of a lane reach the broker.
func (w *wire) reach() bool {
	for _, r := range w.queue {
		if !r.reached {
			r.reached = true
			r.upstream, r.err = w.c.take(w.id, r)
			h, _ := batch.ParseHeader(r.b)
			w.c.say("%p: id %d, sequence %d, %d records from %d: %d, %v", w.gateway, w.id, r.sequence, h.Count, h.BaseOffset, r.upstream, r.err)
			return true
		}
	}
	return false
}

// answer gives the oldest answer of a lane.
func (w *wire) answer() bool {
	if len(w.queue) == 0 || !w.queue[0].reached {
		return false
	}
	r := w.queue[0]
	w.queue = w.queue[1:]
	r.done(r.upstream, r.err)
	return true
}

// cut breaks a lane: no answer that is due comes.
func (w *wire) cut() {
	w.broken = true
	for _, r := range w.queue {
		r.done(-1, errCut)
	}
	w.queue = nil
}

// take is the broker's side of a produce request. c.mu is held.
func (c *central) take(id int64, r *request) (int64, error) {
	h, err := batch.Verify(r.b)
	if err != nil {
		return -1, &Error{Verdict: Corrupt, Err: err}
	}
	a := arrived{id: id, first: r.sequence}
	for rec, err := range batch.Records(r.b, 1<<20) {
		if err != nil {
			c.broken = append(c.broken, fmt.Sprintf("a batch of offset %d can't be read: %v", h.BaseOffset, err))
			break
		}
		i := identify(rec.Value)
		if reason := c.poison[i]; reason != "" && (reason != invalidTimestamp || h.MaxTimestamp < 1000) {
			return -1, &Error{Verdict: Refused, Reason: reason, Err: errors.New(reason)}
		}
		a.records = append(a.records, i)
	}
	p := c.ids[id]
	if p != nil {
		for _, old := range p.recent {
			if old.first == a.first && len(old.records) == len(a.records) {
				return old.end, nil
			}
		}
		if p.next != a.first {
			return -1, &Error{Verdict: Misplaced, Reason: "OUT_OF_ORDER_SEQUENCE_NUMBER", Err: fmt.Errorf("id %d: sequence %d, want %d", id, a.first, p.next)}
		}
	} else {
		p = &producer{}
		c.ids[id] = p
	}
	c.end += int64(len(a.records))
	a.end = c.end
	c.log = append(c.log, a)
	p.next = int32((int64(a.first) + int64(len(a.records))) & sequenceMask)
	p.recent = append(p.recent, a)
	if len(p.recent) > InFlightMax {
		p.recent = p.recent[1:]
	}
	return a.end, nil
}

// lingerMax is how long requests of a lane that was closed are on the way.
const lingerMax = QuietTime - time.Second

// tidy forgets lanes that are done, and what was on the way for too long.
func (c *central) tidy() {
	c.lanes = slices.DeleteFunc(c.lanes, func(w *wire) bool {
		over := !w.closed.IsZero() && (len(w.queue) == 0 || time.Since(w.closed) > lingerMax)
		if over {
			w.cut()
		}
		return over || w.broken
	})
}

// forget is a broker that starts again and remembers its log only.
func (c *central) forget() {
	c.ids = map[int64]*producer{}
	for _, w := range c.lanes {
		w.cut()
	}
	c.lanes = nil
}
