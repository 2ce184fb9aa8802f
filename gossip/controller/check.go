package controller

import (
	"fmt"
	"slices"

	"cistern/gossip/metadata"
)

// Check returns the first thing about an image that can't be, whatever changes
// led to it. A gateway that finds one stops: its metadata are not the site's.
func Check(img *metadata.Image) error {
	names := map[string]metadata.NodeID{}
	for n, m := range img.Members {
		switch {
		case n != m.ID || n < 1 || n >= img.NextID:
			return fmt.Errorf("member %d (%s) has the node ID %d, and %d is the next", n, m.Name, m.ID, img.NextID)
		case m.Incarnation < 1 || m.Weight < 1:
			return fmt.Errorf("member %s has incarnation %d and weight %d", m.Name, m.Incarnation, m.Weight)
		}
		if _, twice := names[m.Name]; twice {
			return fmt.Errorf("two members are called %q", m.Name)
		}
		names[m.Name] = n
	}
	if len(img.Members) > metadata.MembersMax || len(img.Streams) > metadata.StreamsMax || partitions(img) > PartitionsMax || len(img.Sources) > SourcesMax {
		return fmt.Errorf("%d members, %d streams, %d partitions, %d sources: that is beyond the limits", len(img.Members), len(img.Streams), partitions(img), len(img.Sources))
	}
	if err := checkFacts(img); err != nil {
		return err
	}
	for name, s := range img.Streams {
		if err := validStream(s.Config); err != nil || name != s.Config.Name || len(s.Partitions) != int(s.Config.Partitions) {
			return fmt.Errorf("stream %q is %q with %d partitions: %w", name, s.Config.Name, len(s.Partitions), err)
		}
	}
	var err error
	each(img, func(id metadata.PartitionID, p *metadata.PartitionState) {
		if e := checkPartition(img, p); e != nil && err == nil {
			err = fmt.Errorf("%s %+v: %w", id, *p, e)
		}
	})
	return err
}

func checkFacts(img *metadata.Image) error {
	for id, x := range img.Drains {
		p := img.Partition(id)
		switch {
		case p == nil || x.LeaderEpoch > p.LeaderEpoch || len(x.Cursor) > CursorBytesMax:
			return fmt.Errorf("drain of %s: no such partition or epoch (%d), or too large", id, x.LeaderEpoch)
		case x.Node < 0 || x.Node > 0 && (x.Node == p.Leader || !mayLead(img, p, x.Node)) || x.Epoch < 0:
			return fmt.Errorf("%s is drained by %d in epoch %d, which leads it, or is fenced or not in sync", id, x.Node, x.Epoch)
		}
	}
	told := map[uint64]bool{}
	for boot, c := range img.Clocks {
		if len(img.Clocks) > metadata.ClocksMax || boot == "" || c.Index > img.Index || told[c.Index] {
			return fmt.Errorf("one of %d clocks is too much: %q, told at %d", len(img.Clocks), boot, c.Index)
		}
		told[c.Index] = true
	}
	for s, n := range img.Sources {
		if _, ok := img.Members[n]; !ok {
			return fmt.Errorf("source %q is read by %d, which is no member", s, n)
		}
	}
	return nil
}

