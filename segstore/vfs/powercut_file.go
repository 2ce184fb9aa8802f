package vfs

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"syscall"
)

// page is never changed once it is part of a content: whoever writes makes a
// new one. Crashing a file system thus copies pointers, not bytes.
type page = [PageSize]byte

// content is the bytes of a file. Pages that were never written are nil, and
// read as zeros.
type content struct {
	size  int64
	pages []*page
}

func (c *content) page(i int) *page {
	if i < len(c.pages) && c.pages[i] != nil {
		return c.pages[i]
	}
	return &page{}
}

// set makes pg page i, and the file at least size bytes long.
func (c *content) set(i int, pg *page, size int64) {
	if i >= len(c.pages) {
		c.pages = append(c.pages, make([]*page, i+1-len(c.pages))...)
	}
	c.pages[i] = pg
	c.size = max(c.size, size)
}

// trim removes what lies behind the end.
func (c *content) trim() {
	last := int(c.size / PageSize)
	if last >= len(c.pages) {
		return
	}
	rest := int(c.size % PageSize)
	if rest == 0 {
		c.pages = c.pages[:last]
		return
	}
	end := *c.page(last)
	clear(end[rest:])
	c.pages = append(c.pages[:last:last], &end)
}

// inode is a file or a folder, by whatever name.
type inode struct {
	id     int
	folder bool

	cache  content   // what a process reads
	device content   // what a sync made certain
	dirty  []version // written since the last Sync, oldest first
	failed []version // dirty when a Sync failed: the kernel gave up on them
}

// version is a page as one write left it.
type version struct {
	write int64 // which write: pages of one write may share their fate
	index int
	page  *page
	size  int64 // of the file
}

func (n *inode) write(write int64, b []byte, off int64) {
	for len(b) > 0 {
		i, at := int(off/PageSize), int(off%PageSize)
		pg := *n.cache.page(i)
		done := copy(pg[at:], b)
		b, off = b[done:], off+int64(done)
		n.cache.set(i, &pg, off)
		n.dirty = append(n.dirty, version{write: write, index: i, page: &pg, size: n.cache.size})
	}
}

func (n *inode) sync() {
	for _, v := range n.dirty {
		n.device.set(v.index, v.page, v.size)
	}
	n.dirty = nil
}

// loseDirty is what Linux does when writing back fails: the pages stay in the
// cache and count as clean, so that the next Sync succeeds and saves none.
func (n *inode) loseDirty() {
	n.failed = append(n.failed, n.dirty...)
	n.dirty = nil
}

// dropCache makes reads see the device, but for what is still to be written.
func (n *inode) dropCache() {
	n.failed = nil // their loss is visible now, so it is certain
	n.cache.pages = slices.Clone(n.device.pages)
	for _, v := range n.dirty {
		n.cache.set(v.index, v.page, v.size)
	}
}

// crash returns the inode as the device might have it.
func (n *inode) crash(rng *rand.Rand, tear Tear) *inode {
	after := content{size: n.device.size, pages: slices.Clone(n.device.pages)}
	doubtful := n.dirty
	if tear.Unsynced == Mixed || tear.Unsynced == Noisy {
		doubtful = slices.Concat(n.failed, n.dirty) // some may have been written before the error
	}
	damage := damage{rng: rng, tear: tear, fate: tear.Unsynced}
	for _, v := range doubtful {
		damage.apply(&after, v)
	}
	after.trim()
	device := content{size: after.size, pages: slices.Clone(after.pages)}
	return &inode{id: n.id, folder: n.folder, cache: after, device: device}
}

// damage decides what becomes of the versions of one file, write by write:
// independent coins for sectors alone would hardly ever keep a large write.
type damage struct {
	rng   *rand.Rand
	tear  Tear
	write int64   // the last one that was decided
	fate  Fate    // its fate: Lost, Kept, or torn as tear says
	odds  float64 // that a sector of it is kept, if torn
}

// apply writes v to the device, or not, or in part.
func (d *damage) apply(device *content, v version) {
	if (d.tear.Unsynced == Mixed || d.tear.Unsynced == Noisy) && v.write != d.write {
		d.write = v.write
		d.fate = [...]Fate{Lost, Kept, d.tear.Unsynced}[d.rng.IntN(3)]
		d.odds = d.rng.Float64()
	}
	switch d.fate {
	case Lost:
	case Kept:
		device.set(v.index, v.page, v.size)
	default:
		device.set(v.index, d.torn(*device.page(v.index), v.page), v.size*int64(d.rng.IntN(2)))
	}
}

// torn returns old after a write of next that stopped somewhere, in any order.
func (d *damage) torn(old page, next *page) *page {
	sector := d.tear.sector()
	for at := 0; at < PageSize; at += sector {
		into := old[at : at+sector]
		switch {
		case d.rng.Float64() < d.odds:
			copy(into, next[at:])
		case d.tear.Unsynced == Noisy && d.rng.IntN(4) == 0:
			for i := range into {
				into[i] = byte(d.rng.Uint32())
			}
		}
	}
	return &old
}

// powerCutFile is one open file.
type powerCutFile struct {
	fs       *PowerCut
	name     string
	node     *inode
	writable bool
	closed   bool
}

func (f *powerCutFile) usable(op string) error {
	if f.closed {
		return pathError(op, f.name, fs.ErrClosed)
	}
	return f.fs.powered(op, f.name)
}

// ReadAt implements File.
func (f *powerCutFile) ReadAt(b []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable("read"); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("read", f.name, fs.ErrInvalid)
	}
	c := &f.node.cache
	n := 0
	for n < len(b) && off < c.size {
		end := min(PageSize, c.size-off/PageSize*PageSize)
		done := copy(b[n:], c.page(int(off / PageSize))[off%PageSize:end])
		n, off = n+done, off+int64(done)
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements File.
func (f *powerCutFile) WriteAt(b []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable("write"); err != nil {
		return 0, err
	}
	switch {
	case off < 0:
		return 0, pathError("write", f.name, fs.ErrInvalid)
	case !f.writable:
		return 0, pathError("write", f.name, syscall.EBADF)
	case off > f.fs.capacity-int64(len(b)), f.grows(off+int64(len(b))) > f.fs.capacity-f.fs.used():
		return 0, pathError("write", f.name, syscall.ENOSPC)
	}
	happens, err := f.fs.mutate("write", f.name)
	if happens {
		f.node.write(f.fs.ops, b, off)
	}
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// grows returns the room that a file of at least size bytes takes in addition.
func (f *powerCutFile) grows(size int64) int64 {
	pages := (size + PageSize - 1) / PageSize
	return max(0, pages-int64(len(f.node.cache.pages))) * PageSize
}

// Sync implements File. It makes the content durable, not the file's name.
func (f *powerCutFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable("sync"); err != nil {
		return err
	}
	happens, err := f.fs.mutate("sync", f.name)
	if happens && err == nil {
		f.node.sync()
	}
	return err
}

func (f *powerCutFile) loseDirty() {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.node.loseDirty()
}

// Size implements File.
func (f *powerCutFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.node.cache.size, f.usable("size")
}

// DropCache implements File.
func (f *powerCutFile) DropCache() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable("dropcache"); err != nil {
		return err
	}
	f.node.dropCache()
	return nil
}

// Close implements File. It saves nothing.
func (f *powerCutFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return pathError("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	return nil
}
