package agent

import (
	"slices"
	"sync"

	"cistern/agent/status"
	"cistern/firmware/board"
)

// light is what an agent shows on the status LED: how it is, until it stops.
type light struct {
	mu    sync.Mutex
	stops bool
}

// is shows how the agent is. While it stops nobody wants to know: whoever held the
// button waits for the end, and after it a part that was left behind says nothing
// over SafeToCut.
func (l *light) is(life *life, p board.Pattern) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.stops {
		life.show(p)
	}
}

// out shows that the agent stops.
func (l *light) out(life *life) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stops = true
	life.show(board.ShuttingDown)
}

// signals are the warnings that the status LED tells apart. What is not here is
// for those who read.
var signals = map[status.Code]board.Pattern{
	status.UplinkDown:     board.NoUplink,
	status.RecordsParked:  board.Parked,
	status.DiskNearlyFull: board.DiskNearFull,
	status.CardFailing:    board.DiskNearFull,
	status.GatewayFenced:  board.NotInSync,
	status.SiteForming:    board.NotInSync,
	status.SiteNoQuorum:   board.NotInSync,
	status.SiteConflict:   board.NotInSync,
}

// patternOf is what the status LED shows of a gateway that runs: the worst that
// holds.
func patternOf(d *status.Document) board.Pattern {
	worst := board.OK
	for _, a := range d.Health {
		p := signals[a.Code]
		if a.Severity == status.Failing {
			p = board.Failing
		}
		worst = max(worst, p)
	}
	if lags(d) {
		worst = max(worst, board.NotInSync)
	}
	return worst
}

// lags says whether this gateway keeps a copy that is not in sync.
func lags(d *status.Document) bool {
	for _, s := range d.Streams {
		for i := range s.Partitions {
			p := &s.Partitions[i]
			if p.Role == status.RoleFollower && !slices.Contains(p.ISR, d.Gateway.Name) {
				return true
			}
		}
	}
	return false
}