func checkPartition(img *metadata.Image, p *metadata.PartitionState) error {
	for _, n := range p.Replicas {
		if _, ok := img.Members[n]; !ok {
			return fmt.Errorf("replica %d is no member", n)
		}
	}
	for _, n := range p.ISR {
		if img.Members[n].Fenced && len(p.ISR) > 1 {
			return fmt.Errorf("%d is fenced and in sync, and not the last", n)
		}
	}
	could := successor(img, p, metadata.NoNode)
	switch {
	case len(p.Replicas) == 0 || hasDuplicates(p.Replicas):
		return fmt.Errorf("replicas are none, or one twice")
	case len(without(p.ISR, p.Replicas...)) > 0 || hasDuplicates(p.ISR):
		return fmt.Errorf("the ISR has one twice or one that is no replica")
	case len(without(p.LastISR, p.Replicas...)) > 0 || (len(p.ISR) == 0) != (len(p.LastISR) > 0) || p.LastLost && len(p.LastISR) == 0:
		return fmt.Errorf("LastISR is for an empty ISR, and names a replica")
	case p.Leader != metadata.NoNode && !mayLead(img, p, p.Leader):
		return fmt.Errorf("the leader is fenced or not in sync")
	case p.Leader == metadata.NoNode && could != metadata.NoNode:
		return fmt.Errorf("nobody leads, and %d could", could)
	case len(without(p.Adding, p.Replicas...)) > 0 || len(without(p.Removing, p.Replicas...)) > 0 || len(within(p.Adding, p.Removing)) > 0:
		return fmt.Errorf("adding and removing are different replicas")
	case len(target(p)) == 0 || len(target(p)) > metadata.ReplicasMax || p.Settled() < 1:
		return fmt.Errorf("too few or too many replicas are meant to stay")
	}
	return nil
}

// CheckStep returns the first thing that one change can't have done: epochs,
// incarnations and IDs only rise, and they rise whenever they must.
func CheckStep(before, after *metadata.Image) error {
	if after.NextID < before.NextID || before.Site != "" && after.Site != before.Site {
		return fmt.Errorf("the next node ID fell from %d to %d, or the site %q became %q", before.NextID, after.NextID, before.Site, after.Site)
	}
	for n, b := range before.Members {
		if a, ok := after.Members[n]; ok && (a.Incarnation < b.Incarnation || a.Name != b.Name) {
			return fmt.Errorf("member %s in incarnation %d became %s in %d", b.Name, b.Incarnation, a.Name, a.Incarnation)
		}
	}
	for name, b := range before.Streams {
		a := after.Streams[name]
		if a == nil || a.ID != b.ID {
			continue
		}
		if len(a.Partitions) < len(b.Partitions) {
			return fmt.Errorf("stream %q lost partitions", name)
		}
		for i := range b.Partitions {
			if err := checkEpochs(&b.Partitions[i], &a.Partitions[i]); err != nil {
				return fmt.Errorf("%s/%d: %+v became %+v: %w", name, i, b.Partitions[i], a.Partitions[i], err)
			}
			if err := checkDrainer(before, after, metadata.PartitionID{Stream: name, Partition: int32(i)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkDrainer: two gateways never drain a partition in the same epochs.
func checkDrainer(before, after *metadata.Image, id metadata.PartitionID) error {
	was, term, epoch := before.Drainer(id)
	is, nextTerm, next := after.Drainer(id)
	switch {
	case next < epoch || next > epoch+1:
		return fmt.Errorf("%s: the drain epoch went from %d to %d", id, epoch, next)
	case was != is && term == nextTerm && epoch == next:
		return fmt.Errorf("%s was drained by %d and is by %d, both in epochs %d and %d", id, was, is, term, epoch)
	}
	return nil
}

func checkEpochs(b, a *metadata.PartitionState) error {
	term, version := a.LeaderEpoch-b.LeaderEpoch, a.PartitionEpoch-b.PartitionEpoch
	switch changed := !same(b, a) || term != 0; {
	case term < 0 || term > 1 || version < 0 || version > 1:
		return fmt.Errorf("an epoch fell, or rose twice")
	case changed != (version == 1):
		return fmt.Errorf("the partition epoch counts changes")
	case a.Leader != b.Leader && term == 0:
		return fmt.Errorf("another leader in the same epoch")
	case a.Unclean < b.Unclean || a.Unclean > b.Unclean && (term == 0 || len(a.ISR) != 1):
		return fmt.Errorf("an unclean election begins an epoch with one replica")
	case a.Unclean == b.Unclean && len(b.ISR) > 0 && len(a.ISR) > 0 && len(b.Removing) == 0 && !slices.ContainsFunc(a.ISR, b.InISR):
		return fmt.Errorf("nobody who was in sync still is")
	case a.Unclean == b.Unclean && len(b.ISR) == 0 && len(a.ISR) > 0:
		return fmt.Errorf("somebody came in sync without a leader")
	}
	return nil
}
