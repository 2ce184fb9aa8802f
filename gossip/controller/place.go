package controller

import (
	"slices"

	"cistern/gossip/metadata"
)

// Place returns which n of the members should keep a partition, the best first:
// in as many zones as there are, and of each zone those that drew best.
func Place(members []metadata.Member, id metadata.PartitionID, n int) []metadata.NodeID {
	sp := &spread{members: members, zone: map[metadata.NodeID]string{}}
	for _, m := range members {
		sp.zone[m.ID] = m.Zone
	}
	return sp.pick(id, nil, n)
}

// spread places several partitions one after the other and remembers what each
// gateway got. Lots alone would leave some with a third more than others, so
// they decide only among those that have not got their share yet.
type spread struct {
	members  []metadata.Member // who may be chosen
	zone     map[metadata.NodeID]string
	replicas map[metadata.NodeID]int
	leads    map[metadata.NodeID]int // partitions that prefer it as their leader
	limit    map[metadata.NodeID]int // the share of replicas; beyond it only when nobody else is left
}

// newSpread counts what the image has placed, with more replicas to come.
func newSpread(img *metadata.Image, candidates []metadata.Member, more int) *spread {
	sp := &spread{members: candidates, zone: map[metadata.NodeID]string{}, replicas: map[metadata.NodeID]int{},
		leads: map[metadata.NodeID]int{}, limit: map[metadata.NodeID]int{}}
	for n, m := range img.Members {
		sp.zone[n] = m.Zone
	}
	each(img, func(_ metadata.PartitionID, p *metadata.PartitionState) {
		t := target(p)
		for _, n := range t {
			sp.replicas[n]++
		}
		sp.leads[t[0]]++
	})
	total, weights := sp.shares()
	for i := range candidates {
		share := (total + uint64(more)) * weight(&candidates[i])
		sp.limit[candidates[i].ID] = int((share + weights - 1) / weights)
	}
	return sp
}

// shares returns what the candidates keep together, and their weights.
func (sp *spread) shares() (total, weights uint64) {
	for i := range sp.members {
		total += uint64(sp.replicas[sp.members[i].ID])
		weights += weight(&sp.members[i])
	}
	return total, weights
}

// target returns who keeps p when its reassignment is done.
func target(p *metadata.PartitionState) []metadata.NodeID { return without(p.Replicas, p.Removing...) }

// pick returns up to n gateways that join those in keep.
func (sp *spread) pick(id metadata.PartitionID, keep []metadata.NodeID, n int) []metadata.NodeID {
	used := map[string]int{}
	for _, k := range keep {
		used[sp.zone[k]]++
	}
	free := make([]offer, 0, len(sp.members))
	for i := range sp.members {
		if m := &sp.members[i]; !slices.Contains(keep, m.ID) {
			limit, bounded := sp.limit[m.ID]
			free = append(free, offer{draw(id, m), m.Zone, bounded && sp.replicas[m.ID] >= limit})
		}
	}
	var out []metadata.NodeID
	for len(out) < n && len(free) > 0 {
		best := 0
		for i := range free {
			if free[i].before(free[best], used) {
				best = i
			}
		}
		b := free[best]
		free = slices.Delete(free, best, best+1)
		out = append(out, b.id)
		used[b.zone]++
		if sp.replicas != nil {
			sp.replicas[b.id]++
		}
	}
	return out
}

// offer is one gateway that could take a replica.
type offer struct {
	lot
	zone string
	full bool
}

func (a offer) before(b offer, used map[string]int) bool {
	switch {
	case used[a.zone] != used[b.zone]:
		return used[a.zone] < used[b.zone]
	case a.full != b.full:
		return b.full
	}
	return a.beats(b.lot)
}

// lead puts in front whoever leads the fewest partitions.
func (sp *spread) lead(replicas []metadata.NodeID) []metadata.NodeID {
	first := replicas[0]
	for _, n := range replicas {
		if sp.leads[n] < sp.leads[first] {
			first = n
		}
	}
	sp.leads[first]++
	return append([]metadata.NodeID{first}, without(replicas, first)...)
}

// placeable returns who may get replicas: whoever is there and not about to go,
// or else whoever is there.
func placeable(img *metadata.Image) []metadata.Member {
	stay := byID(img, func(m *metadata.Member) bool { return !m.Fenced && !m.Draining })
	if len(stay) > 0 {
		return stay
	}
	return byID(img, func(m *metadata.Member) bool { return !m.Fenced })
}

// zones counts the different zones of a set.
func (sp *spread) zones(set []metadata.NodeID) int {
	var seen []string
	for _, n := range set {
		if !slices.Contains(seen, sp.zone[n]) {
			seen = append(seen, sp.zone[n])
		}
	}
	return len(seen)
}
