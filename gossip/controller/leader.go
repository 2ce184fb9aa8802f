package controller

import "cistern/gossip/metadata"

// mayLead reports whether n has everything that was confirmed and is there.
func mayLead(img *metadata.Image, p *metadata.PartitionState, n metadata.NodeID) bool {
	m, ok := img.Members[n]
	return ok && !m.Fenced && p.InISR(n)
}

// successor returns the first replica, the preferred one in front, that may
// lead. One that drains does so only when there is nobody else. It passes over
// the node not.
func successor(img *metadata.Image, p *metadata.PartitionState, not metadata.NodeID) metadata.NodeID {
	second := metadata.NoNode
	for _, n := range p.Replicas {
		if n == not || !mayLead(img, p, n) {
			continue
		}
		if !img.Members[n].Draining {
			return n
		}
		if second == metadata.NoNode {
			second = n
		}
	}
	return second
}

// led returns p with its leader if that one may lead, else with another, else
// with none.
func (d *draft) led(p metadata.PartitionState) metadata.PartitionState {
	if p.Leader == metadata.NoNode || !mayLead(d.img, &p, p.Leader) {
		p.Leader = successor(d.img, &p, metadata.NoNode)
	}
	return p
}

// finished returns p without its reassignment if that is done: everybody who
// was to come is in sync, and of those who stay as many are as a confirmation
// was worth until now, or as there were.
func finished(c metadata.StreamConfig, p metadata.PartitionState) metadata.PartitionState {
	if len(p.Adding)+len(p.Removing) == 0 || len(without(p.Adding, p.ISR...)) > 0 {
		return p
	}
	target, stay := without(p.Replicas, p.Removing...), without(p.ISR, p.Removing...)
	if need := min(len(p.ISR), MinInsync(c, max(len(target), p.Settled())), len(target)); len(stay) == 0 || len(stay) < need {
		return p
	}
	p.Replicas, p.ISR, p.Adding, p.Removing = target, stay, nil, nil
	return p
}
