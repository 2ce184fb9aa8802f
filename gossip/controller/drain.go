package controller

import (
	"bytes"
	"fmt"

	"cistern/gossip/metadata"
)

// CursorBytesMax bounds what a drain may keep about one partition.
const CursorBytesMax = 4096

// putDrain keeps a drain's cursor. A drainer that was replaced can't put back
// the cursor that its successor has moved.
func (d *draft) putDrain(x *metadata.PutDrain) metadata.Result {
	p, old := d.img.Partition(x.Partition), d.img.Drains[x.Partition]
	switch {
	case p == nil:
		return unknownPartition(x.Partition)
	case p.Leader == metadata.NoNode || x.LeaderEpoch != p.LeaderEpoch:
		return refuse(metadata.ErrFencedLeaderEpoch, "%s is in leader epoch %d, not %d", x.Partition, p.LeaderEpoch, x.LeaderEpoch)
	case x.Epoch != old.Epoch:
		return refuse(metadata.ErrFencedLeaderEpoch, "%s is in drain epoch %d, not %d", x.Partition, old.Epoch, x.Epoch)
	case len(x.Cursor) > CursorBytesMax:
		return refuse(metadata.ErrInvalid, "%s: the cursor has %d bytes, at most %d are allowed", x.Partition, len(x.Cursor), CursorBytesMax)
	}
	equal := old.LeaderEpoch == x.LeaderEpoch && bytes.Equal(old.Cursor, x.Cursor)
	if x.LeaderEpoch == old.LeaderEpoch && x.Seq != 0 && (x.Seq < old.Seq || x.Seq == old.Seq && !equal) {
		return refuse(metadata.ErrInvalidUpdateVersion, "%s: cursor number %d comes after number %d", x.Partition, x.Seq, old.Seq)
	}
	if _, known := d.img.Drains[x.Partition]; !known || !equal || x.Seq != old.Seq {
		old.LeaderEpoch, old.Cursor, old.Seq = x.LeaderEpoch, bytes.Clone(x.Cursor), x.Seq
		d.drains()[x.Partition] = old
	}
	return metadata.Result{}
}

// putDrains keeps what it may of many cursors, and says what it refused.
func (d *draft) putDrains(x *metadata.PutDrains) metadata.Result {
	if n := len(x.Drains); n == 0 || n > metadata.DrainsMax {
		return refuse(metadata.ErrInvalid, "%d cursors, allowed are 1 to %d", n, metadata.DrainsMax)
	}
	refused, first := 0, ""
	for i := range x.Drains {
		if r := d.putDrain(&x.Drains[i]); r.Error != "" {
			if refused++; refused == 1 {
				first = r.Detail
			}
		}
	}
	if refused == 0 {
		return metadata.Result{}
	}
	return metadata.Result{Detail: fmt.Sprintf("%d of %d cursors were refused: %s", refused, len(x.Drains), first)}
}

// assignDrain says who drains a partition. Whoever does has all that was
// confirmed, and is there.
func (d *draft) assignDrain(a *metadata.AssignDrain) metadata.Result {
	p, old := d.img.Partition(a.Partition), d.img.Drains[a.Partition]
	switch {
	case p == nil:
		return unknownPartition(a.Partition)
	case a.Epoch != old.Epoch:
		return refuse(metadata.ErrInvalidUpdateVersion, "%s is in drain epoch %d, not %d", a.Partition, old.Epoch, a.Epoch)
	case p.Leader == metadata.NoNode:
		return refuse(metadata.ErrIneligibleReplica, "%s has no leader", a.Partition)
	case a.Node != metadata.NoNode && !mayLead(d.img, p, a.Node):
		return refuse(metadata.ErrIneligibleReplica, "%s: %s is not in sync or not there", a.Partition, d.name(a.Node))
	}
	n := a.Node
	if n == p.Leader {
		n = metadata.NoNode
	}
	d.drainedBy(a.Partition, n)
	return metadata.Result{}
}

// drainedBy makes n the drainer of a partition, NoNode its leader. Another
// drainer is another epoch; epochs are counted here and nowhere else.
func (d *draft) drainedBy(id metadata.PartitionID, n metadata.NodeID) {
	x := d.img.Drains[id]
	if n = max(n, 0); x.Node == n {
		return
	}
	x.Node, x.Seq = n, 0
	x.Epoch++
	d.drains()[id] = x
}

// keepDrainer gives a partition back to its leader when whoever drains it
// leads it now, is in sync no more, or is gone.
func (d *draft) keepDrainer(id metadata.PartitionID, p *metadata.PartitionState) {
	if n := d.img.Drains[id].Node; n > 0 && (n == p.Leader || !mayLead(d.img, p, n)) {
		d.drainedBy(id, metadata.NoNode)
	}
}

// drainsNoMore gives back all that n drains: it has started again, and what its
// former process still says must not count.
func (d *draft) drainsNoMore(n metadata.NodeID) {
	for id, x := range d.was.Drains {
		if x.Node == n {
			d.drainedBy(id, metadata.NoNode)
		}
	}
}
