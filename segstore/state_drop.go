package segstore

import (
	"encoding/binary"
	"slices"
	"strings"
)

// dropMark begins the key of a fact that says of others, whose keys begin with what
// follows, up to which version they were dropped. Copies of them lie in segments until
// those are written over, and would be found again at every start.
const dropMark = "dropped:"

// Keys returns the keys that begin with prefix, sorted.
func (s *State) Keys(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for key := range s.entries {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Drop forgets, durably, the facts whose keys begin with prefix and that gone names,
// and returns how many. Those that stay are written anew, so this is for what is rare.
// A prefix costs a fact for good: it is one of a few, known when the program is written.
// Nobody may PutSync one of them at the same time.
func (s *State) Drop(prefix string, gone func(key string) bool) (int, error) {
	s.mu.Lock()
	up := binary.BigEndian.AppendUint64(nil, s.version)
	if err := s.set(dropMark+prefix, up); err != nil {
		s.mu.Unlock()
		return 0, err
	}
	s.drops[prefix] = binary.BigEndian.Uint64(up)
	kvs, n := []KV{s.entries[dropMark+prefix].kv()}, 0
	for key, e := range s.entries {
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		if gone(key) {
			delete(s.entries, key)
			delete(s.dirty, key)
			kvs = append(kvs, KV{bucketState, key, nil})
			n++
			continue
		}
		s.version++
		e.Version = s.version
		s.entries[key] = e
		kvs = append(kvs, e.kv())
	}
	s.mu.Unlock()
	return n, s.meta.Put(kvs...)
}

// dropped takes up a mark, and says whether a fact that was found is older than one.
func (s *State) dropped(e stateEntry) bool {
	if prefix, ok := strings.CutPrefix(e.Key, dropMark); ok && len(e.Value) == 8 {
		s.drops[prefix] = max(s.drops[prefix], binary.BigEndian.Uint64(e.Value))
		for key, was := range s.entries { // found before the mark
			if strings.HasPrefix(key, prefix) && was.Version <= s.drops[prefix] {
				delete(s.entries, key)
			}
		}
	}
	for prefix, up := range s.drops {
		if strings.HasPrefix(e.Key, prefix) && e.Version <= up {
			return true
		}
	}
	return false
}
