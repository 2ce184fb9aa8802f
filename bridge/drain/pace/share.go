package pace

import (
	"slices"
	"time"
)

// class is what the gate keeps of a Class.
type class struct {
	Class
	weight  float64
	debt    float64 // bytes granted and not paid; below 0: saved up
	start   float64 // virtual time at which the next batch begins
	queue   []*Pass // waiting, in the order of asking
	waiting int64   // bytes of queue
	sent    int64   // bytes granted
	lately  float64 // of these, since the last look, and less and less of what was before
	out     int64   // bytes granted and not answered
}

func (g *Gate) class(c Class) *class {
	if k := g.classes[c]; k != nil {
		return k
	}
	if len(g.classes) >= ClassesMax {
		return g.order[0]
	}
	k := &class{Class: c, weight: float64(max(1, g.cfg.Weights[c.Lane])), start: g.virtual}
	if c.Backfill {
		k.weight *= BackfillShare
	}
	g.classes[c] = k
	g.order = append(g.order, k)
	return k
}

func (c *class) push(p *Pass) {
	c.queue = append(c.queue, p)
	c.waiting += int64(p.bytes)
}

func (c *class) pop() *Pass {
	p := c.queue[0]
	c.queue = slices.Delete(c.queue, 0, 1) // keeps the memory: most queues have one
	c.waiting -= int64(p.bytes)
	return p
}

func (c *class) drop(p *Pass) {
	if i := slices.Index(c.queue, p); i >= 0 {
		c.queue = slices.Delete(c.queue, i, i+1)
		c.waiting -= int64(p.bytes)
	}
}

func (g *Gate) anyWaiting() bool {
	return slices.ContainsFunc(g.order, func(c *class) bool { return len(c.queue) > 0 })
}

// next returns the class to serve: of those that wait without debt, and are not
// held back by what is in flight, the one that is furthest behind its share. That
// is start-time fair queueing (Goyal, Vin and Cheng, 1996); it decides where
// there is no cap, and so no debt.
func (g *Gate) next() *class {
	var best *class
	for _, c := range g.order {
		if len(c.queue) > 0 && (c.debt < paidBelow || g.rate() == 0) && !g.heldBack(c) && (best == nil || c.start < best.start) {
			best = c
		}
	}
	return best
}

// charge makes a class pay for n bytes, out of what nobody used as far as that goes.
func (g *Gate) charge(c *class, n int) {
	g.virtual = max(g.virtual, c.start)
	c.start = g.virtual + float64(n)/c.weight
	if g.rate() == 0 {
		return
	}
	saved := min(g.spare, float64(n))
	g.spare -= saved
	c.debt += float64(n) - saved
}

// settle pays debts with what the cap has yielded since the last time.
func (g *Gate) settle(now time.Time) {
	elapsed := now.Sub(g.settled)
	g.settled = now
	rate := float64(g.rate()) // until now
	g.ramp.step(now, g.cfg.BytesPerSecond)
	if g.rate() == 0 {
		for _, c := range g.order {
			c.debt = 0
		}
		g.spare = 0
		return
	}
	saveMax := rate * BurstTime.Seconds()
	budget := rate * elapsed.Seconds()
	// Each round pays all, and pays off one at least.
	for range ClassesMax {
		sum, least := g.paying(saveMax)
		if sum == 0 || budget < paidBelow {
			break
		}
		pay := min(budget, least*sum)
		for _, c := range g.order {
			if c.room(saveMax) > 0 {
				c.debt -= pay * c.weight / sum
			}
		}
		budget -= pay
	}
	g.spare = min(g.spare+budget, saveMax)
}

// room is what a class can take of the cap: what it owes, and while it waits a
// little more, since it waits for the timer then.
func (c *class) room(saveMax float64) float64 {
	room := c.debt
	if len(c.queue) > 0 {
		room += saveMax
	}
	if room < paidBelow {
		return 0
	}
	return room
}

// paying returns the weights of all that can take something, and the smallest
// bytes per weight that pays one of them off.
func (g *Gate) paying(saveMax float64) (sum, least float64) {
	for _, c := range g.order {
		if room := c.room(saveMax); room > 0 {
			if sum == 0 || room/c.weight < least {
				least = room / c.weight
			}
			sum += c.weight
		}
	}
	return sum, least
}

// untilPaid returns when the next debt is paid, if shares stay as they are; 0 is
// that nobody owes anything.
func (g *Gate) untilPaid() time.Duration {
	rate := float64(g.rate())
	if rate == 0 {
		return 0
	}
	_, least := g.paying(0)
	sum, _ := g.paying(rate * BurstTime.Seconds()) // these share
	return time.Duration(min(least*sum/rate, recheckInterval.Seconds()) * float64(time.Second))
}
