package controller

import (
	"slices"

	"cistern/gossip/metadata"
)

// ofPartition answers with the partition as it is, whatever became of the
// change: a refused proposer needs the truth most.
func (d *draft) ofPartition(id metadata.PartitionID, r metadata.Result) metadata.Result {
	if p := d.img.Partition(id); p != nil {
		c := p.Clone()
		r.Partition = &c
	}
	return r
}

// alterPartition is a leader's word about who is in sync.
func (d *draft) alterPartition(a *metadata.AlterPartition) metadata.Result {
	p := d.img.Partition(a.Partition)
	if p == nil {
		return unknownPartition(a.Partition)
	}
	r := d.mayAlter(a, p)
	if r.Error == "" && (len(a.ISR) != len(p.ISR) || len(without(a.ISR, p.ISR...)) > 0) {
		next := *p
		next.ISR = within(p.Replicas, a.ISR)
		d.put(a.Partition, next, false)
	}
	return d.ofPartition(a.Partition, r)
}

// mayAlter checks, in this order: that the leader leads, that it knows what it
// changes (KIP-497), and that each member is the process it means (KIP-903).
func (d *draft) mayAlter(a *metadata.AlterPartition, p *metadata.PartitionState) metadata.Result {
	switch {
	case a.Leader == metadata.NoNode || a.Leader != p.Leader || a.LeaderEpoch != p.LeaderEpoch:
		return refuse(metadata.ErrFencedLeaderEpoch, "%s is led by %s in epoch %d, not by %s in %d",
			a.Partition, d.name(p.Leader), p.LeaderEpoch, d.name(a.Leader), a.LeaderEpoch)
	case a.PartitionEpoch != p.PartitionEpoch:
		return refuse(metadata.ErrInvalidUpdateVersion, "%s is in partition epoch %d, not %d", a.Partition, p.PartitionEpoch, a.PartitionEpoch)
	case len(a.ISR) > len(p.Replicas) || len(a.Incarnations) != len(a.ISR) || hasDuplicates(a.ISR):
		return refuse(metadata.ErrInvalid, "%s: an ISR has each replica once, with its incarnation", a.Partition)
	case !slices.Contains(a.ISR, a.Leader):
		return refuse(metadata.ErrInvalid, "%s: the leader is missing in the ISR", a.Partition)
	}
	for i, n := range a.ISR {
		m, ok := d.img.Members[n]
		switch {
		case !ok || !p.IsReplica(n):
			return refuse(metadata.ErrIneligibleReplica, "%s: %s keeps no replica", a.Partition, d.name(n))
		case m.Fenced:
			return refuse(metadata.ErrIneligibleReplica, "%s: %s is fenced", a.Partition, m.Name)
		case m.Incarnation != a.Incarnations[i]:
			return refuse(metadata.ErrStaleIncarnation, "%s: %s is in incarnation %d, not %d", a.Partition, m.Name, m.Incarnation, a.Incarnations[i])
		}
	}
	return metadata.Result{}
}

// reassign sets who shall keep a partition. Nobody leaves before those who come
// are in sync, so nothing is ever on fewer gateways than before.
func (d *draft) reassign(r *metadata.Reassign) metadata.Result {
	p := d.img.Partition(r.Partition)
	if p == nil {
		return unknownPartition(r.Partition)
	}
	if res := d.mayReassign(r, p); res.Error != "" {
		return d.ofPartition(r.Partition, res)
	}
	next := *p
	// A replica that an earlier reassignment brought in and this one does not
	// want goes at once, unless it is in sync: then it may be the last.
	origin := without(p.Replicas, p.Adding...)
	next.Removing = nil
	for _, n := range without(p.Replicas, r.Replicas...) {
		if slices.Contains(origin, n) || p.InISR(n) || slices.Contains(p.LastISR, n) {
			next.Removing = append(next.Removing, n)
		}
	}
	next.Replicas = slices.Concat(r.Replicas, next.Removing)
	next.Adding = without(r.Replicas, origin...)
	d.put(r.Partition, next, false)
	return d.ofPartition(r.Partition, metadata.Result{})
}

func (d *draft) mayReassign(r *metadata.Reassign, p *metadata.PartitionState) metadata.Result {
	switch {
	case r.PartitionEpoch != AnyEpoch && r.PartitionEpoch != p.PartitionEpoch:
		return refuse(metadata.ErrInvalidUpdateVersion, "%s is in partition epoch %d, not %d", r.Partition, p.PartitionEpoch, r.PartitionEpoch)
	case len(r.Replicas) == 0 || len(r.Replicas) > metadata.ReplicasMax || hasDuplicates(r.Replicas):
		return refuse(metadata.ErrInvalid, "%s: a partition has 1 to %d replicas, each on another gateway", r.Partition, metadata.ReplicasMax)
	}
	for _, n := range r.Replicas {
		m, ok := d.img.Members[n]
		switch {
		case !ok:
			return unknownMember(n)
		case m.Fenced && !p.IsReplica(n):
			return refuse(metadata.ErrIneligibleReplica, "%s: %s is fenced and could not fill", r.Partition, m.Name)
		}
	}
	return metadata.Result{}
}
