package replica

import (
	"fmt"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// followState is what only a follower keeps. It begins anew with each epoch.
type followState struct {
	bound int64 // the leader's high watermark, over a log that was found to match
	cuts  int   // made in this epoch
}

// FollowerStep is what a follower does with an answer: at most one of
// Truncate, Restart and Records. Each goes through the journal, guarded by
// AdmitCut or AdmitCopy at the moment it is placed.
type FollowerStep struct {
	LeaderEpoch int32
	Truncate    bool   // cut the log back to Offset; then call Truncated
	Restart     bool   // empty the log, to go on at Offset; then call Restarted
	Offset      int64  // of Truncate or Restart
	Records     []byte // whole batches to append verbatim; then call Synced or Failed
	Drained     int64  // nobody upstream needs what lies below
	Lost        int64  // records below the high watermark that go with it, after an unclean election
	Err         error  // the leader refused, or its answer makes no sense: ask again later
	Effects

	asked FetchPartition
}

// follow begins an epoch.
func (p *Partition) follow() { p.followState = followState{} }

// NextFetch is what to ask the leader. It is not ok while something of the
// journal's is not on flash yet, or there is nobody to ask.
func (p *Partition) NextFetch() (leader metadata.NodeID, r FetchPartition, ok bool) {
	end := p.log.EndOffset()
	if p.without(WithoutSyncedEnd) {
		end = p.log.PlacedOffset()
	}
	if p.role != RoleFollower || p.cutting || end != p.log.PlacedOffset() {
		return metadata.NoNode, r, false
	}
	r = FetchPartition{Partition: p.id, LeaderEpoch: p.epoch, Offset: end, LastEpoch: p.log.LastEpoch(), HighWatermark: p.hw}
	if p.without(WithoutEpochTruncation) || p.without(WithoutEpochWalk) && p.cuts > 0 {
		r.LastEpoch = -1
	}
	return p.state.Leader, r, true
}

// Fetched takes the leader's answer to what NextFetch asked. An answer counts
// only in the epoch of its question, and only while the log still ends where
// the question said.
func (p *Partition) Fetched(now time.Duration, asked FetchPartition, a *FetchedPartition) FollowerStep {
	s := FollowerStep{LeaderEpoch: asked.LeaderEpoch, asked: asked}
	outOfRange := a.Err == ErrOffsetOutOfRange
	switch {
	case p.role != RoleFollower || !p.stands(asked):
	case a.Err != nil && !outOfRange:
		s.Err = a.Err
	case a.LeaderEpoch != p.epoch && !p.without(WithoutEpochCheck):
		s.Err = fmt.Errorf("%s: the answer is of epoch %d, this is %d: %w", p.id, a.LeaderEpoch, p.epoch, ErrFencedLeaderEpoch)
	case p.without(WithoutEpochTruncation) && p.cuts == 0 && p.hw < asked.Offset:
		p.cut(&s, p.hw)
	case outOfRange:
		p.restart(&s, a.LogStart)
	case a.Diverging != nil:
		p.partWays(&s, a)
		if p.without(WithoutTruncateFirst) {
			p.hw = max(p.hw, min(a.HighWatermark, p.syncedEnd()))
		}
	default:
		s.Drained = a.Drained
		p.bound = max(p.bound, a.HighWatermark)
		p.append(&s, a)
	}
	s.Effects = p.act(now, s.Effects)
	return s
}

// stands reports whether the log is still what asked says, in its epoch.
func (p *Partition) stands(asked FetchPartition) bool {
	if p.without(WithoutEpochTruncation | WithoutEpochWalk) {
		asked.LastEpoch = p.log.LastEpoch()
	}
	return (asked.LeaderEpoch == p.epoch || p.without(WithoutEpochCheck)) &&
		(asked.Offset == p.log.PlacedOffset() && asked.LastEpoch == p.log.LastEpoch() && !p.cutting || p.without(WithoutPositionCheck))
}

// append takes records that follow on; an empty log that can't be joined to
// them begins anew.
func (p *Partition) append(s *FollowerStep, a *FetchedPartition) {
	if len(a.Records) == 0 {
		return
	}
	h, err := batch.ParseHeader(a.Records)
	switch {
	case err != nil:
		s.Err = fmt.Errorf("%s: records at %d: %w", p.id, s.asked.Offset, err)
	case h.BaseOffset == s.asked.Offset:
		s.Records = a.Records
	case p.log.StartOffset() == p.log.PlacedOffset():
		p.restart(s, a.LogStart)
	default:
		s.Err = fmt.Errorf("%s: asked for %d, the answer begins at %d: %w", p.id, s.asked.Offset, h.BaseOffset, ErrOffsetOutOfRange)
	}
}

// partWays finds how far the log may agree with the leader's: to the end that
// both give to the largest epoch both know. The next question goes on from
// there, epoch by epoch (KIP-279).
func (p *Partition) partWays(s *FollowerStep, a *FetchedPartition) {
	if p.without(WithoutEpochWalk) {
		p.cut(s, min(a.Diverging.EndOffset, s.asked.Offset))
		return
	}
	epoch, end := p.log.EndOffsetForEpoch(a.Diverging.Epoch)
	if epoch == a.Diverging.Epoch {
		end = min(end, a.Diverging.EndOffset)
	}
	switch start := p.log.StartOffset(); {
	case epoch < 0 && start < s.asked.Offset:
		p.cut(s, start)
	case end < start || end >= s.asked.Offset:
		p.restart(s, a.LogStart)
	default:
		p.cut(s, end)
	}
}

// cut decides on a truncation. What the high watermark covers was confirmed:
// only an unclean election may take it back.
func (p *Partition) cut(s *FollowerStep, to int64) {
	p.cuts++
	s.Truncate, s.Offset = true, to
	p.giveUp(s, to)
}

// restart decides to begin anew at the leader's log start. Log start and high
// watermark go there together (KAFKA-9491).
func (p *Partition) restart(s *FollowerStep, at int64) {
	p.cuts++
	s.Restart, s.Offset = true, at
	if at < s.asked.Offset {
		p.giveUp(s, at)
	}
}

func (p *Partition) giveUp(s *FollowerStep, to int64) {
	if to >= p.hw {
		return
	}
	if p.state.Unclean == 0 {
		p.breaks("the leader of epoch %d ends at %d, but all below %d was confirmed, and there was no unclean election", p.epoch, to, p.hw)
	}
	if p.broken != "" {
		s.Truncate, s.Restart = false, false
		return
	}
	s.Lost, p.hw, s.Moved = p.hw-to, max(to, p.log.StartOffset()), true
}

// AdmitCopy is asked by the journal right before a follower's batch is placed
// at base: it returns the batch's own epoch.
func (p *Partition) AdmitCopy(h *batch.Header, base int64, leaderEpoch int32) (epoch int32, err error) {
	switch {
	case p.role != RoleFollower || leaderEpoch != p.epoch && !p.without(WithoutEpochCheck):
		return 0, fmt.Errorf("%s: copy of epoch %d, this is %d: %w", p.id, leaderEpoch, p.epoch, ErrFencedLeaderEpoch)
	case h.BaseOffset != base:
		return 0, fmt.Errorf("%s: copy begins at %d, the log ends at %d: %w", p.id, h.BaseOffset, base, ErrOffsetOutOfRange)
	case h.LeaderEpoch > leaderEpoch && !p.without(WithoutEpochCheck) || h.LeaderEpoch < p.log.LastEpoch():
		return 0, fmt.Errorf("%s: copy was written in epoch %d, the log is at %d, the leader at %d: %w", p.id, h.LeaderEpoch, p.log.LastEpoch(), leaderEpoch, ErrCorrupt)
	}
	p.rollback(base)
	p.producers.Observe(h, base)
	return h.LeaderEpoch, nil
}

// AdmitCut is asked right before a Truncate or Restart is placed: is this
// still the log that the answer was about? A cut that comes late would take
// what was confirmed since.
func (p *Partition) AdmitCut(s *FollowerStep) error {
	if !p.without(WithoutCutCheck) && (p.role != RoleFollower || !p.stands(s.asked)) {
		return fmt.Errorf("%s: cut to %d of epoch %d comes late: %w", p.id, s.Offset, s.LeaderEpoch, ErrFencedLeaderEpoch)
	}
	p.cutting, p.cutTo = true, s.Offset
	p.rollback(s.Offset)
	return nil
}

// Truncated is called when a Truncate is on flash.
func (p *Partition) Truncated(to int64) Effects {
	p.cutting = false
	p.rollback(to)
	return p.settle(Effects{})
}

// Restarted is called when a Restart is on flash.
func (p *Partition) Restarted(at int64) Effects {
	p.cutting = false
	p.producers = NewProducers()
	fx := Effects{}
	if !p.without(WithoutRestartTogether) {
		fx.Moved = p.hw != at
		p.hw = at
	}
	return p.settle(fx)
}
