package packet

import (
	"errors"
	"io"
)

// Sizes of a Reader's buffer. It starts small, because most connections of a
// gateway are idle most of the time, and grows while data keeps coming.
const (
	bufferMin = 512
	bufferMax = 16 << 10 // beyond this it grows only for a packet that needs it
)

// ErrNoMemory is returned by Next when a packet needs more buffer than the
// Reader's Budget grants.
var ErrNoMemory = &Error{QuotaExceeded, "no memory left for packets of this size, try again later"}

// Budget bounds the memory of many Readers together.
type Budget interface {
	Reserve(bytes int) bool // false: there is none left
	Release(bytes int)
}

// Reader cuts a byte stream into packets. It is for one goroutine. An error of
// the source, a deadline for instance, loses nothing: call Next again.
type Reader struct {
	src        io.Reader
	budget     Budget
	sizeMax    int
	buf        []byte
	start, end int
}

// NewReader returns a Reader that refuses packets of more than sizeMax bytes.
// budget may be nil.
func NewReader(src io.Reader, sizeMax int, budget Budget) *Reader {
	return &Reader{src: src, sizeMax: sizeMax, budget: budget}
}

// SetSizeMax changes the size limit from the next packet on.
func (r *Reader) SetSizeMax(n int) { r.sizeMax = n }

// Buffered returns the number of bytes that came and were not returned yet.
func (r *Reader) Buffered() int { return r.end - r.start }

// Ready reports whether Next would return without reading from the source.
func (r *Reader) Ready() bool {
	h, n, err := ParseHeader(r.buf[r.start:r.end])
	return err != nil || n > 0 && (n+h.Length > r.sizeMax || r.Buffered() >= n+h.Length)
}

// Next returns the next packet. The body is valid until the next call of Next
// or Shrink. Errors of the source come as they are, io.EOF inside a packet as
// io.ErrUnexpectedEOF, a wrong or too large packet as *Error.
func (r *Reader) Next() (Header, []byte, error) {
	for {
		h, n, err := ParseHeader(r.buf[r.start:r.end])
		if err != nil {
			return h, nil, err
		}
		size := n + h.Length
		if n > 0 && size > r.sizeMax {
			return h, nil, &Error{PacketTooLarge, "the packet announces more bytes than this server takes"}
		}
		if n > 0 && r.Buffered() >= size {
			body := r.buf[r.start+n : r.start+size : r.start+size]
			r.start += size
			return h, body, nil
		}
		if err := r.fill(size); err != nil {
			return h, nil, err
		}
	}
}

// fill reads once, having made room for more of a packet of the given size.
func (r *Reader) fill(size int) error {
	if r.start == r.end {
		r.start, r.end = 0, 0
	}
	if r.start > 0 && (r.end == len(r.buf) || r.start+size > len(r.buf)) {
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
	if r.end == len(r.buf) {
		if err := r.grow(size); err != nil {
			return err
		}
	}
	n, err := r.src.Read(r.buf[r.end:])
	r.end += n
	if r.end == len(r.buf) && n > 0 && len(r.buf) < bufferMax {
		r.grow(bufferMax) // filled to the brim: more is coming; without memory, go on as before
	}
	if n > 0 {
		return nil
	}
	if errors.Is(err, io.EOF) && r.Buffered() > 0 {
		return io.ErrUnexpectedEOF
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// grow doubles the buffer, which is full: memory follows the bytes that came,
// not the length that was announced.
func (r *Reader) grow(size int) error {
	next := max(bufferMin, 2*len(r.buf))
	if next > bufferMax {
		next = min(next, max(size, bufferMax))
	}
	if r.budget != nil && !r.budget.Reserve(next-len(r.buf)) {
		return ErrNoMemory
	}
	buf := make([]byte, next)
	r.end = copy(buf, r.buf[r.start:r.end])
	r.start = 0
	r.buf = buf
	return nil
}

// Grown reports whether Shrink would give memory back.
func (r *Reader) Grown() bool { return len(r.buf) > bufferMin && r.start == r.end }

// Shrink gives the buffer back when nothing is in it; the next read starts
// with a small one.
func (r *Reader) Shrink() {
	if r.start == r.end {
		r.Close()
	}
}

// Close gives the buffer back, with what is in it.
func (r *Reader) Close() {
	if r.budget != nil {
		r.budget.Release(len(r.buf))
	}
	r.buf, r.start, r.end = nil, 0, 0
}
