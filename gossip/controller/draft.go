package controller

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"cistern/gossip/metadata"
)

// draft is the image that one change makes. It copies what it touches, once:
// was stays as it is, whoever reads it meanwhile.
type draft struct {
	was, img *metadata.Image
	at       int64

	ownMembers, ownStreams, ownDrains, ownSources, ownClocks bool
}

func newDraft(img *metadata.Image, index uint64, at int64) *draft {
	next := *img
	next.Index = index
	return &draft{was: img, img: &next, at: at}
}

// own makes sure that a map may be written to. A snapshot may have left it nil.
func own[K comparable, V any](m *map[K]V, owned *bool) map[K]V {
	if !*owned {
		*m, *owned = maps.Clone(*m), true
	}
	if *m == nil {
		*m = map[K]V{}
	}
	return *m
}

func (d *draft) members() map[metadata.NodeID]metadata.Member {
	return own(&d.img.Members, &d.ownMembers)
}

func (d *draft) streams() map[string]*metadata.StreamState {
	return own(&d.img.Streams, &d.ownStreams)
}

func (d *draft) drains() map[metadata.PartitionID]metadata.Drain {
	return own(&d.img.Drains, &d.ownDrains)
}

func (d *draft) sources() map[string]metadata.NodeID {
	return own(&d.img.Sources, &d.ownSources)
}

func (d *draft) clocks() map[string]metadata.Clock {
	return own(&d.img.Clocks, &d.ownClocks)
}

// put makes next the state of a partition, finishes its reassignment if that
// can be, and gives it a leader if there can be one. Epochs are counted here
// and nowhere else: at most by one for a change, not at all when it changed
// nothing. newTerm asks for a leader epoch though the leader stays.
func (d *draft) put(id metadata.PartitionID, next metadata.PartitionState, newTerm bool) {
	old := d.was.Partition(id)
	next = d.led(finished(d.was.Streams[id.Stream].Config, next))
	if len(next.ISR) > 0 {
		next.LastISR, next.LastLost = nil, false
	}
	if !newTerm && same(old, &next) {
		return
	}
	next.LeaderEpoch = old.LeaderEpoch
	if newTerm || next.Leader != old.Leader {
		next.LeaderEpoch++
	}
	next.PartitionEpoch = old.PartitionEpoch + 1
	d.stream(id.Stream).Partitions[id.Partition] = next
	d.keepDrainer(id, &next)
}

// stream returns a stream that may be changed. Its partitions still share
// their slices with the old one: replace them, never write into them.
func (d *draft) stream(name string) *metadata.StreamState {
	s := d.img.Streams[name]
	if s == d.was.Streams[name] {
		c := *s
		c.Partitions = slices.Clone(s.Partitions)
		s = &c
		d.streams()[name] = s
	}
	return s
}

// each calls f with every partition, by name, so that what depends on the order
// depends on it everywhere alike.
func each(img *metadata.Image, f func(id metadata.PartitionID, p *metadata.PartitionState)) {
	for _, name := range slices.Sorted(maps.Keys(img.Streams)) {
		for i := range img.Streams[name].Partitions {
			f(metadata.PartitionID{Stream: name, Partition: int32(i)}, &img.Streams[name].Partitions[i])
		}
	}
}

// byID returns the members that keep says, ordered.
func byID(img *metadata.Image, keep func(m *metadata.Member) bool) []metadata.Member {
	var out []metadata.Member
	for _, m := range img.Members {
		if keep(&m) {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b metadata.Member) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// same compares all but the epochs.
func same(a, b *metadata.PartitionState) bool {
	return a.Leader == b.Leader && a.LastLost == b.LastLost && a.Unclean == b.Unclean &&
		slices.Equal(a.Replicas, b.Replicas) && slices.Equal(a.ISR, b.ISR) && slices.Equal(a.LastISR, b.LastISR) &&
		slices.Equal(a.Adding, b.Adding) && slices.Equal(a.Removing, b.Removing)
}

func (d *draft) name(n metadata.NodeID) string {
	if m, ok := d.img.Members[n]; ok {
		return m.Name
	}
	return fmt.Sprintf("node %d", n)
}

// without returns those of list that are not in out, in a new slice.
func without(list []metadata.NodeID, out ...metadata.NodeID) []metadata.NodeID {
	var kept []metadata.NodeID
	for _, n := range list {
		if !slices.Contains(out, n) {
			kept = append(kept, n)
		}
	}
	return kept
}

// within returns those of list that are in set, in the order of list.
func within(list, set []metadata.NodeID) []metadata.NodeID {
	var kept []metadata.NodeID
	for _, n := range list {
		if slices.Contains(set, n) {
			kept = append(kept, n)
		}
	}
	return kept
}

func hasDuplicates(list []metadata.NodeID) bool {
	for i, n := range list {
		if slices.Contains(list[:i], n) {
			return true
		}
	}
	return false
}
