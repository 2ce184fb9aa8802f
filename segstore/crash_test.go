package segstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sort"
	"testing"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/vfs"
)

// memMeta is a Meta that lives as long as the device does. A Put that is cut
// off happened or not, as with any atomic store; those after it did not.
type memMeta struct {
	fs   vfs.FS
	off  bool
	rng  *rand.Rand
	data map[string]map[string][]byte
}

func newMemMeta() *memMeta { return &memMeta{data: map[string]map[string][]byte{}} }

func (m *memMeta) Put(kvs ...KV) error {
	if len(kvs) == 0 {
		return nil
	}
	err := m.fs.SyncDir("store") // an operation that can be cut
	if err != nil {
		wasOff := m.off
		if m.off = true; wasOff || m.rng.IntN(2) == 0 {
			return err
		}
	}
	for _, kv := range kvs {
		if m.data[kv.Bucket] == nil {
			m.data[kv.Bucket] = map[string][]byte{}
		}
		if m.data[kv.Bucket][kv.Key] = append([]byte(nil), kv.Value...); kv.Value == nil {
			delete(m.data[kv.Bucket], kv.Key)
		}
	}
	return err
}

func (m *memMeta) Each(bucket string, fn func(string, []byte) error) error {
	var keys []string
	for k := range m.data[bucket] {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		if err := fn(k, m.data[bucket][k]); err != nil {
			return err
		}
	}
	return nil
}

func (m *memMeta) Close() error { return nil }

// model is what was confirmed, and what was only tried.
type model struct {
	confirmed [3][]string // by partition, from offset 0
	drained   [3]int64
	// The step that was cut off may have happened, in part.
	trying   [3][]string
	cuttingP int // partition being truncated, -1
	cuttingN int
	state    int // what State "n" was put to last
}

const crashPartitions = 3

