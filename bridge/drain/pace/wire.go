package pace

// What was asked for is not what goes over the link: frames, TLS and headers come on
// top, a sink that sends record by record sends them without their compression, and
// what is asked of upstream and answered costs as well. Where the gate can see the
// link it charges what really went: what was written beyond what was granted is
// paid by those who sent lately, and the day's budget counts both ways.

// wire is the link, as far as it was charged for.
type wire struct {
	written, read int64 // that Config.Wire told last
	ahead         int64 // bytes written beyond those granted; below 0: granted, and not written yet
}

// book charges what went over the link since the last look.
func (g *Gate) book() {
	if g.cfg.Wire == nil {
		return
	}
	w := &g.wire
	written, read := g.cfg.Wire()
	w.ahead += written - w.written
	g.count(read - w.read)
	w.written, w.read = written, read
	switch {
	case w.ahead > 0:
		g.chargeAll(float64(w.ahead))
	case w.ahead == 0 || g.inflight.bytes > 0:
		return // the rest may be written yet
	}
	g.count(w.ahead)
	w.ahead = 0
}

// chargeAll makes those who sent lately pay n bytes, each as its part was.
func (g *Gate) chargeAll(n float64) {
	sum := 0.0
	for _, c := range g.order {
		sum += c.lately
	}
	if sum == 0 || g.rate() == 0 {
		return
	}
	for _, c := range g.order {
		c.debt += n * c.lately / sum
		c.lately /= 2
	}
}
