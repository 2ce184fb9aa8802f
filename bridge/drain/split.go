package drain

import (
	"errors"
	"fmt"
	"math"
	"time"

	"cistern/segstore/batch"
)

// When a flow is split.
const (
	// LiveAfter is the age of the oldest record that makes what waits a backlog.
	LiveAfter = 500 * time.Millisecond
	// GateOutage is how long the gate has to be closed for a flow to be split like
	// after an outage of the uplink.
	GateOutage = time.Minute
)

// errBehind ends a live session that begins with a backlog.
var errBehind = errors.New("a backlog goes beside what is new")

// splitting is what a session knows of whether to split its flow.
type splitting struct {
	judged bool
	begun  time.Time
	end    int64  // of the log, then: what others know to be confirmed lies below
	note   string // why it goes on in order
}

// judge decides, before the first batch of a session leaves, whether a backlog
// goes beside what is new from here on. The split is where the log ended when the
// session began, and waits until that is confirmed: what a predecessor of ours
// knew to be confirmed lies below, and so it sends nothing under the old producer
// id that leaves under the new one as well.
func (s *session) judge() (bool, error) {
	sp := &s.split
	if s.gate.pass != nil && len(s.flights) == 0 && time.Since(s.gate.asked) >= GateOutage && s.gate.open() {
		*sp = splitting{begun: time.Now(), end: s.log.EndOffset()}
		s.gate.asked = time.Now()
	}
	if sp.judged || s.kind != Live || s.d.cfg.Order != OrderLiveFirst || len(s.flights) > 0 {
		return true, nil
	}
	if s.next >= sp.end || !s.isBacklog(&s.ready.header) {
		sp.judged = true
		return true, nil
	}
	if s.log.HighWatermark() < sp.end && time.Since(sp.begun) < LiveAfter {
		s.linger.timer.Reset(LiveAfter) // the high watermark may not move: look again
		return false, nil
	}
	sp.judged = true
	if s.log.HighWatermark() < sp.end {
		return true, nil
	}
	if s.ranges() >= FlowsMax {
		sp.note = fmt.Sprintf("%d ranges of older records are left: new ones go behind what waits until one of them is drained", FlowsMax)
		s.logger.Warn("a backlog is not drained beside what is new", "reason", sp.note)
		return true, nil
	}
	s.splitAt = sp.end
	return false, errBehind
}

// isBacklog tells by the age of the oldest record. A clock that can't be
// believed is replaced by how much there is: more than one read.
func (s *session) isBacklog(h *batch.Header) bool {
	age := s.d.cfg.Now().Sub(time.UnixMilli(h.MaxTimestamp))
	if h.ClockUnset() || age < 0 {
		return s.chunk.next < s.log.HighWatermark()
	}
	return age > LiveAfter
}

func (p *partition) ranges() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.older)
}

// split makes a range of what the live flow has not sent, which keeps all that
// upstream knows of it, and begins the live flow anew behind it. That is one
// write.
func (f *flow) split() error {
	at := f.splitAt
	next := f.cursor.branchOff(at, f.lastBranch()+1)
	next.LogEpoch = max(next.LogEpoch, f.logEpoch())
	older := newFlow(f.partition, Backfill, flowRecord{From: f.cursor.Position, End: at, Cursor: f.cursor}, false)
	older.durable, older.doubted = older.cursor.identity(), older.cursor.InDoubt // once it is put
	err := f.put(func() (undo func()) {
		was := f.kept
		f.kept = flowRecord{From: at, Cursor: next}
		f.older = append(f.older, older)
		return func() {
			f.kept = was
			f.older = f.older[:len(f.older)-1]
		}
	})
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.from = at
	f.mu.Unlock()
	f.begin(next)
	f.how = Opening{}
	f.backoff.Reset()
	f.logger.Info("a backlog is drained beside what is new", "first", older.from, "next", at, "records", at-older.from)
	select {
	case f.more <- struct{}{}:
	default:
	}
	return nil
}

// lastBranch returns the highest number of a flow: that of the live one, which
// is the youngest.
func (p *partition) lastBranch() int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.live.kept.Branch
}

// logEpoch returns the leader epoch of the log's last records, -1: it has none.
func (p *partition) logEpoch() int32 {
	epoch, _ := p.log.EndOffsetForEpoch(math.MaxInt32)
	return epoch
}