// script is a run of everything a journal does: appends small and large to
// several partitions, rolls, truncations, retention, recycling, small facts, a
// clean stop and a second start. It ends at the first error.
func script(fsys vfs.FS, meta *memMeta, m *model) (err error) {
	cfg := crashConfig(fsys, meta)
	for start := range 2 {
		s, err := Open(cfg)
		if err != nil {
			return err
		}
		err = m.run(s, start)
		if cerr := s.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func crashConfig(fsys vfs.FS, meta *memMeta) Config {
	meta.fs, meta.off = fsys, false
	mono := time.Duration(0)
	return Config{Dir: "store", FS: fsys, SegmentBytes: SegmentBytesMin, MaxBytes: 8 * SegmentBytesMin,
		Meta: func(string) (Meta, error) { return meta, nil },
		Clock: Clock{Wall: func() time.Time { return time.UnixMilli(0) },
			Mono: func() time.Duration { mono += time.Millisecond; return mono }}}
}

func (m *model) run(s *Store, start int) error {
	c := testStream("a", crashPartitions-1)
	c.RetentionBytes = 2 * SegmentBytesMin
	b := testStream("b", 1)
	b.Lane, b.RetentionBytes = "alarm", SegmentBytesMin
	if err := errors.Join(s.PutStream(c), s.PutStream(b)); err != nil {
		return err
	}
	for p := range crashPartitions {
		s.Log(pid(p)).SetDrained(m.drained[p])
	}
	for step := range 34 {
		m.state = start*1000 + step
		s.State().Put("n", fmt.Append(nil, m.state))
		var err error
		switch {
		case step == 9 || step == 22:
			p := step % 2
			err = m.truncate(s, p, max(len(m.confirmed[p])-2, int(s.Log(pid(p)).StartOffset())))
		case step%5 == 4: // drained up to here: let retention recycle
			for p := range crashPartitions {
				m.drained[p] = int64(len(m.confirmed[p]))
				s.Log(pid(p)).SetDrained(m.drained[p])
			}
			s.retain()
		default:
			err = m.append(s, step, []int{300, 9000, 20000}[step%3])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// pid names the partitions: two of stream a, and one of stream b, in a lane of
// its own.
func pid(p int) metadata.PartitionID {
	if p == crashPartitions-1 {
		return metadata.PartitionID{Stream: "b"}
	}
	return metadata.PartitionID{Stream: "a", Partition: int32(p)}
}

func (m *model) append(s *Store, step, size int) error {
	for _, lane := range [][]int{{0, 1}, {2}} {
		m.trying, m.cuttingP = [3][]string{}, -1
		var entries []Entry
		for _, p := range lane[:1+step%len(lane)] {
			v := fmt.Sprintf("%d-%d-%0*d", p, len(m.confirmed[p]), size, step)
			m.trying[p] = []string{v}
			entries = append(entries, Entry{Log: s.Log(pid(p)), Batch: makeBatch(&testing.T{}, v)})
		}
		if _, err := s.Commit(entries...); err != nil {
			return err
		}
		for p, v := range m.trying {
			m.confirmed[p] = append(m.confirmed[p], v...)
		}
		m.trying = [3][]string{}
	}
	return nil
}

func (m *model) truncate(s *Store, p, to int) error {
	m.trying, m.cuttingP, m.cuttingN = [3][]string{}, p, to
	if _, err := s.Commit(Entry{Log: s.Log(pid(p)), Truncate: true, Offset: int64(to)}); err != nil {
		return err
	}
	m.confirmed[p] = m.confirmed[p][:to]
	m.drained[p] = min(m.drained[p], int64(to))
	m.cuttingP = -1
	return nil
}

// check opens what the device held and compares it with the model.
func (m *model) check(t *testing.T, fsys vfs.FS, meta *memMeta) {
	t.Helper()
	s, err := Open(crashConfig(fsys, meta))
	if err != nil {
		t.Fatalf("reopen: %v", err)
	}
	defer s.Close()
	if d, _ := s.Damage(); len(d) > 0 {
		t.Fatalf("reported as damaged: %v", d)
	}
	for p := range crashPartitions {
		g := s.Log(pid(p))
		if g == nil {
			if len(m.confirmed[p]) > 0 {
				t.Fatalf("partition %d is gone", p)
			}
			continue
		}
		want := m.confirmed[p]
		if m.cuttingP == p && int(g.EndOffset()) == m.cuttingN {
			want = want[:m.cuttingN]
		}
		want = append(want[:len(want):len(want)], m.trying[p]...)
		if end := int(g.EndOffset()); end < len(want)-len(m.trying[p]) || end > len(want) {
			t.Fatalf("partition %d ends at %d; %d were confirmed, %d more tried", p, end, len(want)-len(m.trying[p]), len(m.trying[p]))
		}
		if g.StartOffset() > m.drained[p] {
			t.Fatalf("partition %d starts at %d, drained were %d", p, g.StartOffset(), m.drained[p])
		}
		for i, v := range readValues(t, g, g.StartOffset()) {
			if at := int(g.StartOffset()) + i; v != want[at] {
				t.Fatalf("partition %d, offset %d holds %.20q, want %.20q", p, at, v, want[at])
			}
		}
	}
	// And it goes on from there.
	if err := s.PutStream(testStream("a", crashPartitions-1)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(Entry{Log: s.Log(pid(0)), Batch: makeBatch(t, "on we go")}); err != nil && !errors.Is(err, ErrFull) {
		t.Fatalf("append after recovery: %v", err)
	}
}

// TestPowerCutAtEveryOperation covers scenarios 24 and 25: the power goes at
// every single file operation of the script, with every fate for what was not
// synced, and sectors of 512 bytes and pages of 4 KiB torn.
func TestPowerCutAtEveryOperation(t *testing.T) {
	tears := []vfs.Tear{
		{Sector: 4096, Unsynced: vfs.Lost},
		{Sector: 4096, Unsynced: vfs.Kept},
		{Sector: 512, Unsynced: vfs.Mixed},
		{Sector: 4096, Unsynced: vfs.Mixed},
		{Sector: 512, Unsynced: vfs.Noisy},
	}
	whole := vfs.NewPowerCut()
	if err := script(whole, newMemMeta(), &model{}); err != nil {
		t.Fatalf("the script itself fails: %v", err)
	}
	total := whole.Ops()
	if total < 100 {
		t.Fatalf("the script has only %d operations", total)
	}
	step := int64(1)
	if testing.Short() {
		step = 7
	}
	for n := int64(0); n < total; n += step {
		for i, tear := range tears {
			if os.Getenv("CISTERN_THOROUGH") == "" && (n+int64(i))%3 != 0 {
				continue // a third of all; CI runs all
			}
			p, meta, m := vfs.NewPowerCut(), newMemMeta(), &model{}
			meta.rng = rand.New(rand.NewPCG(uint64(n), uint64(i)))
			p.CutAfter(n)
			err := script(p, meta, m)
			if !errors.Is(err, vfs.ErrPowerCut) && !errors.Is(err, ErrLatched) {
				t.Fatalf("cut after %d operations: the script ended with %v", n, err)
			}
			after := p.Crash(uint64(n)<<8|uint64(i), tear)
			if !t.Run(fmt.Sprintf("%s/%d/%d", p.CutAt(), n, i), func(t *testing.T) { m.check(t, after, meta) }) {
				return
			}
		}
	}
}

// TestPowerCutFindsMissingSync is the test of the test: a journal that does not
// sync must be caught.
func TestPowerCutFindsMissingSync(t *testing.T) {
	caught := 0
	for n := int64(20); n < 200; n += 10 {
		p, meta, m := vfs.NewPowerCut(), newMemMeta(), &model{}
		meta.rng = rand.New(rand.NewPCG(uint64(n), 0))
		p.CutAfter(n)
		_ = script(noSync{p}, meta, m)
		after := p.Crash(uint64(n), vfs.Tear{Sector: 4096, Unsynced: vfs.Lost})
		s, err := Open(crashConfig(after, meta))
		if err != nil {
			caught++
			continue
		}
		for part := range crashPartitions {
			if g := s.Log(pid(part)); g == nil && len(m.confirmed[part]) > 0 || g != nil && int(g.EndOffset()) < len(m.confirmed[part]) {
				caught++
				break
			}
		}
		s.Close()
	}
	if caught == 0 {
		t.Error("a journal that never syncs lost nothing: the double is no power cut")
	}
}

type noSync struct{ vfs.FS }

func (n noSync) Open(name string) (vfs.File, error) {
	f, err := n.FS.Open(name)
	return noSyncFile{f}, err
}

type noSyncFile struct{ vfs.File }

func (noSyncFile) Sync() error { return nil }

// TestRecyclingHappens makes sure the script recycles: otherwise the crash test
// tests less than it says.
func TestRecyclingHappens(t *testing.T) {
	p, meta, m := vfs.NewPowerCut(), newMemMeta(), &model{}
	if err := script(p, meta, m); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, crashConfig(p, meta))
	defer s.Close()
	if s.nextID <= uint64(s.pool.nextSlot) {
		t.Errorf("%d segments in %d slots: none was used twice", s.nextID, s.pool.nextSlot)
	}
	if s.Log(pid(0)).StartOffset() == 0 {
		t.Error("nothing has expired")
	}
	if n := s.State().Get("n"); len(n) == 0 {
		t.Error("no state was kept")
	}
}
