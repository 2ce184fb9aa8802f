package drain

import (
	"context"
	"fmt"
	"time"

	"cistern/bridge/drain/pace"
	"cistern/bridge/drain/shape"
)

// session is one flow's work through one lane.
type session struct {
	*flow
	lane    Lane
	traits  Traits
	options shape.Options
	next    int64        // first offset that was not sent in this session
	proven  bool         // a batch was acknowledged since the last failure: the whole window may be used
	flights []flight     // sent and not answered, oldest first
	results chan outcome // has room for every flight
	chunk   *chunk       // read, not all sent; nil: none
	ticket  *ticket      // memory for the next chunk; nil: not asked for
	large   int          // bytes that were read last: the next are likely as many
	ready   *parcel      // what goes next; nil: not made yet
	gate    gateWait
	linger  lingering
	mending mending
	split   splitting
	timer   *time.Timer
	unsaved int // batches acknowledged since the last save
}

// flight is a batch on its way.
type flight struct {
	first   int64
	next    int64 // offset behind it
	bytes   int
	records int32
	alone   bool // nothing else was in flight when it left
	merged  bool // of more than one stored batch
	retimed bool // with another time than what lies on flash
	memory  *chunk
	pass    *pace.Pass // nil: no gate
}

// outcome is what became of the oldest flight.
type outcome struct {
	upstream int64
	err      error
}

func newSession(f *flow, lane Lane) *session {
	s := &session{
		flow:   f,
		lane:   lane,
		traits: lane.Traits(),
		next:   f.cursor.Position,
		timer:  time.NewTimer(SaveInterval),
		linger: lingering{timer: time.NewTimer(time.Hour)},
		split:  splitting{end: f.log.EndOffset(), begun: time.Now()},

		mending: newMending(f.d.cfg.Mender),
	}
	s.options = shape.Options{Partition: fmt.Sprintf("%s/%s/%d", f.d.cfg.Site, f.id.Stream, f.id.Partition), Identified: s.traits.Identified}
	s.linger.timer.Stop()
	if s.traits.Window < 1 {
		s.traits.Window = InFlightMax
	}
	s.results = make(chan outcome, s.traits.Window)
	return s
}

// window is how many batches may be in flight.
func (s *session) window() int {
	if s.proven {
		return s.traits.Window
	}
	return 1
}

func (s *session) run(ctx context.Context) error {
	moved, cancel := s.log.Watch()
	defer cancel()
	if err := s.await(ctx, moved); err != nil {
		return err
	}
	for {
		if err := s.fill(); err != nil {
			return err
		}
		if s.cursor.Position >= s.end {
			return errDrained
		}
		s.tell()
		select {
		case <-ctx.Done():
			s.finish()
			return ctx.Err()
		case o := <-s.results:
			if err := s.land(ctx, o); err != nil {
				if ctx.Err() != nil {
					s.saveAtStop(false)
				}
				return err
			}
		case <-moved:
		case <-s.memory():
		case <-s.gate.granted():
		case <-s.linger.timer.C:
		case <-s.mending.ended:
			s.mending.over()
		case <-s.mending.timer.C:
		case <-s.timer.C:
			s.housekeep()
		}
	}
}

