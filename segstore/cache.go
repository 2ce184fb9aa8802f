package segstore

import (
	"container/list"
	"fmt"
	"sync"

	"cistern/segstore/segment"
	"cistern/segstore/vfs"
)

// Limits of what is kept for readers.
const (
	openFilesMax  = 32
	indexCacheMax = 1 << 20 // bytes, roughly
)

// fileCache keeps the files that were read last open.
type fileCache struct {
	open func(slot uint32) (vfs.File, error)

	mu    sync.Mutex
	files map[uint32]*cachedFile
	tick  int64
}

type cachedFile struct {
	vfs.File
	users int
	last  int64
	gone  bool // closed by the last user
}

func newFileCache(open func(uint32) (vfs.File, error)) *fileCache {
	return &fileCache{open: open, files: map[uint32]*cachedFile{}}
}

// with calls fn with the open file of a slot.
func (c *fileCache) with(slot uint32, fn func(vfs.File) error) error {
	f, err := c.acquire(slot)
	if err != nil {
		return err
	}
	defer c.release(f)
	return fn(f.File)
}

func (c *fileCache) acquire(slot uint32) (*cachedFile, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tick++
	f := c.files[slot]
	if f == nil {
		file, err := c.open(slot)
		if err != nil {
			return nil, err
		}
		if len(c.files) >= openFilesMax {
			c.evict()
		}
		f = &cachedFile{File: file}
		c.files[slot] = f
	}
	f.users++
	f.last = c.tick
	return f, nil
}

func (c *fileCache) release(f *cachedFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.users--
	if f.gone && f.users == 0 {
		f.Close()
	}
}

// evict lets go of the file that was not used for longest.
func (c *fileCache) evict() {
	var oldest uint32
	var found *cachedFile
	for slot, f := range c.files {
		if found == nil || f.last < found.last {
			oldest, found = slot, f
		}
	}
	c.drop(oldest)
}

// drop lets go of a slot's file.
func (c *fileCache) drop(slot uint32) {
	f := c.files[slot]
	if f == nil {
		return
	}
	delete(c.files, slot)
	if f.gone = true; f.users == 0 {
		f.Close()
	}
}

// forget lets go of the file of a slot that is used again.
func (c *fileCache) forget(slot uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(slot)
}

func (c *fileCache) closeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for slot := range c.files {
		c.drop(slot)
	}
}

// indexCache keeps the footers of sealed segments that were read last.
type indexCache struct {
	load func(*segmentInfo) (segment.Index, error)

	mu    sync.Mutex
	byID  map[uint64]*list.Element
	order *list.List // of *cachedIndex, last used first
	bytes int
}

type cachedIndex struct {
	id    uint64
	index segment.Index
	bytes int
}

func newIndexCache(load func(*segmentInfo) (segment.Index, error)) *indexCache {
	return &indexCache{load: load, byID: map[uint64]*list.Element{}, order: list.New()}
}

// get returns the index of a sealed segment; it must not be changed.
func (c *indexCache) get(seg *segmentInfo) (segment.Index, error) {
	c.mu.Lock()
	if el := c.byID[seg.id]; el != nil {
		c.order.MoveToFront(el)
		c.mu.Unlock()
		return el.Value.(*cachedIndex).index, nil
	}
	c.mu.Unlock()
	x, err := c.load(seg)
	if err != nil {
		return nil, err
	}
	c.put(seg.id, x)
	return x, nil
}

// peek returns the index of a segment if it is here.
func (c *indexCache) peek(id uint64) (segment.Index, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.byID[id]; el != nil {
		return el.Value.(*cachedIndex).index, true
	}
	return nil, false
}

func (c *indexCache) put(id uint64, x segment.Index) {
	partitions, batches := x.Counts()
	e := &cachedIndex{id: id, index: x, bytes: partitions*128 + batches*16}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID[id] != nil {
		return
	}
	c.byID[id] = c.order.PushFront(e)
	c.bytes += e.bytes
	for c.bytes > indexCacheMax && c.order.Len() > 1 {
		c.remove(c.order.Back())
	}
}

// drop forgets a segment that was recycled.
func (c *indexCache) drop(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.byID[id]; el != nil {
		c.remove(el)
	}
}

func (c *indexCache) remove(el *list.Element) {
	e := el.Value.(*cachedIndex)
	c.order.Remove(el)
	delete(c.byID, e.id)
	c.bytes -= e.bytes
}

// readFooter reads what is asked for (summary or whole footer) from the end of
// a segment's file.
func readFooter(f vfs.File, size int64, whole bool) (segment.Footer, error) {
	tail := make([]byte, segment.PageSize)
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil {
		return segment.Footer{}, err
	}
	t, err := segment.ParseTrailer(tail)
	if err != nil {
		return segment.Footer{}, err
	}
	need, parse := t.SummarySize(), segment.ParseSummary
	if whole {
		need, parse = t.Size(), segment.ParseFooter
	}
	if need > size {
		return segment.Footer{}, fmt.Errorf("segment footer: %d bytes, the file has %d", need, size)
	}
	if need > int64(len(tail)) {
		tail = make([]byte, need)
		if _, err := f.ReadAt(tail, size-need); err != nil {
			return segment.Footer{}, err
		}
	}
	return parse(tail)
}
