package pace

import "time"

// What the backlog may have unanswered while live first is on.
//
// On a slow link a few batches of the backlog fill every buffer between here and
// the centre, and what is new stands behind them for minutes. So the backlog is
// held to what keeps the link busy and no more, found as BBR does (Cardwell,
// Cheng, Gunn, Yeganeh and Jacobson, 2016): the largest rate of delivery seen
// lately, times the shortest time to an answer seen lately, and half a second more
// for a sender that sleeps. One batch may always go. As that half second stands in
// the times that are seen, the limit would rise by it again and again; so now and
// then one batch of the backlog goes alone, which shows the bare link.

const (
	// inflightSlack is what may wait in buffers for the link.
	inflightSlack = 500 * time.Millisecond
	// inflightMax bounds what is believed of a link.
	inflightMax = 1 << 40
	// rateKept and timeKept are how long a best value counts, at least; at most twice
	// as long, and for bestSamples answers on a slow link.
	rateKept    = 10 * time.Second
	timeKept    = 30 * time.Second
	bestSamples = 16
)

// inflight measures the link by the answers it brings.
type inflight struct {
	bytes     int64     // granted and not answered, all classes
	backfill  int64     // of these, of the backlog
	delivered int64     // answered, ever
	lastAt    time.Time // of the last answer, or of the first bytes after silence
	rate      best      // bytes per second
	time      best      // seconds, negated: the largest is the shortest
	alone     bool      // the backlog goes one by one, until one was answered
}

// flight is what is remembered of a pass on its way.
type flight struct {
	sentAt      time.Time
	delivered   int64     // inflight.delivered when it left
	deliveredAt time.Time // inflight.lastAt when it left
	alone       bool      // nothing else of the backlog was on its way
}

// best keeps the largest of the last samples: of the run that is taken now, and of
// the one before.
type best struct {
	now, before float64
	count       int
	since       time.Time // when this run began
}

// add takes a sample, and says whether a new run begins.
func (b *best) add(v float64, at time.Time, kept time.Duration) bool {
	if b.count == 0 {
		if b.since.IsZero() {
			b.before = v
		}
		b.now, b.since = v, at
	}
	b.now = max(b.now, v)
	if b.count++; b.count < bestSamples || at.Sub(b.since) < kept {
		return false
	}
	b.before, b.count = b.now, 0
	return true
}

// get returns the largest; 0 before the first.
func (b *best) get() float64 {
	if b.count == 0 {
		return b.before
	}
	return max(b.now, b.before)
}

// takeOff notes that a pass leaves.
func (g *Gate) takeOff(p *Pass, now time.Time) {
	f := &g.inflight
	if f.bytes == 0 {
		f.lastAt = now // the link was idle until now
	}
	f.bytes += int64(p.bytes)
	p.class.out += int64(p.bytes)
	p.flight = flight{sentAt: now, delivered: f.delivered, deliveredAt: f.lastAt, alone: f.backfill == 0}
	if p.class.Backfill {
		f.backfill += int64(p.bytes)
	}
}

// land notes that a pass is no longer on its way.
func (g *Gate) land(p *Pass, now time.Time, answered bool) {
	f := &g.inflight
	f.bytes -= int64(p.bytes)
	p.class.out -= int64(p.bytes)
	if p.class.Backfill {
		f.backfill -= int64(p.bytes)
	}
	if !answered {
		return
	}
	f.delivered += int64(p.bytes)
	f.lastAt = now
	if took := now.Sub(p.flight.sentAt); took > 0 && f.time.add(-took.Seconds(), now, timeKept) {
		f.alone = true
	}
	if !p.class.Backfill {
		return // it left when it came, which says nothing about what the link can do
	}
	if over := now.Sub(p.flight.deliveredAt); over > 0 {
		f.rate.add(float64(f.delivered-p.flight.delivered)/over.Seconds(), now, rateKept)
	}
	if p.flight.alone {
		f.alone = false
	}
}

// limit is how many bytes of the backlog keep the link busy; 0 is not known.
func (f *inflight) limit() int64 {
	return int64(min(inflightMax, f.rate.get()*(inflightSlack.Seconds()-f.time.get())))
}

// heldBack says whether a class has to wait for answers.
func (g *Gate) heldBack(c *class) bool {
	f := &g.inflight
	return g.cfg.LiveFirst && c.Backfill && f.backfill > 0 && (f.alone || f.backfill >= f.limit())
}
