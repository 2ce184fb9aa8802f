package vfs

import (
	"errors"
	"io/fs"
	"math"
	"math/rand/v2"
	"sync"
)

// ErrPowerCut is what every operation returns once the power is gone.
var ErrPowerCut = errors.New("power cut")

// PowerCut is a file system in memory that knows what a device would still hold
// after a power cut. CutAfter picks the moment, Crash turns the power back on:
//
//	p := vfs.NewPowerCut()
//	p.CutAfter(17)
//	run(p) // until it meets ErrPowerCut
//	after := p.Crash(seed, vfs.Tear{Sector: 512, Unsynced: vfs.Mixed})
//	check(after)
//
// It promises what the package promises for devices and nothing more: see Tear
// for what may become of the rest. The same operations, seed and Tear always
// give the same result. Renaming is atomic, as on every file system with a
// journal: after a crash the file has either name, never both or none.
type PowerCut struct {
	mu       sync.Mutex
	capacity int64
	ops      int64  // mutating operations so far
	cutAfter int64  // of them that succeed
	cutAt    string // the operation that was cut, once one was
	nextID   int

	names   map[string]*inode // as a process sees them
	durable map[string]*inode // as the device has them
	changes []nameChange      // what is between the two, oldest first
	locks   map[string]bool
}

// CapacityDefault is the room on a PowerCut until SetCapacity.
const CapacityDefault = 1 << 30

// NewPowerCut returns an empty file system. Its root, "/", and the working
// folder, ".", exist.
func NewPowerCut() *PowerCut {
	return &PowerCut{
		capacity: CapacityDefault,
		cutAfter: math.MaxInt64,
		names:    map[string]*inode{},
		durable:  map[string]*inode{},
		locks:    map[string]bool{},
	}
}

// SetCapacity sets the room on the device; writes beyond it fail with ENOSPC.
func (p *PowerCut) SetCapacity(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.capacity = bytes
}

// Ops returns how many mutating operations were performed, the one that was cut
// included: every create, rename, remove, write, sync, and folder made or synced.
func (p *PowerCut) Ops() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ops
}

// CutAfter lets n mutating operations succeed, counted from the beginning as
// Ops does. The next one, and everything after it, fails with ErrPowerCut. The
// operation that is cut may nevertheless have reached the device, in part or
// wholly: only its caller never learns it.
func (p *PowerCut) CutAfter(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutAfter = n
}

// CutAt returns the operation that was cut, to name it in a failing test, or ""
// while the power is on.
func (p *PowerCut) CutAt() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cutAt
}

// mutate counts a mutating operation that is about to happen. When happens is
// true it must take effect, even if err says that the caller is told otherwise.
func (p *PowerCut) mutate(op, name string) (happens bool, err error) {
	if err := p.powered(op, name); err != nil {
		return false, err
	}
	if p.ops >= p.cutAfter {
		p.cutAt = op + " " + name
	}
	p.ops++
	return true, p.powered(op, name)
}

// powered fails once the power is gone.
func (p *PowerCut) powered(op, name string) error {
	if p.cutAt == "" {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: ErrPowerCut}
}

// Fate is what becomes of changes that were not synced.
type Fate int

const (
	Lost  Fate = iota // none reached the device
	Kept              // all reached the device
	Mixed             // any subset did: whole writes, sectors of a write, older versions of a sector
	Noisy             // as Mixed, but a sector may also hold neither old nor new, but noise
)

// Tear says how cruel a crash is.
type Tear struct {
	// Sector is what the device writes atomically: 512 or 4096. 0 means 512.
	Sector   int
	Unsynced Fate
}

func (t Tear) sector() int {
	if t.Sector == 0 {
		return 512
	}
	return t.Sector
}

// Crash returns a file system that holds what the device might hold if the
// power failed now. p itself is not changed, so one state can crash many ways.
func (p *PowerCut) Crash(seed uint64, tear Tear) *PowerCut {
	p.mu.Lock()
	defer p.mu.Unlock()
	rng := rand.New(rand.NewPCG(seed, uint64(tear.Unsynced)))
	after := NewPowerCut()
	after.capacity, after.nextID = p.capacity, p.nextID
	names := p.crashNames(rng, tear.Unsynced)
	for _, name := range sortedNames(names) { // in order, or seeds mean nothing
		node := names[name].crash(rng, tear)
		after.names[name], after.durable[name] = node, node
	}
	return after
}
