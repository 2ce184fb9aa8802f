package controller

import (
	"slices"

	"cistern/gossip/metadata"
)

// even moves replicas to gateways that have less than their share, and into
// zones that a partition lacks. Each move makes the sum of squares smaller or a
// partition safer, so it comes to rest; it also rests a sixteenth before the
// exact share, which is not worth the flash.
func (d *decider) even(budget int) {
	sp := newSpread(d.img, byID(d.img, d.steady), 0)
	moving := map[metadata.PartitionID]bool{}
	for range budget {
		m, ok := d.widen(sp, moving)
		if !ok {
			m, ok = d.relieve(sp, moving)
		}
		if !ok {
			return
		}
		p := d.img.Partition(m.id)
		to := slices.Clone(p.Replicas)
		to[slices.Index(to, m.from)] = m.to
		if !d.reassign(m.id, p, to) {
			return
		}
		moving[m.id] = true
		sp.replicas[m.from]--
		sp.replicas[m.to]++
	}
}

// move is one replica that changes its gateway.
type move struct {
	id       metadata.PartitionID
	from, to metadata.NodeID
}

// calm: a partition that nothing else happens to, with all its copies in sync.
func calm(p *metadata.PartitionState) bool {
	return p.Leader != metadata.NoNode && len(p.Adding)+len(p.Removing) == 0 && len(p.ISR) == len(p.Replicas)
}

// widen finds a partition that has two replicas in one zone while another zone
// has none.
func (d *decider) widen(sp *spread, moving map[metadata.PartitionID]bool) (found move, ok bool) {
	most := sp.zones(nodeIDs(sp.members))
	each(d.img, func(id metadata.PartitionID, p *metadata.PartitionState) {
		have := sp.zones(p.Replicas)
		if ok || moving[id] || !calm(p) || have >= min(len(p.Replicas), most) {
			return
		}
		elsewhere := slices.DeleteFunc(slices.Clone(sp.members), func(m metadata.Member) bool {
			return slices.ContainsFunc(p.Replicas, func(n metadata.NodeID) bool { return sp.zone[n] == m.Zone })
		})
		if by := Place(elsewhere, id, 1); len(by) > 0 {
			found, ok = move{id, sp.twin(p), by[0]}, true
		}
	})
	return found, ok
}

func nodeIDs(members []metadata.Member) []metadata.NodeID {
	out := make([]metadata.NodeID, len(members))
	for i := range members {
		out[i] = members[i].ID
	}
	return out
}

// twin returns the fullest gateway that shares its zone with another replica,
// not the leader if there is a choice.
func (sp *spread) twin(p *metadata.PartitionState) metadata.NodeID {
	best := metadata.NoNode
	for _, n := range p.Replicas {
		if sp.zones(without(p.Replicas, n)) < sp.zones(p.Replicas) {
			continue
		}
		if best == metadata.NoNode || best == p.Leader || n != p.Leader && sp.replicas[n] > sp.replicas[best] {
			best = n
		}
	}
	return best
}

// relieve finds a replica that goes from a gateway with much to one with little.
func (d *decider) relieve(sp *spread, moving map[metadata.PartitionID]bool) (found move, ok bool) {
	total, weights := sp.shares()
	for _, to := range sp.byLoad(false) {
		if uint64(sp.replicas[to.ID]+1)*weights*16 > total*weight(&to)*15 {
			continue // it has its share
		}
		for _, from := range sp.byLoad(true) {
			if uint64(sp.replicas[from.ID])*weight(&to) <= uint64(sp.replicas[to.ID]+1)*weight(&from) {
				break // nobody has more
			}
			if found, ok = d.transfer(sp, moving, from.ID, &to); ok {
				return found, true
			}
		}
	}
	return found, false
}

// transfer finds the partition of from for which to drew the best lot, and
// that stays in as many zones.
func (d *decider) transfer(sp *spread, moving map[metadata.PartitionID]bool, from metadata.NodeID, to *metadata.Member) (found move, ok bool) {
	var best lot
	each(d.img, func(id metadata.PartitionID, p *metadata.PartitionState) {
		if moving[id] || !calm(p) || !p.IsReplica(from) || p.IsReplica(to.ID) ||
			sp.zones(append(without(p.Replicas, from), to.ID)) < sp.zones(p.Replicas) {
			return
		}
		if l := draw(id, to); !ok || l.beats(best) {
			best, found, ok = l, move{id, from, to.ID}, true
		}
	})
	return found, ok
}

// byLoad orders the candidates by replicas for their weight.
func (sp *spread) byLoad(fullestFirst bool) []metadata.Member {
	out := slices.Clone(sp.members)
	slices.SortStableFunc(out, func(a, b metadata.Member) int {
		x, y := uint64(sp.replicas[a.ID])*weight(&b), uint64(sp.replicas[b.ID])*weight(&a)
		switch {
		case x == y:
			return 0
		case (x < y) != fullestFirst:
			return -1
		}
		return 1
	})
	return out
}
