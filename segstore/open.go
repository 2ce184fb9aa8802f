package segstore

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"cistern/gossip/boltfile"
	"cistern/gossip/metadata"
	"cistern/segstore/segment"
	"cistern/segstore/vfs"

	"github.com/vmihailenco/msgpack/v5"
)

// OpenReport says what opening found and did.
type OpenReport struct {
	Segments int           // live ones
	Scanned  int           // of these, read from front to back
	Damaged  int           // places where flash lost what it had confirmed
	Clean    bool          // the store was closed, and nothing was written since
	Took     time.Duration // wall clock
}

// Opened returns what the last Open found.
func (s *Store) Opened() OpenReport { return s.opened }

// Names in a store's folder.
const (
	lockFile = "lock"
	metaFile = "meta.db"
)

// Open opens the store in cfg.Dir, or makes one. After a crash it reads one
// page of every sealed segment and scans the last segment of each lane; what a
// power cut tore off there was never confirmed. It fails with ErrInUse when
// another process has the store.
func Open(cfg Config) (*Store, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	began := time.Now()
	s := &Store{
		cfg: cfg, fs: cfg.FS, log: cfg.Logger,
		streams: map[string]metadata.StreamConfig{}, logs: map[metadata.PartitionID]*Log{}, refs: map[uint32]*Log{},
		segments: map[uint64]*segmentInfo{}, births: map[uint64]uint32{}, order: make([][]uint64, len(metadata.Lanes)),
		reclaim:  make(chan struct{}, 1),
		monoBase: cfg.Clock.Mono(),
	}
	for i := range metadata.Lanes {
		s.lanes = append(s.lanes, newLane(s, uint8(i)))
	}
	s.index = newIndexCache(s.loadIndex)
	if err := s.open(); err != nil {
		s.abandon()
		return nil, fmt.Errorf("open store %s: %w", cfg.Dir, err)
	}
	s.opened.Segments, s.opened.Damaged, s.opened.Took = len(s.segments), int(s.stats.damaged.Load()), time.Since(began)
	for _, l := range s.lanes {
		go l.run()
	}
	return s, nil
}

func (s *Store) open() error {
	if err := s.fs.MkdirAll(s.cfg.segmentDir()); err != nil {
		return err
	}
	// The folders' names must be as durable as what will be in them.
	if err := errors.Join(s.fs.SyncDir(s.cfg.Dir), s.fs.SyncDir(filepath.Dir(s.cfg.Dir))); err != nil {
		return err
	}
	var err error
	if s.lock, err = s.fs.Lock(filepath.Join(s.cfg.Dir, lockFile)); err != nil {
		if errors.Is(err, vfs.ErrLocked) {
			return ErrInUse
		}
		return err
	}
	if err := s.openMeta(filepath.Join(s.cfg.Dir, metaFile)); err != nil {
		return err
	}
	s.state = newState(s.meta, s.log)
	if err := errors.Join(s.loadIdentity(), s.loadStreams(), s.loadEpochs(), s.state.loadMeta()); err != nil {
		return err
	}
	return s.recover()
}

// openMeta opens the metadata file. One that flash has damaged is as good as
// lost: it is set aside, and the journal knows most of what was in it.
func (s *Store) openMeta(path string) error {
	var err error
	s.meta, err = s.cfg.Meta(path)
	if !errors.Is(err, boltfile.ErrDamaged) {
		return err
	}
	aside, failure := boltfile.SetAside(path)
	if failure != nil {
		return errors.Join(err, failure)
	}
	s.log.Error("the metadata file is damaged; a new one is made from the journal, and all that is stored counts as unclean", "error", err, "kept", aside)
	s.meta, err = s.cfg.Meta(path)
	return err
}

// abandon lets go of what a failed open took.
func (s *Store) abandon() {
	var closers []io.Closer
	if s.lock != nil {
		closers = append(closers, s.lock)
	}
	if s.meta != nil {
		closers = append(closers, s.meta)
	}
	for _, l := range s.lanes {
		if l.file != nil {
			closers = append(closers, l.file)
		}
	}
	for _, c := range closers {
		c.Close()
	}
	if s.files != nil {
		s.files.closeAll()
	}
}

