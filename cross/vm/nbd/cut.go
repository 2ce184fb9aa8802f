package nbd

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
)

// Cut is what became, at a cut, of the blocks that were not flushed.
type Cut struct {
	Lost, Torn, Kept int
}

func (c Cut) String() string {
	return fmt.Sprintf("of %d unflushed blocks %d were lost, %d torn, %d kept", c.Lost+c.Torn+c.Kept, c.Lost, c.Torn, c.Kept)
}

// PowerCut takes the power away now. From here on nothing is answered.
func (c *Card) PowerCut(seed uint64) Cut {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail(seed)
	return c.cut
}

// CutAfter takes the power away in the middle of the n-th write from now, which
// is not answered any more: in the midst of what the guest is just writing,
// which no clock would hit. Gone tells when.
func (c *Card) CutAfter(n int64, seed uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cutAt, c.cutSeed = c.count.Writes+max(1, n), seed
}

// Gone is closed when the power is away.
func (c *Card) Gone() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}

// Restore gives the power back, and tells what the cut had done. What was in
// the cache is gone.
func (c *Card) Restore() Cut {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off {
		c.off, c.gone = false, make(chan struct{})
	}
	return c.cut
}

// fail decides on each unflushed block. Half are lost; the rest is kept, or
// torn, in which case each of its sectors has a fate of its own.
func (c *Card) fail(seed uint64) {
	if c.off {
		return
	}
	fate := rand.New(rand.NewPCG(seed, seed))
	c.cut = Cut{}
	for _, number := range slices.Sorted(maps.Keys(c.dirty)) {
		keep := uint8(0)
		switch fate.IntN(4) {
		case 0:
			c.cut.Kept++
			keep = allSectors
		case 1:
			c.cut.Torn++
			keep = uint8(fate.Uint32())
		default:
			c.cut.Lost++
		}
		// The file is on this computer's disk: if that fails the block is lost,
		// and that it was a cut's doing is as good an explanation.
		_ = c.writeBack(number, keep)
		delete(c.dirty, number)
	}
	c.order, c.off, c.cutAt = nil, true, 0
	close(c.gone)
}
