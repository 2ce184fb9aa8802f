package segstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"sync"

	"cistern/segstore/segment"
)

// Limits of small facts.
const (
	StateKeyMax   = 512     // bytes
	StateValueMax = 2 << 10 // bytes
	StateKeysMax  = 16 << 10
)

// State keeps small facts that change often, such as how far a partition was
// drained. A fact that was Put rides as a frame in the padding of a commit
// that happens anyway: it costs no page and no flush, and a crash may lose the
// latest values, never an older one. PutSync is for what must be durable now.
//
// Every change has a version, rising over the life of the store; of several
// copies found after a crash (in segments, snapshots, the metadata file) the
// one with the highest version counts.
type State struct {
	meta Meta
	log  *slog.Logger

	mu      sync.Mutex
	entries map[string]stateEntry
	dirty   map[string]struct{}
	drops   map[string]uint64 // by prefix: what is not newer was dropped
	version uint64
}

type stateEntry struct {
	_msgpack struct{} `msgpack:",as_array"` //lint:ignore U1000 msgpack reads the tag
	Version  uint64
	Key      string
	Value    []byte
}

func newState(meta Meta, log *slog.Logger) *State {
	return &State{meta: meta, log: log, entries: map[string]stateEntry{}, dirty: map[string]struct{}{}, drops: map[string]uint64{}}
}

// Get returns the value of key, nil when there is none. Do not change it.
func (s *State) Get(key string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries[key].Value
}

// Put sets key; it is durable with one of the next commits, or at Close. A fact
// beyond the limits is not kept, and that is said in the log.
func (s *State) Put(key string, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.set(key, value); err != nil {
		s.log.Error("not kept", "error", err)
		return
	}
	s.dirty[key] = struct{}{}
}

// PutSync sets key and returns when it is durable. After an error Get returns
// the new value, which may become durable later, or never.
func (s *State) PutSync(key string, value []byte) error {
	s.mu.Lock()
	err := s.set(key, value)
	e := s.entries[key]
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.meta.Put(e.kv())
}

var errStateLimits = errors.New("key or value is larger than allowed, or there are too many keys")

func (s *State) set(key string, value []byte) error {
	_, known := s.entries[key]
	if len(key) > StateKeyMax || len(value) > StateValueMax || !known && len(s.entries) >= StateKeysMax {
		return fmt.Errorf("state %q: %w", key, errStateLimits)
	}
	s.version++
	s.entries[key] = stateEntry{Version: s.version, Key: key, Value: append([]byte{}, value...)}
	return nil
}

func (e stateEntry) kv() KV {
	return KV{bucketState, e.Key, append(binary.BigEndian.AppendUint64(nil, e.Version), e.Value...)}
}

// load takes in a copy found on flash.
func (s *State) load(e stateEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = max(s.version, e.Version)
	if s.dropped(e) {
		return
	}
	if e.Version >= s.entries[e.Key].Version {
		s.entries[e.Key] = e
	}
}

// loadMeta takes in what PutSync and clean stops left.
func (s *State) loadMeta() error {
	return s.meta.Each(bucketState, func(key string, v []byte) error {
		if len(v) < 8 {
			return fmt.Errorf("metadata state/%s: %d bytes, at least 8 expected", key, len(v))
		}
		s.load(stateEntry{Version: binary.BigEndian.Uint64(v), Key: key, Value: v[8:]})
		return nil
	})
}

// saveAll makes every change durable in one transaction, together with more.
func (s *State) saveAll(more ...KV) error {
	s.mu.Lock()
	var kvs []KV
	for key := range s.dirty {
		kvs = append(kvs, s.entries[key].kv())
	}
	s.mu.Unlock()
	if err := s.meta.Put(append(kvs, more...)...); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, kv := range kvs {
		if s.entries[kv.Key].Version == binary.BigEndian.Uint64(kv.Value) {
			delete(s.dirty, kv.Key)
		}
	}
	return nil
}

// all returns every entry, sorted by key, for a snapshot.
func (s *State) all() []stateEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]stateEntry, 0, len(s.entries))
	for _, e := range s.entries {
		out = append(out, e)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Key < out[j].Key })
	return out
}

// ride fills up to slack bytes of a commit with changed facts and returns
// which; the caller gives them to unride when the commit fails.
func (s *State) ride(enc *segment.Encoder, slack int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for key := range s.dirty {
		e := s.entries[key]
		if need := segment.FrameHeaderLen + 10 + len(key) + len(e.Value); need <= slack {
			slack -= need
			enc.End(appendStateFrame(enc.Begin(segment.FrameState, 0), e))
			keys = append(keys, key)
		}
	}
	for _, key := range keys {
		delete(s.dirty, key)
	}
	return keys
}

func (s *State) unride(keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		if _, known := s.entries[key]; known { // it was not dropped meanwhile
			s.dirty[key] = struct{}{}
		}
	}
}

func appendStateFrame(b []byte, e stateEntry) []byte {
	b = binary.BigEndian.AppendUint64(b, e.Version)
	b = binary.BigEndian.AppendUint16(b, uint16(len(e.Key)))
	return append(append(b, e.Key...), e.Value...)
}

func parseStateFrame(b []byte) (stateEntry, error) {
	if len(b) < 10 || len(b)-10 < int(binary.BigEndian.Uint16(b[8:])) {
		return stateEntry{}, errors.New("state frame is too short")
	}
	n := 10 + int(binary.BigEndian.Uint16(b[8:]))
	return stateEntry{Version: binary.BigEndian.Uint64(b), Key: string(b[10:n]), Value: append([]byte{}, b[n:]...)}, nil
}