// loadIdentity reads or makes the store's ID, and begins a new incarnation.
func (s *Store) loadIdentity() error {
	found := map[string][]byte{}
	if err := s.meta.Each(bucketStore, func(k string, v []byte) error {
		found[k] = v
		return nil
	}); err != nil {
		return err
	}
	if copy(s.id[:], found["id"]) == 0 {
		if err := s.newIdentity(); err != nil {
			return err
		}
	}
	if b := found["incarnation"]; len(b) == 8 {
		s.incarnation = binary.BigEndian.Uint64(b)
	}
	s.incarnation++
	return s.meta.Put(KV{bucketStore, "id", s.id[:]},
		KV{bucketStore, "incarnation", binary.BigEndian.AppendUint64(nil, s.incarnation)})
}

// newIdentity takes the store ID from the first segment that has one: then the
// metadata file was lost, and the journal knows most of what was in it. A new
// store draws an ID.
func (s *Store) newIdentity() error {
	names, err := s.fs.List(s.cfg.segmentDir())
	if err != nil {
		return err
	}
	for _, name := range names {
		slot, ok := parseSlotName(name)
		if !ok {
			continue
		}
		var h segment.Header
		err := readSlot(s.fs, filepath.Join(s.cfg.segmentDir(), slotName(slot)), func(f vfs.File, size int64) (err error) {
			h, err = readHeader(f, size)
			return err
		})
		if err == nil {
			s.log.Warn("the metadata file is new but there are segments: identity taken from them", "file", name)
			s.id, s.metaLost = h.Store, true
			return nil
		}
	}
	_, err = rand.Read(s.id[:])
	return err
}

// readSlot opens a segment file for the time of fn.
func readSlot(fsys vfs.FS, path string, fn func(f vfs.File, size int64) error) error {
	f, err := fsys.OpenRead(path)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	return fn(f, size)
}

func (s *Store) loadStreams() error {
	return s.meta.Each(bucketStreams, func(name string, v []byte) error {
		var rec streamRecord
		if err := msgpack.Unmarshal(v, &rec); err != nil {
			return fmt.Errorf("metadata streams/%s: %w", name, err)
		}
		if err := rec.Config.Validate(); err != nil {
			return fmt.Errorf("metadata streams/%s: %w", name, err)
		}
		s.adopt(rec)
		return nil
	})
}

// found is a slot as the first look at it says.
type found struct {
	slot    uint32
	size    int64
	id      uint64
	first   uint64
	last    uint64
	age     int64
	lane    uint8
	sealed  bool
	holds   []holding // of sealed ones
	spare   bool      // never used
	damaged error     // neither header nor footer can be read
}

const openWorkers = 8 // small reads of slow cards overlap a little

// recover takes stock of the slots and brings every lane to its end.
func (s *Store) recover() error {
	slots, err := s.look()
	if err != nil {
		return err
	}
	s.files = newFileCache(func(slot uint32) (vfs.File, error) { return s.fs.OpenRead(s.pool.path(slot)) })
	byLane := make([][]found, len(s.lanes))
	taken := map[uint32]found{}
	for _, f := range slots {
		taken[f.slot] = f
		switch {
		case f.spare:
			s.recycle(f)
		case f.damaged != nil:
			s.log.Error("a segment file can't be identified; it is left alone", "file", slotName(f.slot), "error", f.damaged)
		case int(f.lane) >= len(s.lanes):
			return fmt.Errorf("%s is of lane %d, this version knows %d lanes: it was written by a newer one", slotName(f.slot), f.lane, len(s.lanes))
		default:
			byLane[f.lane] = append(byLane[f.lane], f)
			s.nextID = max(s.nextID, f.id)
		}
	}
	if err := s.recoverLanes(byLane, taken); err != nil {
		return err
	}
	verdict, err := s.judge()
	if err != nil {
		return err
	}
	if err := s.settleLogs(); err != nil {
		return err
	}
	s.loadPatches()
	lines, err := s.settleEpochs()
	if err != nil {
		return err
	}
	return s.meta.Put(append(lines, verdict...)...)
}

// recycle gives a slot that holds nothing to the pool.
func (s *Store) recycle(f found) {
	if f.size == s.cfg.SegmentBytes {
		s.pool.put(f.slot)
	} else {
		s.pool.discard(f.slot, f.size) // made when segments had another size
	}
}

