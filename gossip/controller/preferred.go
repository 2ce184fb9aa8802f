package controller

import "cistern/gossip/metadata"

// preferred moves leaderships: first who is preferred, so that gateways lead
// alike many partitions, then the leadership itself to whoever is preferred.
// Both cost no copy, but every move makes devices wait for a moment: few at
// once, and only to gateways that have been there for a while.
func (d *decider) preferred() {
	left := d.policy.LeadersMax
	leads := newSpread(d.img, nil, 0).leads
	each(d.img, func(id metadata.PartitionID, p *metadata.PartitionState) {
		if left <= 0 || p.Leader == metadata.NoNode || len(p.Adding)+len(p.Removing) > 0 {
			return
		}
		first := p.Replicas[0]
		if n := d.fewest(p, leads); n != first && (leads[first]-leads[n] >= 2 || d.gone(first)) {
			if d.reassign(id, p, append([]metadata.NodeID{n}, without(p.Replicas, n)...)) {
				leads[first], leads[n], left = leads[first]-1, leads[n]+1, left-1
			}
			return
		}
		if p.Leader != first && d.mayGet(p, first) && d.elect(id, p, first) {
			left--
		}
	})
}

// fewest returns which replica is preferred by the fewest partitions, of those
// that could lead; the preferred one when none is better.
func (d *decider) fewest(p *metadata.PartitionState, leads map[metadata.NodeID]int) metadata.NodeID {
	best := p.Replicas[0]
	for _, n := range p.Replicas[1:] {
		if d.mayGet(p, n) && (leads[n] < leads[best] || best == p.Replicas[0] && d.gone(best)) {
			best = n
		}
	}
	return best
}

// mayGet: it could lead and is there to stay.
func (d *decider) mayGet(p *metadata.PartitionState, n metadata.NodeID) bool {
	m := d.img.Members[n]
	return mayLead(d.img, p, n) && d.steady(&m)
}
