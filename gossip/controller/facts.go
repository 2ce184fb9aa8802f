package controller

import (
	"bytes"
	"slices"

	"cistern/gossip/metadata"
)

// CursorBytesMax bounds what a drain may keep about one partition.
const CursorBytesMax = 4096

// putDrain keeps a drain's cursor. A leader that was replaced can't put back
// the cursor that its successor has moved.
func (d *draft) putDrain(x *metadata.PutDrain) metadata.Result {
	p := d.img.Partition(x.Partition)
	switch {
	case p == nil:
		return unknownPartition(x.Partition)
	case p.Leader == metadata.NoNode || x.LeaderEpoch != p.LeaderEpoch:
		return refuse(metadata.ErrFencedLeaderEpoch, "%s is in leader epoch %d, not %d", x.Partition, p.LeaderEpoch, x.LeaderEpoch)
	case len(x.Cursor) > CursorBytesMax:
		return refuse(metadata.ErrInvalid, "%s: the cursor has %d bytes, at most %d are allowed", x.Partition, len(x.Cursor), CursorBytesMax)
	}
	if old, ok := d.img.Drains[x.Partition]; !ok || old.LeaderEpoch != x.LeaderEpoch || !bytes.Equal(old.Cursor, x.Cursor) {
		d.drains()[x.Partition] = metadata.Drain{LeaderEpoch: x.LeaderEpoch, Cursor: bytes.Clone(x.Cursor)}
	}
	return metadata.Result{}
}

// assignSource says who reads an external broker; NoNode: nobody.
func (d *draft) assignSource(a *metadata.AssignSource) metadata.Result {
	if err := text("source", a.Source, NameMax, true); err != nil {
		return refuse(metadata.ErrInvalid, "%s", err)
	}
	now, assigned := d.img.Sources[a.Source]
	if a.Node == metadata.NoNode {
		if assigned {
			delete(d.sources(), a.Source)
		}
		return metadata.Result{}
	}
	m, ok := d.img.Members[a.Node]
	switch {
	case !ok:
		return unknownMember(a.Node)
	case m.Fenced:
		return refuse(metadata.ErrIneligibleReplica, "%s is fenced and can't read %q", m.Name, a.Source)
	case !slices.Contains(m.Sources, a.Source):
		return refuse(metadata.ErrIneligibleReplica, "%s does not know the source %q", m.Name, a.Source)
	case !assigned && len(d.img.Sources) >= SourcesMax:
		return refuse(metadata.ErrNotAllowed, "the site reads %d sources, and that is the limit", SourcesMax)
	}
	if !assigned || now != a.Node {
		d.sources()[a.Source] = a.Node
	}
	return metadata.Result{}
}
