package drain

import (
	"time"

	"cistern/bridge/drain/pace"
)

// gateWait is a flow's place at the gate.
type gateWait struct {
	pass  *pace.Pass // nil: not asked
	asked time.Time
}

// granted returns what to wait for; nil when nothing is.
func (g *gateWait) granted() <-chan struct{} {
	if g.pass == nil || g.open() {
		return nil
	}
	return g.pass.Granted()
}

func (g *gateWait) open() bool {
	select {
	case <-g.pass.Granted():
		return true
	default:
		return false
	}
}

// use takes the pass: its bytes leave.
func (g *gateWait) use() *pace.Pass {
	p := g.pass
	g.pass = nil
	return p
}

func (g *gateWait) cancel() {
	if g.pass != nil {
		g.pass.Cancel()
		g.pass = nil
	}
}

// mayPass reports whether what is ready may leave, and asks for it.
func (s *session) mayPass() bool {
	if s.d.cfg.Gate == nil {
		return true
	}
	if s.gate.pass == nil {
		s.gate.pass = s.d.cfg.Gate.Ask(pace.Class{Lane: s.d.cfg.LaneOf(s.id.Stream), Backfill: s.kind == Backfill}, len(s.ready.bytes))
		s.gate.asked = time.Now()
	}
	return s.gate.open()
}
