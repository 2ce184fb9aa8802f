package controller

import (
	"slices"

	"cistern/gossip/metadata"
)

// replicas sees that every partition is kept by as many gateways as it should
// be, and by such that live. Copies cost flash and air time: only a few are
// made at once, and what is even enough stays.
func (d *decider) replicas() {
	budget := d.policy.MovesMax - d.filling()
	candidates := byID(d.img, d.usable)
	sp := newSpread(d.img, candidates, d.missing(candidates))
	repaired := 0
	each(d.img, func(id metadata.PartitionID, p *metadata.PartitionState) {
		if p.Leader == metadata.NoNode {
			return // nobody to copy from
		}
		now := target(p)
		copies := d.copies(sp, id, p, now, budget-repaired)
		if !slices.Equal(copies, now) && d.reassign(id, p, copies) {
			repaired += len(without(copies, p.Replicas...))
		}
	})
	if repaired == 0 && budget > 0 {
		d.even(budget)
	}
}

// filling counts the copies that are being made. One whose gateway is away
// makes no progress and takes no turn.
func (d *decider) filling() (n int) {
	each(d.img, func(_ metadata.PartitionID, p *metadata.PartitionState) {
		for _, a := range p.Adding {
			if !p.InISR(a) && !d.img.Members[a].Fenced {
				n++
			}
		}
	})
	return n
}

// copies returns who should keep a partition: another for whoever is gone, more
// when there are more gateways, fewer when fewer are asked for. It asks for at
// most budget new copies.
func (d *decider) copies(sp *spread, id metadata.PartitionID, p *metadata.PartitionState, now []metadata.NodeID, budget int) []metadata.NodeID {
	c := d.img.Streams[id.Stream].Config
	next := slices.Clone(now)
	for i, n := range next {
		if budget > 0 && d.gone(n) {
			if by := sp.pick(id, next, 1); len(by) > 0 {
				next[i] = by[0]
				budget--
			}
		}
	}
	if more := min(wanted(c, next, sp.members)-len(next), budget); more > 0 {
		next = append(next, sp.pick(id, next, more)...)
	}
	for len(next) > configured(c) {
		next = without(next, spare(p, next))
	}
	return next
}

// wanted returns how many replicas a partition should have that has these, when
// the candidates could join them.
func wanted(c metadata.StreamConfig, have []metadata.NodeID, candidates []metadata.Member) int {
	there := len(have)
	for i := range candidates {
		if !slices.Contains(have, candidates[i].ID) {
			there++
		}
	}
	return Replicas(c, there)
}

// missing counts the copies that are yet to be placed, so that shares are known
// before the first is.
func (d *decider) missing(candidates []metadata.Member) (n int) {
	each(d.img, func(id metadata.PartitionID, p *metadata.PartitionState) {
		have := target(p)
		n += max(0, wanted(d.img.Streams[id.Stream].Config, have, candidates)-len(have))
		for _, r := range have {
			if d.gone(r) {
				n++
			}
		}
	})
	return n
}

// spare returns whom a partition misses least: one that is not in sync, else
// the last that does not lead.
func spare(p *metadata.PartitionState, of []metadata.NodeID) metadata.NodeID {
	out := of[len(of)-1]
	for _, n := range of {
		if n != p.Leader && (p.InISR(out) || out == p.Leader || !p.InISR(n)) {
			out = n
		}
	}
	return out
}
