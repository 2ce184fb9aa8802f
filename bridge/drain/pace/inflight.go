package pace

import "time"

// What the backlog may have unanswered while live first is on.
//
// On a slow link a few batches of the backlog fill every buffer between here and
// the centre, and what is new stands behind them for minutes. So the backlog is
// held to what keeps the link busy and no more, found as BBR does (Cardwell,
// Cheng, Gunn, Yeganeh and Jacobson, 2016): the largest rate of delivery seen
// lately, times the shortest time to an answer seen lately, and half a second more
// for a sender that sleeps. One batch may always go.

const (
	// inflightSlack is what may wait in buffers for the link.
	inflightSlack = 500 * time.Millisecond
	// inflightMax bounds what is believed of a link.
	inflightMax = 1 << 40
	// rateSamples and timeSamples are how many answers a best value is kept for, at
	// least; at most twice as many.
	rateSamples = 16
	timeSamples = 64
)

// inflight measures the link by the answers it brings.
type inflight struct {
	bytes     int64     // granted and not answered, all classes
	backfill  int64     // of these, of the backlog
	delivered int64     // answered, ever
	lastAt    time.Time // of the last answer, or of the first bytes after silence
	rate      best      // bytes per second
	time      best      // seconds, negated: the largest is the shortest
}

// flight is what is remembered of a pass on its way.
type flight struct {
	sentAt      time.Time
	delivered   int64     // inflight.delivered when it left
	deliveredAt time.Time // inflight.lastAt when it left
}

// best keeps the largest of the last samples, of two runs of n.
type best struct {
	now, before float64
	count       int
}

func (b *best) add(v float64, n int) {
	if b.count == 0 || v > b.now {
		b.now = v
	}
	if b.count == 0 && b.before == 0 {
		b.before = v
	}
	if b.count++; b.count >= n {
		b.before, b.count = b.now, 0
	}
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
	if p.class.Backfill {
		f.backfill += int64(p.bytes)
	}
	p.flight = flight{sentAt: now, delivered: f.delivered, deliveredAt: f.lastAt}
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
	if took := now.Sub(p.flight.sentAt); took > 0 {
		f.time.add(-took.Seconds(), timeSamples)
	}
	// What is new leaves when it comes, and says nothing about what the link can do.
	if over := now.Sub(p.flight.deliveredAt); p.class.Backfill && over > 0 {
		f.rate.add(float64(f.delivered-p.flight.delivered)/over.Seconds(), rateSamples)
	}
}

// limit is how many bytes of the backlog keep the link busy; 0 is not known.
func (f *inflight) limit() int64 {
	return int64(min(inflightMax, f.rate.get()*(inflightSlack.Seconds()-f.time.get())))
}

// heldBack says whether a class has to wait for answers.
func (g *Gate) heldBack(c *class) bool {
	f := &g.inflight
	return g.cfg.LiveFirst && c.Backfill && f.backfill > 0 && f.backfill >= f.limit()
}
