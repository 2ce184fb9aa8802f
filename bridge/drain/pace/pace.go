// Package pace decides when the next bytes may leave the gateway: how fast, at
// which hours, how many a day, and whose turn it is.
//
// A [Gate] is what all partitions of a gateway share. Whoever has a batch to send
// asks for its bytes, waits until they are granted, sends, and says when the
// answer came:
//
//	pass := gate.Ask(class, len(batch))
//	select {
//	case <-pass.Granted():
//	case <-ctx.Done():
//		pass.Cancel()
//	}
//	... send; when the answer is there: pass.Done(), or pass.Lost()
//
// # Whose turn
//
// Each class has a debt: the bytes it was granted and that were not paid yet. A
// class without debt is served at once, whatever the batch costs; the batch is
// paid after. The cap is divided among the classes in debt, by weight, from moment
// to moment: generalized processor sharing (Parekh and Gallager, 1993), with the
// one who pays in the place of the one who is served. So a batch of 1 MB of the
// backlog, 50 s of a cap of 20 kB/s, leaves what is new its own share of the cap,
// an idle class leaves its share to the others, and over any time t no more
// leaves than cap × (t + BurstTime), and one batch of each class.
//
// Without a cap the link itself decides, and only the backlog is held back, see
// inflight.go.
package pace

import (
	"sync"
	"time"
)

// Limits and shares.
const (
	// BackfillShare is the weight of what an outage left behind, of that of what is
	// new in the same lane.
	BackfillShare = 0.25
	// BurstTime is how much of the cap may be saved up while nobody uses it, so that
	// timers that come late cost no throughput.
	BurstTime = 100 * time.Millisecond
	// ClassesMax bounds the classes; more share one.
	ClassesMax = 16
	// lookInterval is how often time of day and uplink are looked at, at most.
	lookInterval = time.Second
	// recheckInterval is how long a closed gate trusts the wall clock.
	recheckInterval = 30 * time.Second
	// timerMin keeps timers from firing for a few bytes.
	timerMin = time.Millisecond
	// paidBelow is the debt, in bytes, that is none: sums of fractions are not exact.
	paidBelow = 1
)

// Class is a kind of traffic that shares the uplink with others. Classes that
// want to send at once take turns by weight.
type Class struct {
	Lane     string // of the stream, see metadata.Lanes
	Backfill bool   // what was left behind by an outage, see drain.OrderLiveFirst
}

// Config says what holds for the way out. The zero value sets no limit.
type Config struct {
	BytesPerSecond int64          // 0: no cap
	Weights        map[string]int // by lane; what is not there is 1
	LiveFirst      bool           // hold the backlog to what the link can take
	Schedule       []Window       // local time; empty: always
	DailyBytes     int64          // what may go over the link on a local day, and one batch; 0: no limit
	RampUp         bool           // begin slowly after the uplink was away, see RampAfter

	// Load returns what Save was given last, by this process or the one before;
	// nil: nothing is kept. Save is called from a goroutine of its own, at most
	// once in SaveInterval; durable asks for it to be on flash on return.
	Load func() Memory
	Save func(m Memory, durable bool)
	// Uplink tells whether the uplink is up, and since when. It is asked about once
	// a second, and must not block; nil: Up has to be called.
	Uplink func() (since time.Time, up bool)

	// Wire tells what went over the link so far, in bytes: written by this gateway,
	// and read. It must not block. nil: what was granted stands for it.
	Wire func() (written, read int64)

	Now  func() time.Time                      // the wall clock; nil: time.Now
	Rand func(max time.Duration) time.Duration // nil: math/rand/v2
}

// Gate is the way out, which all partitions of a gateway share. A nil Gate is
// always open. It may be used by many goroutines, and starts none but timers.
type Gate struct {
	cfg    Config
	saving sync.Mutex // held while Config.Save runs

	mu       sync.Mutex
	classes  map[Class]*class
	order    []*class // as they came up
	spare    float64  // bytes of the cap that nobody used, up to BurstTime of it
	virtual  float64  // see class.start
	settled  time.Time
	looked   time.Time
	timer    *time.Timer
	closed   bool
	inflight inflight
	hours    hours
	ramp     ramp
	wire     wire
}

// New returns a gate.
func New(c Config) *Gate {
	g := &Gate{cfg: c, classes: map[Class]*class{}}
	if g.cfg.Now == nil {
		g.cfg.Now = time.Now
	}
	now := time.Now()
	g.settled = now
	g.hours.load(&g.cfg)
	g.ramp.load(g.hours.memory.UpAt)
	if c.Wire != nil {
		g.wire.written, g.wire.read = c.Wire()
	}
	g.look(now, true)
	return g
}

// Close saves what has to be remembered. Nothing is granted or saved after it.
func (g *Gate) Close() {
	if g == nil {
		return
	}
	g.mu.Lock()
	g.closed = true
	if g.timer != nil {
		g.timer.Stop()
	}
	g.mu.Unlock()
	g.save(true)
}

// serve grants what may leave, and sees to it that it is looked at again.
func (g *Gate) serve(now time.Time) {
	g.settle(now)
	for g.isOpen(now) {
		c := g.next()
		if c == nil {
			break
		}
		g.grant(c.pop(), now)
	}
	g.arm(now)
}

// isOpen says whether anything may leave at all.
func (g *Gate) isOpen(now time.Time) bool {
	return !g.closed && g.hours.open(&g.cfg) && !g.ramp.holds(now)
}

// look looks at what changes by itself: the time of day, the uplink.
func (g *Gate) look(now time.Time, force bool) {
	if !force && now.Sub(g.looked) < lookInterval {
		return
	}
	g.looked = now
	wall := g.cfg.Now()
	g.hours.look(&g.cfg, wall, now)
	g.settle(now)
	g.book()
	if g.cfg.Uplink != nil {
		if since, up := g.cfg.Uplink(); up {
			g.rampAfter(g.ramp.away(since, wall, g.hours.clockSet), now)
			g.hours.seenUp(wall, g.hours.clockSet)
		}
	}
	g.saveLater()
}

// Look looks at the time of day and at the uplink. Ask does so as well, but
// somebody has to while nobody asks: about every 5 s.
func (g *Gate) Look() {
	if g == nil {
		return
	}
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.look(now, true)
	g.serve(now)
}

// reopens returns for how long nothing leaves; 0 is not known.
func (g *Gate) reopens(now time.Time) time.Duration {
	d := max(0, g.ramp.from.Sub(now))
	if at := g.hours.reopens(&g.cfg); !at.IsZero() {
		d = max(d, at.Sub(g.cfg.Now()), timerMin)
	}
	return d
}

// arm sets the timer for whoever waits.
func (g *Gate) arm(now time.Time) {
	if g.closed || !g.anyWaiting() {
		return
	}
	var d time.Duration
	if g.isOpen(now) {
		d = g.untilPaid()
		if step := g.ramp.untilStep(now); step > 0 && (d == 0 || step < d) {
			d = step
		}
		if d == 0 {
			return // held back by what is in flight: an answer serves
		}
	} else {
		d = recheckInterval
		if until := g.reopens(now); until > 0 {
			d = min(d, until)
		}
	}
	d = max(d, timerMin)
	if g.timer == nil {
		g.timer = time.AfterFunc(d, g.tick)
	} else {
		g.timer.Reset(d)
	}
}

func (g *Gate) tick() {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.look(now, true)
	g.serve(now)
}
