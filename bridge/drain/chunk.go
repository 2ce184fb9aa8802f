package drain

import (
	"sync"
	"time"

	"cistern/gossip/metadata"
)

// Limits of reading.
const (
	// BufferBytesDefault bounds all batches in flight, of all partitions.
	BufferBytesDefault = 8 << 20
	// BufferBytesMin fits the largest batch, so that every log can be read.
	BufferBytesMin = metadata.BatchBytesMax
	// ChunkBytes is what one read of a log asks for, unless batches are merged
	// into larger ones.
	ChunkBytes = 128 << 10
)

// chunk is a run of batches read in one go. Its memory is one, and goes back
// when all of its batches were answered. A partition's goroutine owns it; the
// lane reads (and rewrites the headers of) what was handed to Send.
type chunk struct {
	buf    []byte
	rest   []byte // batches that were not sent yet
	out    int    // batches that were sent and not answered
	ticket *ticket
	pool   *bufferPool

	seen time.Time // when it was read
	next int64     // the offset behind it
}

// newChunk takes buf over, and with it a granted ticket, of which only what
// buf holds is kept.
func newChunk(buf []byte, t *ticket, pool *bufferPool) *chunk {
	buf = pool.fit(buf)
	t.keep(cap(buf))
	return &chunk{buf: buf, rest: buf, ticket: t, pool: pool, seen: time.Now()}
}

// settle gives the memory back when nothing of it is needed any more.
func (c *chunk) settle() {
	if c.out == 0 && len(c.rest) == 0 && c.buf != nil {
		c.pool.put(c.buf)
		c.buf = nil
		c.ticket.release()
	}
}

// abandon gives the claim back while a lane may still read the memory, which is
// then left to the garbage collector.
func (c *chunk) abandon() {
	c.buf, c.rest = nil, nil
	c.ticket.release()
}

// bufferClasses: the smallest size there is, ChunkBytes, fits every batch after
// doubling it so often.
const bufferClasses = 4

// bufferPool keeps buffers of a size, and larger ones for batches that alone are
// larger: making those anew costs more than sending them.
type bufferPool struct {
	size  int
	pools [bufferClasses]sync.Pool
}

func (p *bufferPool) capacity(class int) int {
	return min(p.size<<class, max(p.size, metadata.BatchBytesMax))
}

func (p *bufferPool) get() []byte { return p.fitting(0) }

// fitting returns an empty buffer that n bytes fit into, unless n is more than a
// batch has.
func (p *bufferPool) fitting(n int) []byte {
	class := 0
	for class < bufferClasses-1 && p.capacity(class) < n {
		class++
	}
	if b, ok := p.pools[class].Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, p.capacity(class))
}

// class returns whose buffer b is, -1: nobody's.
func (p *bufferPool) class(b []byte) int {
	for class := range p.pools {
		if cap(b) == p.capacity(class) {
			return class
		}
	}
	return -1
}

func (p *bufferPool) put(b []byte) {
	if class := p.class(b); class >= 0 {
		p.pools[class].Put(&b)
	}
}

// fit moves a small content to memory of its size: many partitions that each
// have a little must not hold a full buffer each.
func (p *bufferPool) fit(b []byte) []byte {
	if p.class(b) < 0 || len(b) > cap(b)/4 {
		return b
	}
	small := append(make([]byte, 0, len(b)), b...)
	p.put(b)
	return small
}
