package controller

import (
	"slices"
	"strings"

	"cistern/gossip/metadata"
)

// fence takes a gateway that is believed dead out of every leadership and
// every ISR, save where it is the last one in sync: there the partition waits
// for it, since nobody else has all that was confirmed (KIP-966).
func (d *draft) fence(f *metadata.Fence) metadata.Result {
	m, ok := d.img.Members[f.Node]
	switch {
	case !ok:
		return unknownMember(f.Node)
	case m.Incarnation != f.Incarnation:
		return refuse(metadata.ErrStaleIncarnation, "%s is in incarnation %d, not %d", m.Name, m.Incarnation, f.Incarnation)
	case m.Fenced:
		return metadata.Result{}
	}
	m.Fenced, m.FencedAt = true, d.at
	d.members()[m.ID] = m
	each(d.was, func(id metadata.PartitionID, p *metadata.PartitionState) {
		next := *p
		if p.InISR(m.ID) && len(p.ISR) > 1 {
			next.ISR = without(p.ISR, m.ID)
		}
		d.put(id, next, false)
	})
	return metadata.Result{}
}

// drainNode moves leaderships off a gateway that will be switched off. It keeps
// its replicas and follows on.
func (d *draft) drainNode(n *metadata.DrainNode) metadata.Result {
	m, ok := d.img.Members[n.Node]
	if !ok {
		return unknownMember(n.Node)
	}
	if m.Draining == n.On {
		return metadata.Result{}
	}
	m.Draining = n.On
	d.members()[m.ID] = m
	each(d.was, func(id metadata.PartitionID, p *metadata.PartitionState) {
		if n.On && p.Leader == m.ID {
			next := *p
			next.Leader = heir(d.img, p)
			d.put(id, next, false)
		}
	})
	return metadata.Result{}
}

// removeMember forgets a gateway. Others take its place as replicas at once
// and fill from the leaders.
func (d *draft) removeMember(r *metadata.RemoveMember) metadata.Result {
	m, ok := d.img.Members[r.Node]
	switch {
	case !ok:
		return unknownMember(r.Node)
	case !m.Fenced && !m.Draining:
		return refuse(metadata.ErrNotAllowed, "%s is alive; switch it off or drain it first (cistern site drain-node)", m.Name)
	}
	if needed := neededBy(d.img, &m); len(needed) > 0 {
		return refuse(metadata.ErrNotAllowed, "%s has the only complete copy, or one of too few, of %s; wait until others have caught up, "+
			"or give its records up (cistern partitions elect --unclean)", m.Name, some(needed))
	}
	delete(d.members(), m.ID)
	for name, n := range d.was.Sources {
		if n == m.ID {
			delete(d.sources(), name)
		}
	}
	sp := newSpread(d.img, placeable(d.img), 0)
	each(d.was, func(id metadata.PartitionID, p *metadata.PartitionState) {
		if p.IsReplica(m.ID) {
			d.put(id, replaced(sp, id, *p, m.ID), false)
		}
	})
	return metadata.Result{}
}

// neededBy returns the partitions that would have nobody in sync without m or,
// as long as it lives, fewer than a confirmation is worth.
func neededBy(img *metadata.Image, m *metadata.Member) []metadata.PartitionID {
	var out []metadata.PartitionID
	each(img, func(id metadata.PartitionID, p *metadata.PartitionState) {
		others := len(without(p.ISR, m.ID))
		short := others < min(len(p.ISR), MinInsync(img.Streams[id.Stream].Config, p.Settled()))
		if p.InISR(m.ID) && (others == 0 || short) || slices.Contains(p.LastISR, m.ID) {
			out = append(out, id)
		}
	})
	return out
}

// replaced returns p with another gateway where gone was, or with one replica
// less when there is no other.
func replaced(sp *spread, id metadata.PartitionID, p metadata.PartitionState, gone metadata.NodeID) metadata.PartitionState {
	swap := func(list []metadata.NodeID, by ...metadata.NodeID) []metadata.NodeID {
		if i := slices.Index(list, gone); i >= 0 {
			return slices.Replace(slices.Clone(list), i, i+1, by...)
		}
		return list
	}
	var by []metadata.NodeID
	if !slices.Contains(p.Removing, gone) {
		by = sp.pick(id, without(p.Replicas, gone), 1)
	}
	p.ISR, p.Removing = without(p.ISR, gone), without(p.Removing, gone)
	// Whoever came to take over and is in sync has: it counts from now on.
	p.Adding = without(swap(p.Adding, by...), p.ISR...)
	p.Replicas = swap(p.Replicas, by...)
	return p
}

// some names the first few partitions.
func some(ids []metadata.PartitionID) string {
	const shown = 5
	var b strings.Builder
	for i, id := range ids[:min(len(ids), shown)] {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(id.String())
	}
	if len(ids) > shown {
		b.WriteString(" and others")
	}
	return b.String()
}
