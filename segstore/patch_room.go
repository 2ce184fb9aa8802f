package segstore

import (
	"cmp"
	"errors"
	"slices"
	"syscall"
)

// makeRoom lets patches go that lie below what was drained, the oldest first, where
// err says that there is no room for pieces. A reader that comes upon those records
// again, as a follower may, has them mended again. What is drained itself pushes
// nothing out: two of that kind would take turns for ever, each time at flash's cost.
func (g *Log) makeRoom(pieces []piece, err error) bool {
	full := errors.Is(err, ErrPatchesFull) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
	if !full || pieces[len(pieces)-1].Next <= g.Drained() {
		return false
	}
	bytes := int64(0)
	for _, p := range pieces {
		bytes += patchHeaderLen + int64(len(p.batches))
	}
	gone := map[*patch]bool{}
	for _, p := range g.store.drainedPatches() {
		if len(gone) >= len(pieces) && bytes <= 0 {
			break
		}
		gone[p], bytes = true, bytes-p.bytes
	}
	if len(gone) == 0 {
		return false
	}
	for _, l := range g.store.Logs() {
		l.mu.Lock()
		l.dropPatches(func(p *patch) bool { return gone[p] })
		l.mu.Unlock()
	}
	g.store.sweepPatches()
	return true
}

// drainedPatches returns the patches that lie wholly below what was drained, the
// oldest first.
func (s *Store) drainedPatches() (all []*patch) {
	for _, g := range s.Logs() {
		g.mu.Lock()
		for _, p := range g.patches {
			if p.next <= g.drained {
				all = append(all, p)
			}
		}
		g.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b *patch) int { return cmp.Compare(a.number, b.number) })
	return all
}

// loan is what another copy gave back and flash could not keep, in memory: the one
// piece that was lent last, of patchFileBytes or a single batch. It lets whoever
// reads go on piece by piece, and ends with the process.
type loan struct {
	log         *Log
	cuts        uint64 // of the log when it was lent
	first, next int64
	batches     []byte
}

// Lend has the first piece of raw that can't be read here read from memory, for
// where Patch has no room for it. What was lent before is given up. It says whether
// there was something to lend; the same is verified as by Patch.
func (g *Log) Lend(raw []byte) bool {
	set := &g.store.patches
	set.making.Lock()
	defer set.making.Unlock()
	set.endLoan(g)
	if g.store.closing.Load() {
		return false
	}
	cuts := g.synced().cuts
	pieces, err := g.missing(raw)
	if err != nil || len(pieces) == 0 {
		return false
	}
	p := pieces[0]
	set.mu.Lock()
	defer set.mu.Unlock()
	set.lent = &loan{log: g, cuts: cuts, first: p.First, next: p.Next, batches: slices.Clone(p.batches)}
	return true
}

// Lent says whether offset is read from memory.
func (g *Log) Lent(offset int64) bool { return g.lentAt(offset) != nil }

// lentAt returns the batches that were lent, if one of them holds offset.
func (g *Log) lentAt(offset int64) []byte {
	if l := g.loan(); l != nil && l.first <= offset && offset < l.next {
		return l.batches
	}
	return nil
}

// beforeLoan ends what c says is lost where that begins which was lent behind offset.
func (g *Log) beforeLoan(offset int64, c *CorruptError) {
	if l := g.loan(); l != nil && l.first > offset {
		c.LastOffset = min(c.LastOffset, l.first-1)
	}
}

func (g *Log) loan() *loan {
	set := &g.store.patches
	set.mu.Lock()
	l := set.lent
	set.mu.Unlock()
	if l == nil || l.log != g || g.synced().cuts != l.cuts {
		return nil
	}
	return l
}

// endLoan gives up what was lent of a log: what is to be kept must not seem to be
// here.
func (t *patchSet) endLoan(g *Log) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lent != nil && t.lent.log == g {
		t.lent = nil
	}
}
