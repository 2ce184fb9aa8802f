package replica

import (
	"slices"
	"time"

	"cistern/gossip/metadata"
)

// Role is what a gateway is to a partition.
type Role uint8

const (
	RoleIdle     Role = iota // keeps no copy, or has no leader to follow
	RoleFollower             // copies the leader's log
	RoleLeader
)

// String returns the word that logs and the command line show.
func (r Role) String() string {
	switch r {
	case RoleFollower:
		return "follower"
	case RoleLeader:
		return "leader"
	}
	return "idle"
}

// Status is a copy of what a gateway knows of one partition.
type Status struct {
	Role           Role
	Leader         metadata.NodeID
	LeaderEpoch    int32
	PartitionEpoch int32
	Replicas       []metadata.NodeID
	ISR            []metadata.NodeID
	MinInsync      int
	HighWatermark  int64
	Followers      []FollowerStatus // at the leader only
	Broken         string
}

// UnderReplicated reports whether a replica is missing from the ISR.
func (s *Status) UnderReplicated() bool { return len(s.ISR) < len(s.Replicas) }

// UnderMinInsync reports whether acks=all is refused.
func (s *Status) UnderMinInsync() bool { return len(s.ISR) < s.MinInsync }

// FollowerStatus is how far one follower is, as its leader knows.
type FollowerStatus struct {
	Node     metadata.NodeID
	End      int64         // its synced end, -1: not heard of in this epoch
	Lag      int64         // offsets behind the leader
	CaughtUp time.Duration // when it was last known to be at the leader's end
}

// Status returns what is known now.
func (p *Partition) Status() Status {
	s := Status{
		Role: p.role, Leader: p.Leader(), LeaderEpoch: p.epoch, PartitionEpoch: p.state.PartitionEpoch,
		Replicas: slices.Clone(p.state.Replicas), ISR: slices.Clone(p.state.ISR),
		MinInsync: p.minInsync, HighWatermark: p.hw, Broken: p.broken,
	}
	end := p.log.PlacedOffset()
	for n, f := range p.followers {
		s.Followers = append(s.Followers, FollowerStatus{Node: n, End: f.end, Lag: end - max(f.end, 0), CaughtUp: f.caughtUp})
	}
	slices.SortFunc(s.Followers, func(a, b FollowerStatus) int { return int(a.Node) - int(b.Node) })
	return s
}

// Role, LeaderEpoch, Leader and HighWatermark are what they are now.
func (p *Partition) Role() Role           { return p.role }
func (p *Partition) LeaderEpoch() int32   { return p.epoch }
func (p *Partition) HighWatermark() int64 { return p.hw }

// Leader returns metadata.NoNode while there is none.
func (p *Partition) Leader() metadata.NodeID {
	if !p.known {
		return metadata.NoNode
	}
	return p.state.Leader
}

// Missing is how many offsets below the kept high watermark were gone when
// the log was opened: flash lost what it had confirmed, and the gateway has to
// register as unclean.
func (p *Partition) Missing() int64 { return p.missing }

// Producers is what is to be stored of those who append: a copy, up to the high
// watermark. What lies above may be cut off, and something else take its place
// before the next copy is stored; then the log tells.
func (p *Partition) Producers() *Producers {
	t := p.producers.upTo(p.hw)
	t.epoch = p.epochBefore(t.end)
	return t
}

// epochBefore returns the epoch of the record before offset, -1 when the log
// does not hold it.
func (p *Partition) epochBefore(offset int64) int32 {
	if offset <= p.log.StartOffset() {
		return -1
	}
	epoch := p.log.LastEpoch()
	for {
		older, end := p.log.EndOffsetForEpoch(epoch - 1)
		if end < offset {
			return epoch
		}
		epoch = older
	}
}
