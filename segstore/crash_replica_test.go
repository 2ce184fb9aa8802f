package segstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"cistern/segstore/batch"
	"cistern/segstore/vfs"
)

// copyState is one partition's log as a follower's leader had it: one record a
// batch, so that every offset is a place to cut.
type copyState struct {
	start   int64
	records []copied
}

type copied struct {
	epoch int32
	value string
}

func (c copyState) end() int64 { return c.start + int64(len(c.records)) }

func (c copyState) with(r copied) copyState {
	c.records = append(slices.Clip(c.records), r)
	return c
}

func (c copyState) cut(to int64) copyState {
	c.records = slices.Clip(c.records[:to-c.start])
	return c
}

func (c copyState) lastEpoch() int32 {
	if len(c.records) == 0 {
		return 0
	}
	return c.records[len(c.records)-1].epoch
}

// epochs is the history that a log which begins at start now must tell.
func (c copyState) epochs(start int64) (want epochCache) {
	for i, r := range c.records {
		want.assign(r.epoch, c.start+int64(i))
	}
	return from(want, start)
}

// from returns what c says of the offsets from start on. Where an epoch began
// among records that have expired, a log may have forgotten.
func from(c epochCache, start int64) epochCache {
	c = slices.Clone(c)
	c.advance(start)
	if len(c) > 0 {
		c[0].Start = max(c[0].Start, start)
	}
	return c
}

// followerModel is what a follower was made to do: what was confirmed, and what
// the step that was cut off may have come to, per partition.
type followerModel struct {
	rng       *rand.Rand
	confirmed [crashPartitions]copyState
	possible  [crashPartitions][]copyState
	drained   [crashPartitions]int64
	epoch     int32

	intoSealed, restartsUp, restartsDown, olderEpochs int // what the script came to
}

func newFollowerModel(seed uint64) *followerModel {
	return &followerModel{rng: rand.New(rand.NewPCG(seed, 8)), epoch: 1}
}

const followerSteps = 28

