package batch

import (
	"math/bits"
	"sync"
)

// IdleBytesMax is the most buffer that a Builder keeps over a Reset.
const IdleBytesMax = 8 << 10

// ownBytesMin is the first buffer of a Builder: a lone record of a sensor.
const ownBytesMin = 256

// Larger buffers come in powers of two, each with a pool of its own: a builder
// that needs more moves up, as append would, but what it leaves behind serves
// the next one. The largest holds any batch, also one whose records got a header
// each on their way upstream.
const (
	pooledBitsMin = 14 // 16 KiB
	pooledBitsMax = 22 // 4 MiB; 1 MiB is more than metadata.BatchBytesMax
)

var bufferPools [pooledBitsMax - pooledBitsMin + 1]sync.Pool

type pooledBuffer struct{ b []byte }

// takeBuffer returns an empty buffer for at least size bytes.
func takeBuffer(size int) *pooledBuffer {
	class := max(bits.Len(uint(size-1)), pooledBitsMin) - pooledBitsMin
	if p, ok := bufferPools[class].Get().(*pooledBuffer); ok {
		return p
	}
	return &pooledBuffer{b: make([]byte, 0, 1<<(class+pooledBitsMin))}
}

func (p *pooledBuffer) giveBack() {
	class := bits.Len(uint(cap(p.b)-1)) - pooledBitsMin
	bufferPools[class].Put(p)
}

// reserve makes room for size bytes more.
func (b *Builder) reserve(size int) {
	need := len(b.records) + size
	switch {
	case need <= cap(b.records):
	case need <= IdleBytesMax:
		b.own = make([]byte, 0, min(IdleBytesMax, max(need, 2*cap(b.own), ownBytesMin)))
		b.records = append(b.own, b.records...)
	default:
		next := takeBuffer(need)
		records := append(next.b, b.records...)
		b.release()
		b.pooled, b.records = next, records
	}
}

// release empties the buffer and goes back to the small one.
func (b *Builder) release() {
	if b.pooled != nil {
		b.pooled.giveBack()
		b.pooled = nil
	}
	b.records = b.own[:0]
}
