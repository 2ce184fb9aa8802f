package controller

import (
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"

	"cistern/gossip/metadata"
)

// Limits of what a gateway says about itself.
const (
	NameMax    = 128 // bytes of a name, an address, a zone, a version, a store's ID
	WeightMax  = 1000
	SourcesMax = 64 // external brokers of one gateway, and of the site
)

// register is a gateway's start, or its return. What it costs depends on its
// flash: see DESIGN.md, "Incarnations".
func (d *draft) register(r *metadata.Register) metadata.Result {
	if err := validRegister(r); err != nil {
		return refuse(metadata.ErrInvalid, "%s", err)
	}
	old, known := d.img.Member(r.Name)
	if res := d.mayRegister(r, &old, known); res.Error != "" {
		return res
	}
	otherCard := known && old.StoreID != r.StoreID
	newLife := !known || otherCard || old.StoreIncarnation != r.StoreIncarnation || r.Unclean && !old.Unclean

	m := old
	if !known {
		m.ID = d.nextID()
	}
	m.Name, m.Address, m.Zone, m.Version = r.Name, r.Address, r.Zone, r.Version
	m.Weight, m.Sources = max(r.Weight, 1), slices.Clone(r.Sources)
	m.StoreID, m.StoreIncarnation = r.StoreID, r.StoreIncarnation
	m.Fenced, m.FencedAt = false, 0
	if newLife || old.Fenced {
		m.Incarnation++ // what was refused because of the fence stays refused
	}
	if newLife {
		m.Unclean = r.Unclean
		d.drainsNoMore(m.ID)
	}
	d.members()[m.ID] = m

	each(d.was, func(id metadata.PartitionID, p *metadata.PartitionState) {
		next, newTerm := *p, false
		switch {
		case otherCard, newLife && r.Unclean:
			next = lose(next, m.ID, otherCard)
		case newLife && p.Leader == m.ID:
			// What it had not synced is gone, and a follower may have it.
			next.Leader, newTerm = heir(d.img, p), true
		}
		d.put(id, next, newTerm)
	})
	return metadata.Result{Node: m.ID, Incarnation: m.Incarnation}
}

// mayRegister refuses what would harm a gateway that is there.
func (d *draft) mayRegister(r *metadata.Register, old *metadata.Member, known bool) metadata.Result {
	switch {
	case !known && len(d.img.Members) >= metadata.MembersMax:
		return refuse(metadata.ErrNotAllowed, "the site has %d gateways, and %d is the limit; remove one that is gone for good (cistern site remove)",
			len(d.img.Members), metadata.MembersMax)
	case known && old.StoreID != r.StoreID && !old.Fenced:
		return refuse(metadata.ErrNotAllowed, "%q is registered with the store %s and is not known to be dead; "+
			"if its card was replaced, try again in a few seconds; if another gateway has this name, give one of them another", r.Name, old.StoreID)
	case known && old.StoreID == r.StoreID && r.StoreIncarnation < old.StoreIncarnation:
		return refuse(metadata.ErrStaleIncarnation, "the store %s was opened %d times before, and now says %d: either this is an old message or the card an old copy, "+
			"which must not be used; remove the gateway (cistern site remove) and start it with an empty store", r.StoreID, old.StoreIncarnation, r.StoreIncarnation)
	}
	return metadata.Result{}
}

// heir returns who leads when the leader has started again: the next one, else
// the leader itself.
func heir(img *metadata.Image, p *metadata.PartitionState) metadata.NodeID {
	next := successor(img, p, p.Leader)
	if next == metadata.NoNode || img.Members[next].Draining {
		return p.Leader
	}
	return next
}

// lose takes n out of the ISR, the last one too: it does not have what it
// confirmed.
func lose(p metadata.PartitionState, n metadata.NodeID, otherCard bool) metadata.PartitionState {
	switch {
	case p.InISR(n):
		if p.ISR = without(p.ISR, n); len(p.ISR) == 0 {
			p.LastISR, p.LastLost = []metadata.NodeID{n}, otherCard
		}
	case slices.Contains(p.LastISR, n):
		p.LastLost = p.LastLost || otherCard
	}
	return p
}

func (d *draft) nextID() metadata.NodeID {
	id := max(d.img.NextID, 1)
	d.img.NextID = id + 1
	return id
}

func validRegister(r *metadata.Register) error {
	for _, t := range []struct {
		what, s  string
		required bool
	}{{"name", r.Name, true}, {"address", r.Address, true}, {"zone", r.Zone, false}, {"version", r.Version, false}, {"store ID", r.StoreID, true}} {
		if err := text(t.what, t.s, NameMax, t.required); err != nil {
			return err
		}
	}
	if r.Weight < 0 || r.Weight > WeightMax {
		return fmt.Errorf("weight is %d, allowed are 0 (which means 1) to %d", r.Weight, WeightMax)
	}
	if len(r.Sources) > SourcesMax {
		return fmt.Errorf("%d sources, at most %d are allowed", len(r.Sources), SourcesMax)
	}
	for _, s := range r.Sources {
		if err := text("source", s, NameMax, true); err != nil {
			return err
		}
	}
	return nil
}

// text holds what will be printed and compared to printable UTF-8 of bounded
// length.
func text(what, s string, limit int, required bool) error {
	switch {
	case required && s == "":
		return fmt.Errorf("%s is missing", what)
	case len(s) > limit:
		return fmt.Errorf("%s has %d bytes, at most %d are allowed", what, len(s), limit)
	case !utf8.ValidString(s):
		return fmt.Errorf("%s %q is not UTF-8", what, s)
	}
	for _, c := range s {
		if !unicode.IsPrint(c) {
			return fmt.Errorf("%s %q has characters that can't be printed", what, s)
		}
	}
	return nil
}