// recoverLanes replays the last segment of every lane, learns from the newest
// of them which others are live, and takes those in.
func (s *Store) recoverLanes(byLane [][]found, taken map[uint32]found) error {
	var newest *replay
	last := make([]*replay, len(s.lanes))
	for i, l := range s.lanes {
		slices.SortFunc(byLane[i], func(a, b found) int { return cmp.Compare(a.id, b.id) })
		var err error
		if last[i], err = l.replayLast(byLane[i]); err != nil {
			return fmt.Errorf("lane %s: %w", l.name(), err)
		}
		if last[i] != nil && (newest == nil || last[i].snapshotID > newest.snapshotID) {
			newest = last[i]
		}
	}
	if newest == nil {
		return nil
	}
	expired, err := s.expiredBefore(newest, taken)
	if err != nil {
		return err
	}
	for i, l := range s.lanes {
		if last[i] == nil {
			continue
		}
		if err := l.adopt(byLane[i], last[i], expired); err != nil {
			return fmt.Errorf("lane %s: %w", l.name(), err)
		}
	}
	return nil
}

// look reads the trailer or header of every segment file.
func (s *Store) look() ([]found, error) {
	dir := s.cfg.segmentDir()
	names, err := s.fs.List(dir)
	if err != nil {
		return nil, err
	}
	s.pool = &pool{fs: s.fs, dir: dir, size: s.cfg.SegmentBytes}
	var out []found
	for _, name := range names {
		if slot, ok := parseSlotName(name); ok {
			out = append(out, found{slot: slot})
			s.pool.nextSlot = max(s.pool.nextSlot, slot+1)
		} else if number, ok := parsePatchName(name); ok {
			s.patches.found = append(s.patches.found, number)
		} else if strings.HasSuffix(name, tmpSuffix) { // being made when power went
			if err := s.fs.Remove(filepath.Join(dir, name)); err != nil {
				return nil, err
			}
		}
	}
	errs := make([]error, openWorkers)
	var wg sync.WaitGroup
	for w := range openWorkers {
		wg.Go(func() {
			for i := w; i < len(out) && errs[w] == nil; i += openWorkers {
				errs[w] = s.lookAt(&out[i])
			}
		})
	}
	wg.Wait()
	for _, f := range out {
		s.pool.total += f.size
	}
	if s.pool.maxBytes, err = s.maxBytes(s.pool.total); err != nil {
		return nil, err
	}
	return out, errors.Join(errs...)
}

func (s *Store) lookAt(f *found) error {
	file, err := s.fs.OpenRead(s.pool.path(f.slot))
	if err != nil {
		return err
	}
	defer file.Close()
	if f.size, err = file.Size(); err != nil {
		return err
	}
	if f.size < 2*segment.PageSize {
		f.damaged = fmt.Errorf("the file has only %d bytes", f.size)
		return nil
	}
	if footer, err := readFooter(file, f.size, false); err == nil {
		f.id, f.first, f.last, f.age, f.lane, f.sealed = footer.SegmentID, footer.FirstSeq, footer.LastSeq, footer.AgeMillis, footer.Lane, true
		f.holds = summarize(footer.Index)
		return nil
	}
	page := make([]byte, segment.PageSize)
	if _, err := file.ReadAt(page, 0); err != nil {
		return err
	}
	h, err := s.header(file, f.size)
	switch {
	case errors.Is(err, segment.ErrNotWritten) && allZero(page):
		f.spare = true
	case err != nil:
		f.damaged = err
	default:
		f.id, f.first, f.lane = h.ID, h.FirstSeq, h.Lane
		if h.Store != s.id {
			return fmt.Errorf("%s: %w: move it away, or restore the metadata file it belongs to", slotName(f.slot), ErrForeign)
		}
	}
	return nil
}

// holding is what a footer's summary says of one partition, as opening needs
// it. There is one for each partition of each segment, for as long as opening
// takes.
type holding struct {
	ref                            uint32
	base, next, bytes, truncatedTo int64
}

func summarize(x segment.Index) []holding {
	out := make([]holding, 0, len(x))
	for ref, e := range x {
		out = append(out, holding{ref, e.Base, e.Next, e.Bytes, e.TruncatedTo})
	}
	return out
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
