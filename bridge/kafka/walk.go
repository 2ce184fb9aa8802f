package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// tagsMax bounds the tagged fields of one structure. Kafka's largest has five.
const tagsMax = 16

var errCutShort = errors.New("cut short")

// walk steps over the bytes of a request or an answer before they are decoded,
// because the decoder trusts counts: an array says how long it is, and memory
// for that many elements is made, at up to two hundred times the bytes that
// were sent; a count of tags is followed to its end even where nothing is left
// to read, which can take minutes. A walk accepts only what is all there and
// within limits. What a tagged field holds it leaves to the decoder, except
// where there are arrays or tags in it. After the first error it stands still.
type walk struct {
	b           []byte
	flexible    bool
	elementsMax int // of all arrays together: each partition may have a topic of its own
	elements    int
	err         error
}

func (w *walk) fail(err error) { w.b, w.err = nil, err }

func (w *walk) end() error {
	if w.err == nil && len(w.b) > 0 {
		return fmt.Errorf("%d bytes too many", len(w.b))
	}
	return w.err
}

// skip steps over n bytes and returns them.
func (w *walk) skip(n int) []byte {
	if w.err != nil {
		return nil
	}
	if n < 0 || n > len(w.b) {
		w.fail(errCutShort)
		return nil
	}
	s := w.b[:n]
	w.b = w.b[n:]
	return s
}

func (w *walk) uvarint() uint64 {
	v, n := binary.Uvarint(w.b)
	if n <= 0 || v > 1<<32-1 {
		w.fail(errCutShort)
		return 0
	}
	w.b = w.b[n:]
	return v
}

// length reads how long something is, in the compact way or as an integer of
// size bytes; -1 is null.
func (w *walk) length(size int) int64 {
	if w.flexible {
		return int64(w.uvarint()) - 1
	}
	s := w.skip(size)
	switch {
	case s == nil:
		return -1
	case size == 2:
		return int64(int16(binary.BigEndian.Uint16(s)))
	}
	return int64(int32(binary.BigEndian.Uint32(s)))
}

// text steps over a string that may not be null.
func (w *walk) text() {
	if n := w.length(2); n >= 0 {
		w.span(n)
	} else {
		w.fail(errCutShort)
	}
}

func (w *walk) nullable() { w.span(w.length(2)) }

func (w *walk) bytes() { w.span(w.length(4)) }

// span steps over n bytes; a negative n is null.
func (w *walk) span(n int64) []byte {
	if n < 0 {
		return nil
	}
	if n > int64(len(w.b)) {
		w.fail(errCutShort)
		return nil
	}
	return w.skip(int(n))
}

func (w *walk) topic(version int16) {
	if version >= 13 {
		w.skip(16)
	} else {
		w.text()
	}
}

func (w *walk) array(element func()) {
	n := w.length(4)
	if n > int64(w.elementsMax-w.elements) {
		w.fail(fmt.Errorf("too many elements, at most %d are accepted", w.elementsMax))
		return
	}
	w.elements += int(max(n, 0))
	for ; n > 0 && w.err == nil; n-- {
		element()
	}
}

// tags steps over tagged fields; inside, when there is one, walks those that
// have structure.
func (w *walk) tags(inside func(key uint64, field *walk)) {
	if !w.flexible {
		return
	}
	n := w.uvarint()
	if n > tagsMax {
		w.fail(fmt.Errorf("%d tagged fields, at most %d are accepted", n, tagsMax))
	}
	for ; n > 0 && w.err == nil; n-- {
		key := w.uvarint()
		if field := w.span(int64(w.uvarint())); inside != nil && w.err == nil {
			w.descend(field, key, inside)
		}
	}
}

func (w *walk) descend(b []byte, key uint64, inside func(key uint64, field *walk)) {
	field := walk{b: b, flexible: true, elementsMax: w.elementsMax, elements: w.elements}
	if inside(key, &field); field.err != nil {
		w.fail(field.err)
	}
	w.elements = field.elements
}

// header steps over the rest of a request's header and returns the client's
// name, which is never compact.
func (w *walk) header() []byte {
	flexible := w.flexible
	w.flexible = false
	name := w.span(w.length(2))
	w.flexible = flexible
	w.tags(nil)
	return name
}
