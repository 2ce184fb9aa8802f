package controller

import (
	"math"
	"slices"

	"cistern/gossip/metadata"
)

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

// putClock keeps when a boot began. The oldest entry gives way: a boot whose
// records are not drained yet has told its own not long ago.
func (d *draft) putClock(c *metadata.PutClock) metadata.Result {
	if err := text("boot ID", c.Boot, NameMax, true); err != nil {
		return refuse(metadata.ErrInvalid, "%s", err)
	}
	if _, ok := d.img.Members[c.Node]; !ok {
		return unknownMember(c.Node)
	}
	old, known := d.img.Clocks[c.Boot]
	next := metadata.Clock{Node: c.Node, BootAt: c.BootAt, Index: d.img.Index}
	if known {
		next.Index = old.Index
	}
	if known && next == old {
		return metadata.Result{}
	}
	d.clocks()[c.Boot] = next
	if len(d.img.Clocks) > metadata.ClocksMax {
		delete(d.clocks(), oldestClock(d.img))
	}
	return metadata.Result{}
}

// oldestClock returns the boot that was told first: no two have one index.
func oldestClock(img *metadata.Image) (oldest string) {
	first := uint64(math.MaxUint64)
	for boot, c := range img.Clocks {
		if c.Index < first {
			oldest, first = boot, c.Index
		}
	}
	return oldest
}
