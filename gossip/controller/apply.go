package controller

import (
	"fmt"
	"reflect"

	"cistern/gossip/metadata"
)

// Apply returns what img becomes by the change at that index, and the answer
// to whoever proposed it. img itself is never changed, and shares with the new
// image whatever stayed. A refused change moves nothing but the index.
func Apply(img *metadata.Image, index uint64, c metadata.Change) (*metadata.Image, metadata.Result) {
	d := newDraft(img, index, c.At)
	r := d.apply(&c)
	r.Index = index
	if r.Error != "" {
		d = newDraft(img, index, c.At)
	}
	return d.img, r
}

func (d *draft) apply(c *metadata.Change) metadata.Result {
	if n := parts(c); n != 1 {
		return refuse(metadata.ErrInvalid, "the change has %d parts, it must have one; is this gateway's version too old for it?", n)
	}
	switch {
	case c.Form != nil:
		return d.form(c.Form)
	case c.Register != nil:
		return d.register(c.Register)
	case c.Fence != nil:
		return d.fence(c.Fence)
	case c.DrainNode != nil:
		return d.drainNode(c.DrainNode)
	case c.RemoveMember != nil:
		return d.removeMember(c.RemoveMember)
	case c.PutStream != nil:
		return d.putStream(c.PutStream)
	case c.DeleteStream != nil:
		return d.deleteStream(c.DeleteStream)
	case c.AlterPartition != nil:
		return d.alterPartition(c.AlterPartition)
	case c.Elect != nil:
		return d.elect(c.Elect)
	case c.Reassign != nil:
		return d.reassign(c.Reassign)
	case c.PutDrain != nil:
		return d.putDrain(c.PutDrain)
	case c.AssignSource != nil:
		return d.assignSource(c.AssignSource)
	case c.AssignDrain != nil:
		return d.assignDrain(c.AssignDrain)
	case c.PutDrains != nil:
		return d.putDrains(c.PutDrains)
	case c.PutClock != nil:
		return d.putClock(c.PutClock)
	}
	return refuse(metadata.ErrInvalid, "this version does not know the change")
}

// parts counts the fields that are set. It reflects so that a field that was
// added to Change and forgotten here is counted all the same.
func parts(c *metadata.Change) int {
	v, n := reflect.ValueOf(c).Elem(), 0
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Pointer && !f.IsNil() {
			n++
		}
	}
	return n
}

// SiteMax bounds the site's random name.
const SiteMax = 64

// form gives the site its name. Every gateway that starts a site proposes one;
// the first wins, and the others are told nothing worse than that it is formed.
func (d *draft) form(f *metadata.Form) metadata.Result {
	if err := text("site", f.Site, SiteMax, true); err != nil {
		return refuse(metadata.ErrInvalid, "%s", err)
	}
	if d.img.Site == "" {
		d.img.Site = f.Site
	}
	return metadata.Result{}
}

func refuse(err error, format string, args ...any) metadata.Result {
	return metadata.Refusal(err, fmt.Sprintf(format, args...))
}

func unknownPartition(id metadata.PartitionID) metadata.Result {
	return refuse(metadata.ErrUnknownPartition, "%.*q/%d", metadata.StreamNameMax, id.Stream, id.Partition)
}

func unknownMember(n metadata.NodeID) metadata.Result {
	return refuse(metadata.ErrUnknownMember, "no gateway has the node ID %d", n)
}
