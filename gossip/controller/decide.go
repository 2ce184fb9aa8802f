package controller

import (
	"time"

	"cistern/gossip/metadata"
)

// Liveness is what the leader of the quorum knows of one member. A member that
// is missing in the list is unknown: nothing is decided about it. So a member
// of the image that gossip has not seen since this gateway started should be
// listed as dead, once gossip has had the time to see everybody.
type Liveness struct {
	Name  string
	Alive bool
	For   time.Duration // how long it has been so, by a clock that never jumps
	// Unregistered is how long it has been alive in a life other than the
	// registered one, 0 when it is in that one or nobody knows. A gateway with
	// another card is let in only when its former life is fenced.
	Unregistered time.Duration

	Uplink    Uplink        // as it says itself
	UplinkFor time.Duration // how long that is so
}

// Policy says how soon and how much at once.
type Policy struct {
	FenceAfter     time.Duration // dead for so long: fenced; gossip has waited already
	RegisterWithin time.Duration // alive but unregistered for so long: its former life is fenced
	ReplaceAfter   time.Duration // dead for so long: its replicas go to others; longer than a reboot
	RebalanceAfter time.Duration // alive for so long: it gets leaderships and replicas back
	DrainAfter     time.Duration // without an uplink for so long: another drains what it drains
	DrainSteady    time.Duration // an uplink that works for so long is one
	DrainBackAfter time.Duration // a leader's uplink is back for so long: it drains again itself

	MovesMax    int // partitions that are copied at the same time
	LeadersMax  int // leaderships moved by one Decide
	DrainersMax int // drains moved by one Decide
	ChangesMax  int // changes of one Decide
}

// DefaultPolicy returns what suits a site of small gateways.
func DefaultPolicy() Policy {
	return Policy{RegisterWithin: 10 * time.Second, ReplaceAfter: 15 * time.Minute, RebalanceAfter: 2 * time.Minute,
		DrainAfter: 10 * time.Second, DrainSteady: 2 * time.Second, DrainBackAfter: time.Minute,
		MovesMax: 4, LeadersMax: 4, DrainersMax: 16, ChangesMax: 64}
}

// Decide returns the changes that are due, the most urgent ones first. It is
// called again when these are made, when somebody's liveness changes, and every
// now and then. At now is stamped on them and decides nothing: clocks jump.
func Decide(now time.Time, img *metadata.Image, live []Liveness, p Policy) []metadata.Change {
	d := &decider{img: img, policy: p, at: now.UnixMilli(), live: make(map[string]Liveness, len(live))}
	for _, l := range live {
		d.live[l.Name] = l
	}
	d.fences()
	if len(d.changes) > 0 {
		return d.changes // they change who may be chosen for anything else
	}
	d.leaders()
	d.sources()
	d.drainers()
	d.replicas()
	d.preferred()
	return d.changes
}

// decider gathers the changes of one Decide.
type decider struct {
	img     *metadata.Image
	policy  Policy
	at      int64
	live    map[string]Liveness
	changes []metadata.Change
}

// propose reports whether there was room.
func (d *decider) propose(c metadata.Change) bool {
	if len(d.changes) >= d.policy.ChangesMax {
		return false
	}
	c.At = d.at
	d.changes = append(d.changes, c)
	return true
}

// fences: who is dead, and whose registered life has ended though it is alive.
func (d *decider) fences() {
	for _, m := range byID(d.img, func(m *metadata.Member) bool { return !m.Fenced }) {
		l, known := d.live[m.Name]
		dead := known && !l.Alive && l.For >= d.policy.FenceAfter
		over := known && l.Alive && l.Unregistered > 0 && l.Unregistered >= d.policy.RegisterWithin
		if dead || over {
			d.propose(metadata.Change{Fence: &metadata.Fence{Node: m.ID, Incarnation: m.Incarnation}})
		}
	}
}

// leaders: a partition that could have one and has none, and one whose leader
// drains although another could lead. Apply sees to both when it can; this is
// for what changed since, such as a follower that caught up.
func (d *decider) leaders() {
	each(d.img, func(id metadata.PartitionID, p *metadata.PartitionState) {
		n := successor(d.img, p, metadata.NoNode)
		if n == metadata.NoNode || n == p.Leader {
			return
		}
		if p.Leader == metadata.NoNode || d.img.Members[p.Leader].Draining && !d.img.Members[n].Draining {
			d.elect(id, p, n)
		}
	})
}

func (d *decider) elect(id metadata.PartitionID, p *metadata.PartitionState, n metadata.NodeID) bool {
	return d.propose(metadata.Change{Elect: &metadata.Elect{Partition: id, Node: n, PartitionEpoch: p.PartitionEpoch}})
}

func (d *decider) reassign(id metadata.PartitionID, p *metadata.PartitionState, to []metadata.NodeID) bool {
	return d.propose(metadata.Change{Reassign: &metadata.Reassign{Partition: id, PartitionEpoch: p.PartitionEpoch, Replicas: to}})
}

// usable: it may get replicas now.
func (d *decider) usable(m *metadata.Member) bool {
	return !m.Fenced && !m.Draining && d.live[m.Name].Alive
}

// steady: it has been there for long enough to get back what it had.
func (d *decider) steady(m *metadata.Member) bool {
	return d.usable(m) && d.live[m.Name].For >= d.policy.RebalanceAfter
}

// gone: it is dead and won't be back soon.
func (d *decider) gone(n metadata.NodeID) bool {
	m := d.img.Members[n]
	l, known := d.live[m.Name]
	return m.Fenced && known && !l.Alive && l.For >= d.policy.ReplaceAfter
}
