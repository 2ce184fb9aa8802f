package segstore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"cistern/segstore/vfs"
)

// pool owns the segment files. A file is made once, written full of zeros, and
// from then on only written over: that is what makes a commit cost one flush
// on every file system. Files are used again, and deleted only when segments
// get another size.
//
// A file's number is its slot; which segment lives in it, its header says. So
// recycling needs no rename, and no sync of the folder.
type pool struct {
	fs       vfs.FS
	dir      string
	size     int64 // of a new segment
	maxBytes int64

	makeMu  sync.Mutex   // one file is made at a time
	waiting atomic.Int32 // takers that wait for makeMu: no time for pauses

	mu       sync.Mutex
	spare    []uint32
	cooling  []cooling
	thawed   []cooling // made spare by the metadata file, not by a snapshot yet
	cooled   uint64    // ever
	total    int64     // bytes of all files
	nextSlot uint32
	noSpace  time.Time // when the file system last refused
}

// cooling is a slot whose segment has expired, in memory. It may be written over
// only when that is durable: otherwise a power cut could leave logs that live
// in a segment which is half overwritten.
type cooling struct {
	slot    uint32
	segment uint64
	seq     uint64 // a snapshot taken after so many were cooled does not list it
}

const (
	slotSuffix    = ".seg"
	tmpSuffix     = ".tmp"
	zeroChunk     = 256 << 10
	noSpaceRetry  = 10 * time.Second // how long the file system's refusal is believed
	zeroPaceSleep = 20 * time.Millisecond
)

func slotName(slot uint32) string { return fmt.Sprintf("%08d%s", slot, slotSuffix) }

// parseSlotName returns the slot of a file name.
func parseSlotName(name string) (uint32, bool) {
	base, ok := strings.CutSuffix(name, slotSuffix)
	if !ok || len(base) != 8 {
		return 0, false
	}
	n, err := strconv.ParseUint(base, 10, 32)
	return uint32(n), err == nil
}

func (p *pool) path(slot uint32) string { return filepath.Join(p.dir, slotName(slot)) }

// take returns a slot to write a new segment into: a spare one, else a new one.
func (p *pool) take() (uint32, error) {
	if slot, ok := p.pop(); ok {
		return slot, nil
	}
	p.waiting.Add(1)
	p.makeMu.Lock()
	p.waiting.Add(-1)
	defer p.makeMu.Unlock()
	if slot, ok := p.pop(); ok {
		return slot, nil
	}
	return p.make(context.Background(), 0)
}

func (p *pool) pop() (uint32, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.spare) == 0 {
		return 0, false
	}
	slot := p.spare[0]
	p.spare = p.spare[1:]
	return slot, true
}

// cool gives back a slot that may be used once its expiry is durable.
func (p *pool) cool(slot uint32, id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cooled++
	p.cooling = append(p.cooling, cooling{slot, id, p.cooled})
}

// mark returns what durable is to be told when a snapshot that is taken after
// the call is on flash.
func (p *pool) mark() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cooled
}

// durable makes the slots spare whose expiry a snapshot now says.
func (p *pool) durable(mark uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.cooling) > 0 && p.cooling[0].seq <= mark {
		p.spare = append(p.spare, p.cooling[0].slot)
		p.cooling = p.cooling[1:]
	}
	for len(p.thawed) > 0 && p.thawed[0].seq <= mark {
		p.thawed = p.thawed[1:]
	}
}

// thaw makes all cooling slots spare, after save has made it durable that
// their segments, and those thawed before, have expired.
func (p *pool) thaw(save func(segments []uint64) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := append(p.thawed, p.cooling...)
	ids := make([]uint64, len(all))
	for i, c := range all {
		ids[i] = c.segment
	}
	if err := save(ids); err != nil {
		return err
	}
	for _, c := range p.cooling {
		p.spare = append(p.spare, c.slot)
	}
	p.thawed, p.cooling = all, nil
	return nil
}

// ready returns how many slots are spare or cooling, and whether a new file
// would be too much.
func (p *pool) ready() (slots int, full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.spare) + len(p.cooling), p.total+p.size > p.maxBytes
}

// put gives back a slot that holds nothing and never did.
func (p *pool) put(slot uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spare = append(p.spare, slot)
}

// discard removes a slot's file for good.
func (p *pool) discard(slot uint32, size int64) {
	if err := p.fs.Remove(p.path(slot)); err != nil {
		return // it stays, and counts, until the next start
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total -= size
}

func (p *pool) usage() (total, spareBytes int64, spare int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total, int64(len(p.spare)+len(p.cooling)) * p.size, len(p.spare)
}

// refill makes spare slots, slowly: zeroing at full speed stalls cheap cards.
func (p *pool) refill(ctx context.Context) {
	p.makeMu.Lock()
	defer p.makeMu.Unlock()
	for ctx.Err() == nil {
		if _, _, spare := p.usage(); spare >= SpareSegments {
			return
		}
		slot, err := p.make(ctx, zeroPaceSleep)
		if err != nil {
			return // whoever needs one will try again and hear why
		}
		p.put(slot)
	}
}

// make writes a new file full of zeros and syncs it and its name. Callers hold
// makeMu.
func (p *pool) make(ctx context.Context, pause time.Duration) (uint32, error) {
	p.mu.Lock()
	full := p.total+p.size > p.maxBytes || time.Since(p.noSpace) < noSpaceRetry
	slot := p.nextSlot
	if !full {
		p.nextSlot++
		p.total += p.size
	}
	p.mu.Unlock()
	if full {
		return 0, ErrFull
	}
	err := p.write(ctx, slot, pause)
	if err == nil {
		return slot, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total -= p.size
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		p.noSpace = time.Now()
		return 0, fmt.Errorf("%w (%v)", ErrFull, err)
	}
	return 0, fmt.Errorf("make segment %s: %w", slotName(slot), err)
}

func (p *pool) write(ctx context.Context, slot uint32, pause time.Duration) (err error) {
	tmp := p.path(slot) + tmpSuffix
	f, err := p.fs.Create(tmp)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err == nil {
			err = p.fs.Rename(tmp, p.path(slot))
		}
		if err == nil {
			err = p.fs.SyncDir(p.dir)
		} else {
			p.fs.Remove(tmp)
		}
	}()
	zeros := make([]byte, min(zeroChunk, p.size))
	for pos := int64(0); pos < p.size; pos += int64(len(zeros)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), p.size-pos)], pos); err != nil {
			return err
		}
		if pause > 0 && p.waiting.Load() == 0 {
			// Syncing piece by piece keeps each stall short; the wait is for
			// the card, nothing is awaited.
			if err := f.Sync(); err != nil {
				return err
			}
			time.Sleep(pause)
		}
	}
	return f.Sync()
}