// await waits until the high watermark has reached what is upstream already. A
// new leader's stands lower than its predecessor's for a moment; a log that ends
// below is another log.
func (s *session) await(ctx context.Context, moved <-chan struct{}) error {
	for s.next > s.log.HighWatermark() {
		if end := s.log.EndOffset(); s.next > end {
			return &Error{Verdict: Denied, Err: fmt.Errorf("records up to offset %d are upstream, but the log ends at %d: it was replaced or cut back", s.next, end)}
		}
		s.say(StateIdle, "")
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (s *session) tell() {
	switch {
	case len(s.flights) > 0:
		s.say(StateDraining, s.split.note)
	case s.gate.granted() != nil:
		s.say(StatePaced, "")
	case s.mending.lost != nil:
		s.say(StateMending, s.mending.reason())
	case s.next < s.highWatermark():
		s.say(StateDraining, s.split.note)
	default:
		s.say(StateIdle, "")
	}
	s.publish(len(s.flights))
}

// memory returns what to wait for when a chunk's memory was asked for.
func (s *session) memory() <-chan struct{} {
	if s.ticket == nil || s.ticket.isGranted() {
		return nil // granted: fill waits for something else
	}
	return s.ticket.granted
}

// fill sends batches until the window is full or there is nothing to send. It
// fails only while nothing is in flight.
func (s *session) fill() error {
	for len(s.flights) < s.window() {
		if s.ready == nil {
			if ok, err := s.prepare(); !ok || err != nil {
				return err
			}
		}
		if ok, err := s.judge(); !ok || err != nil {
			return err
		}
		if !s.mayPass() {
			return nil
		}
		if ok, err := s.commit(); !ok || err != nil {
			return err
		}
		s.send()
	}
	return nil
}

// commit makes durable what has to be before a batch leaves. It is false while
// that has to wait for answers.
func (s *session) commit() (bool, error) {
	if len(s.flights) == 0 && s.silent() {
		s.how.Relocate = true
		return false, fmt.Errorf("nothing was sent for %s: looking up the position before going on", SilenceMax)
	}
	s.cursor.InDoubt = true
	if s.ready.epoch <= s.cursor.LogEpoch && s.doubted && s.durable == s.cursor.identity() && s.isSure() {
		return true, nil
	}
	if len(s.flights) > 0 {
		return false, nil
	}
	s.cursor.LogEpoch = max(s.cursor.LogEpoch, s.ready.epoch)
	err := s.saveSync(Tallies{})
	return err == nil, err
}

// silent reports whether upstream may have forgotten the producer meanwhile.
// A session that has just looked need not look again.
func (s *session) silent() bool {
	last := time.UnixMilli(s.cursor.AckedAt)
	return s.proven && s.d.cfg.Now().Sub(last) > SilenceMax
}

func (s *session) send() {
	p := s.ready
	s.ready = nil
	f := flight{
		first:   p.header.BaseOffset,
		next:    p.next,
		bytes:   len(p.bytes),
		records: p.header.Count,
		alone:   len(s.flights) == 0,
		merged:  p.merged,
		retimed: p.retimed,
		memory:  p.memory,
		pass:    s.gate.use(),
	}
	s.flights = append(s.flights, f)
	f.memory.out++
	s.next = f.next
	s.took(p)
	results := s.results
	s.lane.Send(p.bytes, &p.header, s.cursor.Sequence(f.first), func(upstream int64, err error) {
		results <- outcome{upstream, err}
	})
}

// took moves the chunk behind what was sent of it.
func (s *session) took(p *parcel) {
	s.chunk.rest = s.chunk.rest[p.used:]
	s.linger.sent(s.chunk)
	if len(s.chunk.rest) == 0 {
		s.chunk.settle() // unless flights keep it
		s.chunk = nil
	}
}

// land takes the answer to the oldest flight.
func (s *session) land(ctx context.Context, o outcome) error {
	f := s.pop(o)
	if o.err != nil {
		return s.fallen(ctx, f, o.err)
	}
	s.landed(f, o.upstream)
	return nil
}

// landed moves the cursor behind a batch that was acknowledged.
func (s *session) landed(f flight, upstream int64) {
	now := s.d.cfg.Now()
	s.cursor.Position = f.next
	s.cursor.AckedAt = now.UnixMilli()
	if upstream >= 0 {
		s.cursor.Upstream = upstream
	}
	s.d.meter.add(now, int64(f.records), int64(f.bytes))
	s.proven = true
	s.backoff.Reset()
	s.contradicted, s.suspect, s.refusedRun = -1, suspect{offset: -1}, 0
	if f.retimed {
		s.countRetimed(f)
	}
	if s.unsaved == 0 {
		s.timer.Reset(SaveInterval)
	}
	if s.unsaved++; s.unsaved >= SaveEvery {
		s.save()
	}
}

// pop removes the oldest flight, whose answer is o, and settles what it held.
func (s *session) pop(o outcome) flight {
	f := s.flights[0]
	s.flights = s.flights[1:]
	f.memory.out--
	f.memory.settle()
	if f.pass != nil {
		if o.err == nil || VerdictOf(o.err) != Retry {
			f.pass.Done()
		} else {
			f.pass.Lost()
		}
	}
	return f
}

// close gives memory back. Flights that are still out leave theirs behind.
func (s *session) close() {
	s.timer.Stop()
	s.linger.timer.Stop()
	s.mending.timer.Stop()
	s.mending.cancel()
	s.drop()
	for _, f := range s.flights {
		f.memory.abandon()
		if f.pass != nil {
			f.pass.Lost()
		}
	}
	if s.ticket != nil {
		s.ticket.release()
	}
}

// drop forgets what was read and not sent.
func (s *session) drop() {
	s.gate.cancel()
	s.unmake()
	if s.chunk != nil {
		s.chunk.rest = nil
		s.chunk.settle()
		s.chunk = nil
	}
}
