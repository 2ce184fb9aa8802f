package segstore

import (
	"cmp"
	"slices"
	"sort"
)

// addSegment and removeSegment keep the list of live segments.
func (s *Store) addSegment(seg *segmentInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.births, seg.id)
	s.segments[seg.id] = seg
	s.order[seg.lane] = append(s.order[seg.lane], seg.id)
}

func (s *Store) removeSegment(seg *segmentInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.segments, seg.id)
	ids := s.order[seg.lane]
	i := sort.Search(len(ids), func(i int) bool { return ids[i] >= seg.id })
	s.order[seg.lane] = append(ids[:i:i], ids[i+1:]...)
}

func (s *Store) segment(id uint64) *segmentInfo {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.segments[id]
}

// segmentFrom returns the oldest live segment of a lane with this ID or a
// higher one, nil when there is none.
func (s *Store) segmentFrom(lane uint8, id uint64) *segmentInfo {
	s.mu.RLock()
	defer s.mu.RUnlock()
	ids := s.order[lane]
	i := sort.Search(len(ids), func(i int) bool { return ids[i] >= id })
	if i == len(ids) {
		return nil
	}
	return s.segments[ids[i]]
}

// live lists the segments of all lanes, for a snapshot: also those that are
// begun and may be confirmed before it.
func (s *Store) live() []snapSegment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]snapSegment, 0, len(s.segments)+len(s.births))
	for id, seg := range s.segments {
		out = append(out, snapSegment{ID: id, Slot: seg.slot})
	}
	for id, slot := range s.births {
		out = append(out, snapSegment{ID: id, Slot: slot, Begun: true})
	}
	slices.SortFunc(out, func(a, b snapSegment) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// newSegmentID gives a segment that begins in slot its ID.
func (s *Store) newSegmentID(slot uint32) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextID++
	s.births[s.nextID] = slot
	return s.nextID
}
