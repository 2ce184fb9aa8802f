package segstore

import (
	"encoding/binary"
	"slices"
	"strings"

	"cistern/gossip/metadata"
)

// Keys in the store's bucket of the metadata file.
const (
	keyCleanStop = "clean"    // number and end of every log, as Close left them; gone while the store is open
	keyUnclean   = "unclean"  // names of partitions, a line each
	keyDamaged   = "damaged/" // and the name of a lane
)

// Unclean returns the partitions of which flash lost, or may have lost, what it
// had confirmed: a card that lied about a flush, damage in the journal, a lost
// metadata file. A gateway must not count as in sync in them, whatever its logs
// say. They stay so over restarts, until ForgetUnclean.
//
// It is proof, not prophecy: a loss that left no trace is not seen.
func (s *Store) Unclean() []metadata.PartitionID {
	var out []metadata.PartitionID
	for _, g := range s.Logs() {
		if g.unclean.Load() || g.lane.damaged.Load() {
			out = append(out, g.id)
		}
	}
	return out
}

// ForgetUnclean is to be called when those who keep the other copies know, and
// count this gateway's as new.
func (s *Store) ForgetUnclean() error {
	gone := []KV{{Bucket: bucketStore, Key: keyUnclean}}
	for _, l := range s.lanes {
		gone = append(gone, KV{Bucket: bucketStore, Key: keyDamaged + l.name()})
	}
	if err := s.meta.Put(gone...); err != nil {
		return err
	}
	for _, g := range s.Logs() {
		g.unclean.Store(false)
	}
	for _, l := range s.lanes {
		l.damaged.Store(false)
	}
	return nil
}

// cleanStop is what Close leaves for judge. A lane that is latched may hold more
// than was confirmed, or less, if that was a truncation.
func (s *Store) cleanStop() KV {
	b := []byte{}
	for _, g := range s.Logs() {
		if g.lane.isLatched.Load() {
			continue
		}
		b = binary.BigEndian.AppendUint32(b, g.ref)
		b = binary.BigEndian.AppendUint64(b, uint64(g.EndOffset()))
	}
	return KV{bucketStore, keyCleanStop, b}
}

// judge holds what was recovered against what is known of it from elsewhere: no
// log may end before the end that a clean stop noted, nor before a leader epoch
// that began there, since what is noted before a commit begins at most where the
// one before it ended. It returns what it found, to be kept.
func (s *Store) judge() (verdict []KV, err error) {
	ends, names := map[uint32]int64{}, map[string]bool{}
	err = s.meta.Each(bucketStore, func(key string, v []byte) error {
		switch {
		case key == keyUnclean:
			for name := range strings.Lines(string(v)) {
				names[strings.TrimSpace(name)] = true
			}
		case key == keyCleanStop:
			for ; len(v) >= 12; v = v[12:] {
				ends[binary.BigEndian.Uint32(v)] = int64(binary.BigEndian.Uint64(v[4:]))
			}
			s.opened.Clean = true
			verdict = append(verdict, KV{Bucket: bucketStore, Key: key})
		case strings.HasPrefix(key, keyDamaged):
			if i := slices.Index(metadata.Lanes, key[len(keyDamaged):]); i >= 0 {
				s.lanes[i].damaged.Store(true)
			}
		}
		return nil
	})
	var found []byte
	for _, g := range s.Logs() {
		known := ends[g.ref]
		if n := len(g.epochs); n > 0 {
			known = max(known, g.epochs[n-1].Start)
		}
		if known > g.end {
			s.log.Error("flash lost confirmed records: the log ends too early", "partition", g.id, "end", g.end, "knownEnd", known)
		}
		if known > g.end || names[g.id.String()] || s.metaLost {
			g.unclean.Store(true)
			found = append(append(found, g.id.String()...), '\n')
		}
	}
	if found != nil {
		verdict = append(verdict, KV{bucketStore, keyUnclean, found})
	}
	return verdict, err
}
