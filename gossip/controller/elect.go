package controller

import (
	"slices"

	"cistern/gossip/metadata"
)

// AnyEpoch as a PartitionEpoch: whatever it is.
const AnyEpoch int32 = -1

// elect changes the leader: cleanly among those in sync, or, on an operator's
// word and only when nobody in sync can lead, among the rest.
func (d *draft) elect(e *metadata.Elect) metadata.Result {
	p := d.img.Partition(e.Partition)
	switch {
	case p == nil:
		return unknownPartition(e.Partition)
	case e.PartitionEpoch != AnyEpoch && e.PartitionEpoch != p.PartitionEpoch:
		return d.ofPartition(e.Partition, refuse(metadata.ErrInvalidUpdateVersion, "%s is in partition epoch %d, not %d", e.Partition, p.PartitionEpoch, e.PartitionEpoch))
	}
	var r metadata.Result
	if e.Unclean {
		r = d.electUnclean(e, p)
	} else {
		r = d.electClean(e, p)
	}
	return d.ofPartition(e.Partition, r)
}

func (d *draft) electClean(e *metadata.Elect, p *metadata.PartitionState) metadata.Result {
	n := e.Node
	if n == metadata.NoNode { // another, if there is one: who leads may have a reason to ask
		if n = successor(d.img, p, p.Leader); n == metadata.NoNode {
			n = successor(d.img, p, metadata.NoNode)
		}
	}
	switch {
	case n == metadata.NoNode:
		return refuse(metadata.ErrIneligibleReplica, "%s: nobody who is in sync is there (%s)", e.Partition, d.waitingFor(p))
	case !mayLead(d.img, p, n):
		return refuse(metadata.ErrIneligibleReplica, "%s: %s is not in sync or not there", e.Partition, d.name(n))
	case e.Node != metadata.NoNode && n != p.Leader && d.img.Members[n].Draining:
		return refuse(metadata.ErrIneligibleReplica, "%s: %s is draining", e.Partition, d.name(n))
	}
	next := *p
	next.Leader = n
	d.put(e.Partition, next, false)
	return metadata.Result{}
}

func (d *draft) electUnclean(e *metadata.Elect, p *metadata.PartitionState) metadata.Result {
	if n := successor(d.img, p, metadata.NoNode); n != metadata.NoNode {
		return refuse(metadata.ErrNotAllowed, "%s: %s is in sync and there; nothing needs to be given up", e.Partition, d.name(n))
	}
	n := e.Node
	if n == metadata.NoNode {
		n = d.salvage(p)
	}
	m, ok := d.img.Members[n]
	if n == metadata.NoNode || !ok || m.Fenced || !p.IsReplica(n) {
		return refuse(metadata.ErrIneligibleReplica, "%s: %s is no replica that is there", e.Partition, d.name(n))
	}
	next := *p
	next.ISR, next.Leader = []metadata.NodeID{n}, n
	next.Unclean++
	d.put(e.Partition, next, true)
	return metadata.Result{}
}

// salvage chooses whose copy becomes the truth: of whoever was in sync last,
// unless its card is another now; then of a settled replica; then of any.
func (d *draft) salvage(p *metadata.PartitionState) metadata.NodeID {
	settled := without(p.Replicas, p.Adding...)
	lists := [][]metadata.NodeID{p.LastISR, settled, p.Replicas}
	if p.LastLost {
		lists = [][]metadata.NodeID{without(settled, p.LastISR...), without(p.Replicas, p.LastISR...), p.LastISR}
	}
	for _, n := range slices.Concat(lists...) {
		if m, ok := d.img.Members[n]; ok && !m.Fenced && p.IsReplica(n) {
			return n
		}
	}
	return metadata.NoNode
}

func (d *draft) waitingFor(p *metadata.PartitionState) string {
	if len(p.ISR) > 0 {
		return "waiting for " + d.name(p.ISR[0])
	}
	if len(p.LastISR) > 0 {
		return d.name(p.LastISR[0]) + " was the last and lost its records"
	}
	return "nobody was"
}
