package replica

import (
	"slices"
	"time"

	"cistern/gossip/metadata"
)

// Back-off of ISR changes that were refused or got no answer.
const (
	alterRetryMin = 100 * time.Millisecond
	alterRetryMax = 5 * time.Second
	alterPatience = 10 * time.Second // after which an answer is not expected any more
)

// alter is a leader's wish for another ISR, until the controller's answer is
// known. A request without answer may be granted at any time, so whoever it
// names counts as if it were in sync (KIP-497) until the partition epoch has
// moved or one copy of it was refused: each reason to refuse is there to stay,
// since epochs and incarnations only rise.
type alter struct {
	request *metadata.AlterPartition // nil: nothing to ask for
	flying  bool                     // sent, and an answer is expected
	sent    time.Duration
	pause   time.Duration // the last one
	notYet  time.Duration // nothing is sent before
}

// settleAlter forgets what was asked for: the partition epoch has moved, so it
// was granted or never will be.
func (p *Partition) settleAlter() { p.alter = alter{} }

// change returns the request to send now, if there is one.
func (p *Partition) change(now time.Duration) *metadata.AlterPartition {
	a := &p.alter
	if a.flying && now-a.sent > alterPatience {
		a.flying = false
	}
	if a.flying || now < a.notYet {
		return nil
	}
	if a.request == nil {
		isr := p.wantedISR(now)
		if slices.Equal(isr, p.state.ISR) {
			return nil
		}
		a.request = p.newAlter(isr)
	}
	a.flying, a.sent = true, now
	return a.request
}

func (p *Partition) newAlter(isr []metadata.NodeID) *metadata.AlterPartition {
	r := &metadata.AlterPartition{Partition: p.id, Leader: p.opt.Self, LeaderEpoch: p.epoch,
		PartitionEpoch: p.state.PartitionEpoch, ISR: isr, Incarnations: make([]uint64, len(isr))}
	for i, n := range isr {
		r.Incarnations[i] = p.incarnations[n]
		if f := p.followers[n]; f != nil && f.incarnation != 0 {
			r.Incarnations[i] = f.incarnation // the life in which it caught up
		}
	}
	return r
}

// wantedISR is who should be in sync: not those that are behind for too long
// or have lost what they confirmed, and everybody who has caught up.
func (p *Partition) wantedISR(now time.Duration) []metadata.NodeID {
	var isr []metadata.NodeID
	for _, n := range p.state.ISR {
		f := p.followers[n]
		if f == nil || !p.lags(now, f) {
			isr = append(isr, n)
		}
	}
	for _, n := range p.state.Replicas {
		if f := p.followers[n]; f != nil && !p.state.InISR(n) && p.joins(now, n, f) {
			isr = append(isr, n)
		}
	}
	return isr
}

func (p *Partition) lags(now time.Duration, f *follower) bool {
	return f.end >= 0 && f.end < p.hw || f.end < p.log.PlacedOffset() && now-f.caughtUp > p.opt.ReplicaLagMax
}

// joins: the high watermark of a new leader may be older than what was
// confirmed before it; what its log held when the epoch began never is.
func (p *Partition) joins(now time.Duration, n metadata.NodeID, f *follower) bool {
	from := max(p.hw, p.began)
	if p.without(WithoutEpochStart) {
		from = p.hw
	}
	return f.end >= from && now-f.fetched <= p.opt.ReplicaLagMax && f.incarnation == p.incarnations[n]
}

// Tick is called a few times per ReplicaLagMax: it shrinks the ISR and asks
// again for what got no answer.
func (p *Partition) Tick(now time.Duration) Effects {
	for _, f := range p.followers {
		if f.end >= p.log.PlacedOffset() {
			f.caughtUp = now // nothing to fetch is not lag
		}
	}
	return p.act(now, Effects{})
}

// Altered takes the controller's answer to a request from Effects. An err says
// that its fate is not known.
func (p *Partition) Altered(now time.Duration, r *metadata.AlterPartition, answer metadata.Result, err error) Effects {
	a := &p.alter
	current := p.role == RoleLeader && r.LeaderEpoch == p.epoch && r == a.request
	if s := answer.Partition; err == nil && s != nil && p.known {
		if s.LeaderEpoch > p.state.LeaderEpoch {
			// Who leads now, and in which life, is for the image to say: leading on
			// this news, and beginning anew with the image's, would be one epoch twice.
			p.resigned = max(p.resigned, p.state.LeaderEpoch)
		} else {
			p.adopt(s)
		}
	}
	if !current || a.request == nil {
		return p.turn(now)
	}
	a.flying = false
	a.pause = min(max(2*a.pause, alterRetryMin), alterRetryMax)
	a.notYet = now + a.pause
	if err == nil && answer.Err() != nil {
		a.request = nil
	}
	return p.turn(now)
}
