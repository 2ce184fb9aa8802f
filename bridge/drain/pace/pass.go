package pace

import "time"

// Pass is a place in the queue at the Gate.
type Pass struct {
	granted chan struct{}
	gate    *Gate // nil: of a nil Gate
	class   *class
	bytes   int
	state   passState // guarded by gate.mu
	flight  flight    // once it was granted
}

type passState uint8

const (
	waiting passState = iota
	granted
	over // sent and answered, or cancelled
)

// open is what a pass without a wait waits for.
var open = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

var freePass = &Pass{granted: open}

// Ask queues for n bytes. Every Pass must be used and then ended with Done or
// Lost, or be cancelled.
func (g *Gate) Ask(c Class, n int) *Pass {
	if g == nil {
		return freePass
	}
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	p := &Pass{gate: g, class: g.class(c), bytes: n}
	g.look(now, false)
	p.class.push(p)
	g.serve(now)
	if p.state == granted {
		p.granted = open
	} else {
		p.granted = make(chan struct{})
	}
	return p
}

// Granted is closed when the bytes may leave.
func (p *Pass) Granted() <-chan struct{} { return p.granted }

// Done says that upstream has answered.
func (p *Pass) Done() { p.end(true, false) }

// Lost says that the bytes were sent, and that no answer will come.
func (p *Pass) Lost() { p.end(false, false) }

// Cancel gives up the place, or gives back bytes that were granted and not sent.
// Of Done, Lost and Cancel only the first call counts.
func (p *Pass) Cancel() { p.end(false, true) }

func (p *Pass) end(answered, unsent bool) {
	g := p.gate
	if g == nil {
		return
	}
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	switch p.state {
	case waiting:
		p.class.drop(p)
	case granted:
		g.land(p, now, answered)
		if unsent {
			g.refund(p)
		}
		g.settle(now)
		g.book()
	}
	p.state = over
	g.serve(now)
}

func (g *Gate) grant(p *Pass, now time.Time) {
	g.charge(p.class, p.bytes)
	g.takeOff(p, now)
	g.count(int64(p.bytes))
	p.class.sent += int64(p.bytes)
	p.class.lately += float64(p.bytes)
	g.wire.ahead -= int64(p.bytes)
	p.state = granted
	if p.granted != nil {
		close(p.granted)
	}
}

// refund takes back what was charged for bytes that did not leave.
func (g *Gate) refund(p *Pass) {
	p.class.debt -= float64(p.bytes)
	p.class.sent -= int64(p.bytes)
	g.wire.ahead += int64(p.bytes)
	g.count(-int64(p.bytes))
}
