package sim

import "time"

// send brings a message to whatever process runs at the other end when it
// arrives, if any: lost, twice, late and out of order as the options say. What
// is not late keeps its order, as on one connection.
func (s *Simulation) send(from, to *gateway, do func()) {
	copies := 1
	if s.chance(s.Duplicate) {
		copies++
		s.count("duplicated")
	}
	for range copies {
		if s.cut[from.n][to.n] || s.chance(s.Loss) && from != to {
			s.count("dropped")
			continue
		}
		at := max(s.now+s.around(s.Delay), s.line[from.n][to.n])
		if s.chance(s.Late) { // on a connection of its own
			at = s.now + s.between(0, s.LateMax)
			s.count("late")
		} else {
			s.line[from.n][to.n] = at
		}
		s.after(at-s.now, func() { to.run(to.life, do) })
	}
}

// reply is a message to the very process that asked.
func (s *Simulation) reply(from, to *gateway, life int, do func()) {
	s.send(from, to, func() {
		if to.life == life {
			do()
		}
	})
}

// run does something in a gateway's process: now, when it is resumed, or never.
func (g *gateway) run(life int, do func()) {
	switch {
	case !g.up || g.life != life:
	case g.paused:
		g.inbox = append(g.inbox, do)
	default:
		do()
	}
}

// later does something in this process after a while.
func (g *gateway) later(d time.Duration, do func()) {
	life := g.life
	g.s.after(d, func() { g.run(life, do) })
}

// reaches reports whether a gateway and the quorum hear each other: more than
// half of the gateways, itself included.
func (s *Simulation) reaches(g *gateway) bool {
	if !g.up || g.paused || g.exiled {
		return false
	}
	n := 0
	for _, o := range s.gateways {
		if o.up && !o.paused && !s.cut[g.n][o.n] && !s.cut[o.n][g.n] {
			n++
		}
	}
	return n > len(s.gateways)/2
}
