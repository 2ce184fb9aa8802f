package controller

import (
	"slices"

	"cistern/gossip/metadata"
)

// Uplink is what a gateway says of its own way to the centre.
type Uplink uint8

const (
	UplinkUnknown Uplink = iota // nothing was heard: nothing is decided
	UplinkUp                    // a request was answered lately
	UplinkDown                  // it has none, or it does not work, or nobody knows yet whether it does
)

// drainers sees that a partition is drained by somebody who can. The leader
// does so as long as its uplink works: then nothing has to be agreed on. Who
// drains in its place is in sync, so nothing that was confirmed is missing. It
// keeps the duty until its own uplink is gone or the leader's was back for a
// while: a change of drainer costs an agreement and a search upstream.
func (d *decider) drainers() {
	load := map[metadata.NodeID]int{}
	each(d.img, func(id metadata.PartitionID, _ *metadata.PartitionState) {
		n, _, _ := d.img.Drainer(id)
		load[n]++
	})
	left := d.policy.DrainersMax
	each(d.img, func(id metadata.PartitionID, p *metadata.PartitionState) {
		if left <= 0 || p.Leader == metadata.NoNode {
			return
		}
		now, _, epoch := d.img.Drainer(id)
		next := d.drainer(p, now, load)
		if next == now || !d.propose(metadata.Change{AssignDrain: &metadata.AssignDrain{Partition: id, Node: next, Epoch: epoch}}) {
			return
		}
		load[now]--
		load[next]++
		left--
	})
}

// drainer returns who should drain a partition that is drained by now. Where
// nobody has an uplink all stays as it is: to move would help nobody.
func (d *decider) drainer(p *metadata.PartitionState, now metadata.NodeID, load map[metadata.NodeID]int) metadata.NodeID {
	leader := d.liveOf(p.Leader)
	away := now != p.Leader
	if away && d.connected(p.Leader) && leader.UplinkFor >= d.policy.DrainBackAfter {
		return p.Leader
	}
	if !d.cutOff(now, away) {
		return now
	}
	if d.connected(p.Leader) {
		return p.Leader
	}
	best := now
	for _, n := range slices.Sorted(slices.Values(p.ISR)) {
		if n != now && mayLead(d.img, p, n) && d.connected(n) && (best == now || load[n] < load[best]) {
			best = n
		}
	}
	return best
}

func (d *decider) liveOf(n metadata.NodeID) Liveness { return d.live[d.img.Members[n].Name] }

// connected: its uplink works, and did a moment ago, and it is there to stay.
func (d *decider) connected(n metadata.NodeID) bool {
	l := d.liveOf(n)
	return l.Alive && !d.img.Members[n].Draining && l.Uplink == UplinkUp && l.UplinkFor >= d.policy.DrainSteady
}

// cutOff: its uplink is gone for too long. A gateway that will be switched off
// gives back what it drains for others.
func (d *decider) cutOff(n metadata.NodeID, away bool) bool {
	l := d.liveOf(n)
	return l.Alive && (l.Uplink == UplinkDown && l.UplinkFor >= d.policy.DrainAfter || away && d.img.Members[n].Draining)
}
