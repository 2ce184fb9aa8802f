package mqtt

import (
	"sync"
	"time"

	"cistern/bridge/mqtt/packet"
)

// output is what waits to be written to one client.
type output struct {
	buf     *buffer // nil: nothing
	control int     // bytes of it that are not deliveries; bounded by Limits.OutputBytes
	writing bool    // a write goroutine runs
}

// buffer comes from a pool: an idle client has none.
type buffer struct{ b []byte }

const (
	bufferKept  = 8 << 10  // larger ones are left to the collector
	deliverHigh = 32 << 10 // deliveries are not moved into a buffer that has so much
)

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, 256)} }}

func (b *buffer) free() {
	if cap(b.b) <= bufferKept {
		b.b = b.b[:0]
		buffers.Put(b)
	}
}

// size returns the bytes that wait.
func (o *output) size() int {
	if o.buf == nil {
		return 0
	}
	return len(o.buf.b)
}

// open returns the buffer to append to.
func (o *output) open() *buffer {
	if o.buf == nil {
		o.buf = buffers.Get().(*buffer)
	}
	return o.buf
}

// control queues acks and answers: write appends to a buffer. A client that
// asks without reading the answers is closed, and nobody waits for it. The
// mutex is held.
func (c *conn) control(write func([]byte) []byte) {
	if c.ended.Load() && c.silent {
		return
	}
	b := c.output.open()
	before := len(b.b)
	b.b = write(b.b)
	c.controlled(len(b.b) - before)
}

// ack queues one of the four acks; like control, without a closure.
func (c *conn) ack(t packet.Type, id uint16, r packet.Reason) {
	b := c.output.open()
	before := len(b.b)
	b.b = packet.AppendAck(b.b, c.version, t, id, r)
	c.controlled(len(b.b) - before)
}

func (c *conn) controlled(n int) {
	c.output.control += n
	if c.output.control > c.s.limits.OutputBytes {
		c.killLocked(packet.QuotaExceeded, "it does not read the answers it asks for")
	}
}

// flush starts writing what waits. The mutex is held.
func (c *conn) flush() {
	if c.output.size() > 0 && !c.output.writing && !c.closed {
		c.output.writing = true
		c.s.serving.Go(c.write)
	}
}

// write runs while there is output.
func (c *conn) write() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.output.size() > 0 {
		b := c.output.buf
		c.output.buf, c.output.control = nil, 0
		patience := c.s.limits.WriteTime
		if c.ended.Load() {
			patience = min(patience, lingerTime)
		}
		c.mu.Unlock()
		c.net.SetWriteDeadline(time.Now().Add(patience))
		_, err := c.net.Write(b.b)
		b.free()
		c.mu.Lock()
		if err != nil {
			c.killLocked(packet.Success, "")
			c.output.buf = nil
			break
		}
		c.pump()
	}
	c.output.writing = false
	c.changed.Broadcast()
}

// flushed waits until nothing is left to write. The mutex is held.
func (c *conn) flushed() {
	c.flush()
	for c.output.writing {
		c.changed.Wait()
	}
}
