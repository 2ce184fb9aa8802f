package replica

import (
	"fmt"
	"slices"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// leadState is what only a leader keeps. It begins anew with each epoch.
type leadState struct {
	began     int64 // the log's end when the epoch began
	followers map[metadata.NodeID]*follower
	alter     alter
}

// follower is a replica as its leader sees it, in this epoch.
type follower struct {
	incarnation uint64        // that it fetched with, 0: not yet
	end         int64         // synced, and found to match; -1: not known
	fetched     time.Duration // when it asked last
	fetchedEnd  int64         // where the leader's log ended then
	caughtUp    time.Duration // when it was last known to be at the leader's end
	told        int64         // the high watermark that it was sent last
}

// lead begins an epoch.
func (p *Partition) lead(now time.Duration) {
	if last := p.log.LastEpoch(); last >= p.epoch {
		p.breaks("to lead in epoch %d, but the log has epoch %d", p.epoch, last)
	}
	p.leadState = leadState{began: p.log.PlacedOffset(), followers: map[metadata.NodeID]*follower{}}
	p.meet(now)
}

// meet brings the followers in line with the state: those that are new have
// their time to catch up, those that began a new life are not known any more.
func (p *Partition) meet(now time.Duration) {
	for n := range p.followers {
		if !p.state.IsReplica(n) && !p.state.InISR(n) {
			delete(p.followers, n)
		}
	}
	for _, nodes := range [][]metadata.NodeID{p.state.Replicas, p.state.ISR} {
		for _, n := range nodes {
			f := p.followers[n]
			switch {
			case n == p.opt.Self:
			case f == nil:
				p.followers[n] = &follower{end: -1, caughtUp: now}
			case f.incarnation != 0 && f.incarnation != p.incarnations[n] && !p.without(WithoutIncarnation):
				*f = follower{end: -1, caughtUp: f.caughtUp}
			}
		}
	}
}

// advance moves the high watermark as far as the role's rule allows.
func (p *Partition) advance() {
	switch p.role {
	case RoleLeader:
		minInsync := p.minInsync
		if p.without(WithoutMinISRWatermark) {
			minInsync = 0
		}
		ends := []int64{p.syncedEnd()}
		for _, n := range p.maximalISR() {
			if f := p.followers[n]; f != nil {
				ends = append(ends, f.end)
			}
		}
		p.hw = watermark(p.hw, ends, len(p.state.ISR), minInsync)
	case RoleFollower:
		p.hw = max(p.hw, min(p.bound, p.syncedEnd()))
	}
}

// Admit is asked by the journal right before a leader's batch is placed at
// base: it returns the epoch to stamp, or why the batch is refused. A
// [DuplicateError] means that it is there already.
func (p *Partition) Admit(h *batch.Header, base int64, acks metadata.Acks) (epoch int32, err error) {
	if p.role != RoleLeader {
		return 0, fmt.Errorf("%s: %w", p.id, ErrNotLeader)
	}
	p.rollback(base)
	if !p.without(WithoutProducerCheck) {
		if err := p.producers.check(h); err != nil {
			return 0, fmt.Errorf("%s: %w", p.id, err)
		}
	}
	if n := len(p.state.ISR); acks == metadata.AcksAll && n < p.minInsync {
		return 0, fmt.Errorf("%s: %d of %d in sync: %w", p.id, n, p.minInsync, ErrNotEnoughReplicas)
	}
	p.producers.Observe(h, base)
	return p.epoch, nil
}

// rollback forgets what producers sent from base on: it did not get into the
// log, or was cut off.
func (p *Partition) rollback(base int64) {
	if !p.without(WithoutProducerRollback) && p.producers.End() > base {
		p.producers.Rollback(base)
	}
}

// Fetch answers a follower that asks for what comes next. Records of r.Offset
// and after belong to the answer when read is true.
func (p *Partition) Fetch(now time.Duration, node metadata.NodeID, incarnation uint64, r *FetchPartition) (a FetchedPartition, read bool, fx Effects) {
	a = FetchedPartition{Partition: p.id, LeaderEpoch: p.epoch, HighWatermark: p.hw, LogStart: p.log.StartOffset()}
	if a.Err = p.refuse(node, incarnation, r); a.Err != nil {
		return a, false, p.act(now, fx)
	}
	f := p.followers[node]
	if f.incarnation != incarnation {
		*f = follower{incarnation: incarnation, end: -1, caughtUp: f.caughtUp}
	}
	if a.Diverging, a.Err = p.compare(r); a.Diverging != nil || a.Err != nil {
		f.end = -1
		return a, false, p.act(now, fx)
	}
	p.heard(now, f, r.Offset)
	f.told = r.HighWatermark // an answer may have been lost
	fx = p.act(now, fx)
	a.HighWatermark = p.hw
	return a, r.Offset < p.log.PlacedOffset(), fx
}

// refuse says why a request can't be answered in this role and epoch.
func (p *Partition) refuse(node metadata.NodeID, incarnation uint64, r *FetchPartition) error {
	_, known := p.followers[node]
	switch {
	case p.role != RoleLeader:
		return ErrNotLeader
	case r.LeaderEpoch < p.epoch && !p.without(WithoutEpochCheck):
		return ErrFencedLeaderEpoch
	case r.LeaderEpoch > p.epoch && !p.without(WithoutEpochCheck):
		return ErrUnknownLeaderEpoch
	case !known:
		return ErrUnknownPartition
	case incarnation != p.incarnations[node] && !p.without(WithoutIncarnation):
		return ErrStaleIncarnation
	}
	return nil
}

// compare finds out whether the follower's log is the beginning of this one.
// ErrOffsetOutOfRange sends it to this log's start.
func (p *Partition) compare(r *FetchPartition) (*Divergence, error) {
	start, end := p.log.StartOffset(), p.log.PlacedOffset()
	if r.Offset < start {
		return nil, ErrOffsetOutOfRange
	}
	if r.LastEpoch < 0 { // nothing of it left to compare
		if r.Offset > end {
			return nil, ErrOffsetOutOfRange
		}
		return nil, nil
	}
	epoch, end := p.log.EndOffsetForEpoch(r.LastEpoch)
	switch {
	case epoch < 0: // older than all that is left here
		return nil, ErrOffsetOutOfRange
	case epoch != r.LastEpoch || end < r.Offset:
		return &Divergence{Epoch: epoch, EndOffset: end}, nil
	}
	return nil, nil
}

// News reports whether the follower was not yet told where the high watermark
// is; Told notes that it is being told.
func (p *Partition) News(node metadata.NodeID) bool {
	f := p.followers[node]
	return f != nil && f.told < p.hw
}

func (p *Partition) Told(node metadata.NodeID, hw int64) {
	if f := p.followers[node]; f != nil {
		f.told = max(f.told, hw)
	}
}

// heard notes that a follower has everything below end on flash. It was caught
// up at the last moment for which that is known.
func (p *Partition) heard(now time.Duration, f *follower, end int64) {
	placed := p.log.PlacedOffset()
	switch {
	case end >= placed:
		f.caughtUp = now
	case end >= f.fetchedEnd:
		f.caughtUp = max(f.caughtUp, f.fetched)
	}
	// Requests may come late or twice; in one life and epoch an end never goes back.
	f.end, f.fetched, f.fetchedEnd = max(f.end, end), now, placed
}

// maximalISR is who may be in sync: the ISR, and whoever was asked for.
func (p *Partition) maximalISR() []metadata.NodeID {
	isr := p.state.ISR
	if p.alter.request == nil || p.without(WithoutUnion) {
		return isr
	}
	for _, n := range p.alter.request.ISR {
		if !slices.Contains(isr, n) {
			isr = append(slices.Clip(isr), n)
		}
	}
	return isr
}
