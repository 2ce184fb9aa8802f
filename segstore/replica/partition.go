package replica

import (
	"fmt"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// Log is what a Partition asks of the journal. *segstore.Log is one.
type Log interface {
	StartOffset() int64
	EndOffset() int64    // synced: all below survives a power cut
	PlacedOffset() int64 // with what is written or waits to be synced
	LastEpoch() int32    // of the last batch placed, -1 when there is none
	// EndOffsetForEpoch counts placed batches: the largest epoch up to the one
	// asked for, and the offset after its last; -1, -1 when there is none.
	EndOffsetForEpoch(epoch int32) (int32, int64)
}

// Options of a Partition.
type Options struct {
	Self          metadata.NodeID
	ReplicaLagMax time.Duration // how long a follower may be behind; 0: ReplicaLagMaxDefault
	// Without switches rules off, so that the simulator can show that each is
	// needed. Always 0 in production.
	Without Rules
}

// Effects are what the caller has to do after a call.
type Effects struct {
	HighWatermark int64                    // as it is now
	Moved         bool                     // it did: tell the log, answer the appends below
	Alter         *metadata.AlterPartition // send it to the controller once, and report by Altered
	Resigned      bool                     // leads no more: fail the appends that wait, with ErrNotLeader
	Broken        string                   // an invariant does not hold: the partition has stopped for good
}

// Partition is the protocol of one partition on one gateway: what it may
// append, answer, confirm and cut back. It has no goroutine, clock, socket or
// file; the caller holds a lock around each call and carries out the Effects.
type Partition struct {
	id          metadata.PartitionID
	log         Log
	opt         Options
	incarnation uint64 // of this process, 0 before Registered

	role         Role
	known        bool                    // state is set
	state        metadata.PartitionState // as the site agreed last
	incarnations map[metadata.NodeID]uint64
	minInsync    int
	epoch        int32 // in which role was taken, -1: none
	resigned     int32 // no leading up to this epoch
	hw           int64
	missing      int64
	broken       string
	producers    *Producers

	cutting bool  // a cut is placed and not yet synced
	cutTo   int64 // what is synced ends there until it is

	leadState   // while role is RoleLeader
	followState // while role is RoleFollower
}

// NewPartition starts with a log, and the high watermark as it was kept last.
func NewPartition(id metadata.PartitionID, log Log, hw int64, o Options) *Partition {
	if o.ReplicaLagMax == 0 {
		o.ReplicaLagMax = ReplicaLagMaxDefault
	}
	p := &Partition{id: id, log: log, opt: o, epoch: -1, resigned: -1, producers: NewProducers(),
		incarnations: map[metadata.NodeID]uint64{}}
	p.missing = max(0, hw-log.EndOffset())
	p.hw = min(max(hw, log.StartOffset()), log.EndOffset())
	return p
}

// Forget is called when the high watermark that was kept is of records that an
// unclean election has cut off since: what stands in their place may be confirmed
// or not, so it begins at the log's start, and those in sync will tell.
func (p *Partition) Forget() { p.hw = p.log.StartOffset() }

// Registered says which incarnation the controller gave to this process.
// Nothing leads before.
func (p *Partition) Registered(incarnation uint64) { p.incarnation = incarnation }

// SetProducers gives the partition what is known of its producers: the table
// that was kept, and every batch after it.
func (p *Partition) SetProducers(t *Producers) { p.producers = t }

// Recovered takes a batch of the log that could not be read when the table was
// made. While a cut is on its way, what lies behind it does not count any more.
func (p *Partition) Recovered(h *batch.Header) {
	if !p.cutting || h.NextOffset() <= p.cutTo {
		p.producers.Insert(h, h.BaseOffset)
	}
}

// Forgetful says that this leader can't judge what producers send before
// SetProducers has brought what the log says: see [Producers.Forgetful].
func (p *Partition) Forgetful() bool { return p.role == RoleLeader && p.producers.Forgetful() }

// Image takes the site's word on this partition. A state of nil says that no
// copy is kept here. What is older than the state already known is ignored.
func (p *Partition) Image(now time.Duration, state *metadata.PartitionState, incarnation func(metadata.NodeID) uint64, minInsync int) Effects {
	if state == nil {
		p.known, p.state = false, metadata.PartitionState{}
		return p.turn(now)
	}
	p.minInsync = minInsync
	p.learn(p.opt.Self, incarnation(p.opt.Self))
	for _, n := range state.Replicas {
		p.learn(n, incarnation(n))
	}
	for _, n := range state.ISR {
		p.learn(n, incarnation(n))
	}
	p.adopt(state)
	return p.turn(now)
}

// learn notes a gateway's incarnation, which never goes back. What the one
// before it had on flash is not known to be there still.
func (p *Partition) learn(n metadata.NodeID, incarnation uint64) {
	if incarnation > p.incarnations[n] {
		p.incarnations[n] = incarnation
	}
}

// adopt makes state the one that counts, unless it is older than what is known.
func (p *Partition) adopt(state *metadata.PartitionState) {
	switch {
	case p.known && state.PartitionEpoch < p.state.PartitionEpoch:
		return
	case p.known && state.LeaderEpoch < p.state.LeaderEpoch:
		p.breaks("leader epoch went back from %d to %d", p.state.LeaderEpoch, state.LeaderEpoch)
		return
	case p.known && state.PartitionEpoch == p.state.PartitionEpoch:
		return
	}
	p.known, p.state = true, state.Clone()
	p.settleAlter()
}

// turn takes the role that the state gives to this gateway.
func (p *Partition) turn(now time.Duration) Effects {
	var fx Effects
	role, epoch := p.roleNow(), p.state.LeaderEpoch
	was, before := p.role, p.epoch
	fx.Resigned = was == RoleLeader && role != RoleLeader
	p.role, p.epoch = role, epoch
	switch {
	case role == RoleLeader && (was != RoleLeader || epoch != before):
		p.lead(now)
	case role == RoleLeader:
		p.meet(now)
	case role == RoleFollower && (was != RoleFollower || epoch != before):
		p.follow()
	}
	if role != RoleLeader {
		p.leadState = leadState{}
	}
	return p.act(now, fx)
}

func (p *Partition) roleNow() Role {
	s := &p.state
	switch {
	case !p.known || p.broken != "" || s.Leader == metadata.NoNode:
		return RoleIdle
	case s.Leader != p.opt.Self:
		if s.IsReplica(p.opt.Self) || s.InISR(p.opt.Self) {
			return RoleFollower
		}
		return RoleIdle
	case s.LeaderEpoch <= p.resigned || p.incarnation == 0:
		return RoleIdle
	case p.incarnations[p.opt.Self] != p.incarnation && !p.without(WithoutIncarnation):
		return RoleIdle // meant for the process before this one, or the next
	}
	return RoleLeader
}

// act ends most calls: the high watermark moves as far as it may, and a leader
// asks for another ISR when it is time to.
func (p *Partition) act(now time.Duration, fx Effects) Effects {
	fx = p.settle(fx)
	if p.role == RoleLeader {
		fx.Alter = p.change(now)
	}
	return fx
}

// settle moves the high watermark, and stops a partition that is broken.
func (p *Partition) settle(fx Effects) Effects {
	before := p.hw
	p.advance()
	if p.hw > p.log.EndOffset() {
		p.breaks("high watermark %d beyond the synced end %d", p.hw, p.log.EndOffset())
	}
	if p.broken != "" {
		fx.Resigned = fx.Resigned || p.role == RoleLeader
		p.role = RoleIdle
	}
	fx.HighWatermark, fx.Broken = p.hw, p.broken
	fx.Moved = fx.Moved || p.hw != before
	return fx
}

// Synced is called when the log's synced end has moved.
func (p *Partition) Synced(now time.Duration) Effects { return p.act(now, Effects{}) }

// Failed is called when batches or cuts that were placed could not be written.
// A leader resigns: followers may have the batches already, and the same
// offsets must not get others in the same epoch.
func (p *Partition) Failed() Effects {
	p.cutting = false
	p.producers.Rollback(p.log.PlacedOffset())
	return p.Resign()
}

// NotCopied is called when batches or a cut of a leader's were refused before they
// were placed: they came late, or make no sense. What came before them counts.
func (p *Partition) NotCopied(now time.Duration) Effects {
	p.cutting = false
	return p.act(now, Effects{})
}

// Resign ends leading until the next epoch: what a gateway does whose journal
// takes nothing.
func (p *Partition) Resign() Effects {
	fx := Effects{HighWatermark: p.hw, Broken: p.broken}
	if p.role == RoleLeader {
		p.resigned = p.epoch
		p.role, p.leadState = RoleIdle, leadState{}
		fx.Resigned = true
	}
	return fx
}

// syncedEnd is how much of the log as it is placed survives a power cut. While
// a cut is being written, a sync that began before it must not count for what
// was placed after it.
func (p *Partition) syncedEnd() int64 {
	switch {
	case p.without(WithoutSyncedEnd):
		return p.log.PlacedOffset()
	case p.cutting && !p.without(WithoutCutCheck):
		return min(p.cutTo, p.log.EndOffset())
	}
	return p.log.EndOffset()
}

// breaks stops the partition: going on would turn one broken invariant into
// lost records. Only a restart of the process, and a person's look, help.
func (p *Partition) breaks(format string, args ...any) {
	if p.broken == "" && !p.without(WithoutAssertions) {
		p.broken = fmt.Sprintf("%s: %s", p.id, fmt.Sprintf(format, args...))
	}
}
