// Package nbd is a disk whose power can be cut: a memory card with a volatile
// write cache, over a sparse file, that an emulator reaches by the NBD protocol
// (Network Block Device).
//
// Killing an emulator is no power cut: all that its guest has written is in
// this computer's cache and will be found again. Here what the guest has not
// flushed is in the cache of the Card, and a cut forgets it: some blocks whole,
// some torn at a sector's border, some not at all, and in no order, as cards do.
// A seed decides, so that a cut can be repeated.
//
// A Card can also lie, and call flushed what it has not written: a control that
// has to lose what was confirmed, or the test would prove nothing.
package nbd

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
)

const (
	sectorBytes = 512
	blockBytes  = 4096
	sectors     = blockBytes / sectorBytes

	// cacheBlocksMax bounds the cache, 64 MiB: beyond it a card writes back,
	// oldest first, without being asked.
	cacheBlocksMax = 64 << 20 / blockBytes
)

// ErrCut is the answer of a card without power.
var ErrCut = errors.New("the card has no power")

// ErrRange is the answer to who reaches beyond the card.
var ErrRange = errors.New("beyond the end of the card")

// Card is the disk. It is a slot.Disk, too, for who has the card in hand.
type Card struct {
	file *os.File
	size int64

	mu      sync.Mutex
	dirty   map[int64]*block // written and not yet on the medium, by number
	order   []int64          // of dirty, oldest first
	lies    bool
	off     bool
	gone    chan struct{} // closed at a cut
	cutAt   int64         // the count of writes at which it is cut; 0 is never
	cutSeed uint64
	cut     Cut
	count   Count
}

// block is what a block will be: the sectors of mask are new.
type block struct {
	data [blockBytes]byte
	mask uint8
}

// Count is what a card was asked so far.
type Count struct {
	Writes, Flushes, BytesWritten int64
}

// Open puts a file in as a card: its size is the card's.
func Open(name string) (*Card, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (info.Size() == 0 || info.Size()%blockBytes != 0) {
		err = fmt.Errorf("%s has %d bytes: a card has whole blocks of %d", name, info.Size(), blockBytes)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Card{file: f, size: info.Size(), dirty: make(map[int64]*block), gone: make(chan struct{})}, nil
}

// Close takes the card out: what is in its cache is written first.
func (c *Card) Close() error {
	return errors.Join(c.Settle(), c.file.Close())
}

// Size is the card's, in bytes.
func (c *Card) Size() int64 { return c.size }

// Count tells what the card was asked so far.
func (c *Card) Count() Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

// Lie makes the card answer every flush at once, and write nothing.
func (c *Card) Lie(lies bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lies = lies
}

// ReadAt reads what was last written, wherever it is.
func (c *Card) ReadAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.allow(len(p), off); err != nil {
		return 0, err
	}
	if n, err := c.file.ReadAt(p, off); err != nil {
		return n, err
	}
	c.pieces(p, off, func(number int64, at int, piece []byte) {
		if b := c.dirty[number]; b != nil {
			b.overlay(piece, at)
		}
	})
	return len(p), nil
}

// overlay copies the new sectors into piece, which begins at byte at of the block.
func (b *block) overlay(piece []byte, at int) {
	for i := range piece {
		if b.mask&(1<<((at+i)/sectorBytes)) != 0 {
			piece[i] = b.data[at+i]
		}
	}
}

// WriteAt writes into the cache.
func (c *Card) WriteAt(p []byte, off int64) (int, error) { return c.write(p, off, false) }

// WriteThrough writes to the medium, past the cache: NBD's FUA.
func (c *Card) WriteThrough(p []byte, off int64) (int, error) { return c.write(p, off, true) }

func (c *Card) write(p []byte, off int64, through bool) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.allow(len(p), off); err != nil {
		return 0, err
	}
	c.count.Writes++
	c.count.BytesWritten += int64(len(p))
	var failed error
	c.pieces(p, off, func(number int64, at int, piece []byte) {
		failed = errors.Join(failed, c.put(number, at, piece))
	})
	if c.count.Writes == c.cutAt {
		c.fail(c.cutSeed)
		return 0, ErrCut
	}
	if through && !c.lies {
		c.pieces(p, off, func(number int64, _ int, _ []byte) {
			failed = errors.Join(failed, c.writeBack(number, allSectors))
		})
		c.forgetWritten()
	}
	for len(c.order) > cacheBlocksMax && failed == nil {
		failed = c.writeBack(c.order[0], allSectors)
		c.order = c.order[1:]
	}
	if failed != nil {
		return 0, failed
	}
	return len(p), nil
}

// put writes a piece of a block into the cache. A sector that is written in
// part is read first: cards know whole ones only.
func (c *Card) put(number int64, at int, piece []byte) error {
	b := c.dirty[number]
	if b == nil {
		b = &block{}
		c.dirty[number] = b
		c.order = append(c.order, number)
	}
	end := at + len(piece)
	for s := at / sectorBytes; s*sectorBytes < end; s++ {
		begin := s * sectorBytes
		if inPart := at > begin || end < begin+sectorBytes; inPart && b.mask&(1<<s) == 0 {
			if _, err := c.file.ReadAt(b.data[begin:begin+sectorBytes], number*blockBytes+int64(begin)); err != nil {
				return err
			}
		}
		b.mask |= 1 << s
	}
	copy(b.data[at:], piece)
	return nil
}

// Sync is a flush: everything written before is on the medium, unless the card
// lies. What this computer's own power does to the file is not our concern.
func (c *Card) Sync() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off {
		return ErrCut
	}
	c.count.Flushes++
	if c.lies {
		return nil
	}
	return c.settle()
}

// Settle writes back what is in the cache, which a card does by itself while it
// has power and time: after a guest's reset, say. A lying card does it, too.
func (c *Card) Settle() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off {
		return nil // the cut has seen to it
	}
	return c.settle()
}

func (c *Card) settle() error {
	for _, number := range c.order {
		if err := c.writeBack(number, allSectors); err != nil {
			return err
		}
	}
	c.order = c.order[:0]
	return nil
}

const allSectors = 1<<sectors - 1

// writeBack writes those new sectors of a block that are in keep to the medium,
// and forgets the block. It stays in order, where it does no harm.
func (c *Card) writeBack(number int64, keep uint8) error {
	b := c.dirty[number]
	if b == nil {
		return nil
	}
	for s := range sectors {
		if b.mask&keep&(1<<s) == 0 {
			continue
		}
		if _, err := c.file.WriteAt(b.data[s*sectorBytes:(s+1)*sectorBytes], number*blockBytes+int64(s)*sectorBytes); err != nil {
			return err
		}
	}
	delete(c.dirty, number)
	return nil
}

// forgetWritten takes out of order what was written back before its turn, or it
// would grow with every write through.
func (c *Card) forgetWritten() {
	c.order = slices.DeleteFunc(c.order, func(number int64) bool { return c.dirty[number] == nil })
}

func (c *Card) allow(n int, off int64) error {
	switch {
	case c.off:
		return ErrCut
	case off < 0 || off > c.size || int64(n) > c.size-off:
		return fmt.Errorf("%d bytes at %d of %d: %w", n, off, c.size, ErrRange)
	}
	return nil
}

// pieces splits p, which is for off, at the borders of blocks.
func (c *Card) pieces(p []byte, off int64, visit func(number int64, at int, piece []byte)) {
	for len(p) > 0 {
		at := int(off % blockBytes)
		n := min(len(p), blockBytes-at)
		visit(off/blockBytes, at, p[:n])
		p, off = p[n:], off+int64(n)
	}
}