// script is the life of a follower: copies of several leaders' batches,
// truncations small and large, restarts, retention, and starts of the process.
func (m *followerModel) script(fsys vfs.FS, meta *memMeta) error {
	for range 3 {
		s, err := Open(crashConfig(fsys, meta))
		if err != nil {
			return err
		}
		err = m.run(s)
		if cerr := s.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *followerModel) run(s *Store) error {
	a, b := testStream("a", crashPartitions-1), testStream("b", 1)
	a.RetentionBytes, b.RetentionBytes, b.Lane = SegmentBytesMin, SegmentBytesMin, "alarm"
	if err := errors.Join(s.PutStream(a), s.PutStream(b)); err != nil {
		return err
	}
	for p := range crashPartitions {
		g := s.Log(pid(p))
		g.Replicate(nil)
		g.SetHighWatermark(g.EndOffset())
		g.SetDrained(m.drained[p])
	}
	for range followerSteps {
		p := m.rng.IntN(crashPartitions)
		var err error
		switch m.rng.IntN(10) {
		case 0, 1:
			err = m.truncate(s, p)
		case 2:
			err = m.restart(s, p)
		case 3, 4:
			for p := range crashPartitions {
				g := s.Log(pid(p))
				m.drained[p] = max(m.drained[p], g.EndOffset()-int64(m.rng.IntN(3)))
				g.SetHighWatermark(g.EndOffset())
				g.SetDrained(m.drained[p])
			}
			s.retain()
		default:
			err = m.append(s, p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// commit does entries, all of partition p, after each of which the log is as
// states say.
func (m *followerModel) commit(s *Store, p int, states []copyState, entries ...Entry) error {
	m.possible[p] = states
	if _, err := s.Commit(entries...); err != nil {
		return err
	}
	m.confirmed[p], m.possible[p] = states[len(states)-1], nil
	m.drained[p] = s.Log(pid(p)).Drained()
	return nil
}

func (m *followerModel) append(s *Store, p int) error {
	now := m.confirmed[p]
	var states []copyState
	var entries []Entry
	for range 1 + m.rng.IntN(4) {
		epoch := m.epoch
		if last := now.lastEpoch(); last < epoch && m.rng.IntN(2) == 0 {
			epoch = max(last, 1) // what an older leader left
			m.olderEpochs++
		}
		if m.rng.IntN(4) == 0 {
			m.epoch++
		}
		v := fmt.Sprintf("%d-%d-%d-%0*d", p, now.end(), epoch, []int{100, 5000, 12000}[m.rng.IntN(3)], m.rng.IntN(1000))
		b := makeBatch(&testing.T{}, v)
		batch.Stamp(b, now.end(), epoch)
		now = now.with(copied{epoch, v})
		states = append(states, now)
		entries = append(entries, Entry{Log: s.Log(pid(p)), Batch: b, Verbatim: true})
	}
	return m.commit(s, p, states, entries...)
}

func (m *followerModel) truncate(s *Store, p int) error {
	g, now := s.Log(pid(p)), m.confirmed[p]
	to := max(g.StartOffset(), now.end()-int64(m.rng.IntN(20)))
	if seg := g.lane.active; seg != nil && len(g.extents) > 0 && to < g.extents[len(g.extents)-1].base {
		m.intoSealed++
	}
	m.epoch++
	return m.commit(s, p, []copyState{now.cut(to)}, Entry{Log: g, Truncate: true, Offset: to})
}

func (m *followerModel) restart(s *Store, p int) error {
	end := m.confirmed[p].end()
	at := max(0, end+int64(m.rng.IntN(60))-30)
	if at > end {
		m.restartsUp++
	} else {
		m.restartsDown++
	}
	next := copyState{start: at}
	if m.rng.IntN(2) == 0 {
		return m.commit(s, p, []copyState{next}, Entry{Log: s.Log(pid(p)), Restart: true, Offset: at})
	}
	// Batches of the new leader right behind it.
	v := fmt.Sprintf("%d-%d-anew", p, at)
	b := makeBatch(&testing.T{}, v)
	batch.Stamp(b, at, m.epoch)
	return m.commit(s, p, []copyState{next, next.with(copied{m.epoch, v})},
		Entry{Log: s.Log(pid(p)), Restart: true, Offset: at}, Entry{Log: s.Log(pid(p)), Batch: b, Verbatim: true})
}

// check holds a reopened store against what may have become of the script, and
// takes what it finds for confirmed.
func (m *followerModel) check(t *testing.T, s *Store) {
	t.Helper()
	if d, _ := s.Damage(); len(d) > 0 || len(s.Unclean()) > 0 {
		t.Fatalf("reported as damaged: %v, as unclean: %v", d, s.Unclean())
	}
	for p := range crashPartitions {
		may := append([]copyState{m.confirmed[p]}, m.possible[p]...)
		g := s.Log(pid(p))
		if g == nil {
			if len(m.confirmed[p].records) > 0 {
				t.Fatalf("%s is gone", pid(p))
			}
			continue
		}
		found := tell(t, g)
		i := slices.IndexFunc(may, func(c copyState) bool {
			return found.end() == c.end() && found.start >= c.start && slices.Equal(found.records, c.records[found.start-c.start:])
		})
		if i < 0 {
			t.Fatalf("%s holds %d to %d, which it never did; possible are %s", g.id, found.start, found.end(), brief(may))
		}
		// An empty log may have forgotten the epoch of what expired before it.
		forgot := len(found.records) == 0 && len(g.epochs) == 0
		if want := may[i].epochs(found.start); !slices.Equal(from(g.epochs, found.start), want) && !forgot {
			t.Fatalf("%s tells epochs %v, want %v", g.id, g.epochs, want)
		}
		if found.start > may[i].start && found.start > m.drained[p] {
			t.Fatalf("%s starts at %d, drained were %d", g.id, found.start, m.drained[p])
		}
		m.confirmed[p], m.possible[p] = may[i], nil
		m.drained[p] = max(found.start, min(m.drained[p], found.end()))
	}
}

func brief(states []copyState) (out []string) {
	for _, c := range states {
		out = append(out, fmt.Sprintf("%d to %d", c.start, c.end()))
	}
	return out
}

// tell reads a whole log.
func tell(t *testing.T, g *Log) (c copyState) {
	t.Helper()
	c.start = g.StartOffset()
	var buf []byte
	for c.end() < g.EndOffset() {
		var err error
		if buf, err = g.ReadPlaced(c.end(), buf[:0], 1<<20); err != nil || len(buf) == 0 {
			t.Fatalf("%s at %d of %d: %d bytes, %v", g.id, c.end(), g.EndOffset(), len(buf), err)
		}
		for rest := buf; len(rest) > 0; {
			h, err := batch.ParseHeader(rest)
			if err != nil || h.BaseOffset != c.end() {
				t.Fatalf("%s at %d: a batch at %d, %v", g.id, c.end(), h.BaseOffset, err)
			}
			var one []byte
			if one, rest, err = batch.Next(rest); err != nil {
				t.Fatal(err)
			}
			for r, err := range batch.Records(one, 1<<20) {
				if err != nil {
					t.Fatal(err)
				}
				c = c.with(copied{h.LeaderEpoch, string(r.Value)})
			}
		}
	}
	return c
}

// TestPowerCutOfAFollower is scenario 24 for copies: at whichever operation the
// power goes, the log is one that the follower once had, byte for byte, with its
// epochs; and so it stays when it is cut, copied to and restarted again.
func TestPowerCutOfAFollower(t *testing.T) {
	tears := []vfs.Tear{
		{Sector: 4096, Unsynced: vfs.Lost},
		{Sector: 4096, Unsynced: vfs.Kept},
		{Sector: 512, Unsynced: vfs.Mixed},
		{Sector: 512, Unsynced: vfs.Noisy},
	}
	sum := followerModel{}
	for i, tear := range tears {
		seed := uint64(i)
		whole, m := vfs.NewPowerCut(), newFollowerModel(seed)
		if err := m.script(whole, newMemMeta()); err != nil {
			t.Fatalf("script %d itself fails: %v", i, err)
		}
		sum.intoSealed += m.intoSealed
		sum.restartsUp += m.restartsUp
		sum.restartsDown += m.restartsDown
		sum.olderEpochs += m.olderEpochs
		step := int64(8) // an eighth of all; CI runs all
		switch {
		case os.Getenv("CISTERN_THOROUGH") != "":
			step = 1
		case testing.Short():
			step = 24
		}
		for n := int64(i) % step; n < whole.Ops(); n += step {
			if !t.Run(fmt.Sprintf("%d/%d", i, n), func(t *testing.T) { cutFollower(t, seed, n, tear) }) {
				return
			}
		}
	}
	if sum.intoSealed == 0 || sum.restartsUp == 0 || sum.restartsDown == 0 || sum.olderEpochs == 0 {
		t.Errorf("the scripts did not do everything: %+v", sum)
	}
}

func cutFollower(t *testing.T, seed uint64, n int64, tear vfs.Tear) {
	p, meta, m := vfs.NewPowerCut(), newMemMeta(), newFollowerModel(seed)
	meta.rng = rand.New(rand.NewPCG(uint64(n), seed))
	p.CutAfter(n)
	if err := m.script(p, meta); !errors.Is(err, vfs.ErrPowerCut) && !errors.Is(err, ErrLatched) {
		t.Fatalf("the script ended with %v", err)
	}
	after := p.Crash(uint64(n)<<8|seed, tear)
	for range 2 { // it lives on, and stops without a crash
		s, err := Open(crashConfig(after, meta))
		if err != nil {
			t.Fatalf("reopen: %v", err)
		}
		m.check(t, s)
		if err := errors.Join(m.run(s), s.Close()); err != nil {
			t.Fatalf("going on: %v", err)
		}
	}
	s, err := Open(crashConfig(after, meta))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m.check(t, s)
}
