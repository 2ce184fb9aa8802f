package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Decoders trust counts: an array says how long it is, and memory for that many
// elements is made, at up to two hundred times the bytes that were sent; a count
// of tags is walked to its end even where there is nothing left to read. So a
// server walks over a request first. A walk allocates nothing, and accepts
// only what is all there and within limits. What a tagged field holds is left to
// the decoder, except where it has tags itself.

// tagsMax bounds the tagged fields of one structure. Kafka's largest has five.
const tagsMax = 16

var errCutShort = errors.New("cut short")

// CheckProduce returns a Route.Check for Produce, which refuses requests of
// more than partitionsMax partitions.
func CheckProduce(partitionsMax int) func(version int16, body []byte) error {
	return func(version int16, body []byte) error {
		w := walk{b: body, flexible: version >= 9, elementsMax: 2 * partitionsMax}
		if version >= 3 {
			w.span(w.length(2)) // transactional id
		}
		w.skip(2 + 4) // acks, timeout
		w.array(func() {
			w.topic(version)
			w.array(func() {
				w.skip(4) // partition
				w.bytes() // records
				w.tags(nil)
			})
			w.tags(nil)
		})
		w.tags(nil)
		return w.end()
	}
}

// CheckFetch returns a Route.Check for Fetch, which refuses requests of more
// than partitionsMax partitions.
func CheckFetch(partitionsMax int) func(version int16, body []byte) error {
	return func(version int16, body []byte) error {
		w := walk{b: body, flexible: version >= 12, elementsMax: 2 * partitionsMax}
		w.skip(fetchHead(version))
		w.array(func() {
			w.topic(version)
			w.array(func() { w.skip(fetchPartition(version)); w.tags(nil) })
			w.tags(nil)
		})
		if version >= 7 {
			w.array(func() { // forgotten
				w.topic(version)
				w.array(func() { w.skip(4) })
				w.tags(nil)
			})
		}
		if version >= 11 {
			w.text() // rack
		}
		w.tags(func(key uint64, w *walk) {
			if key == 1 { // replica state: node, epoch
				w.skip(4 + 8)
				w.tags(nil)
			}
		})
		return w.end()
	}
}

// fetchHead is the length of a Fetch request up to its topics: replica, wait
// and least bytes, then most bytes, isolation, session and its epoch.
func fetchHead(version int16) int {
	n := 4 + 4 + 4
	for _, field := range []struct {
		since int16
		size  int
	}{{3, 4}, {4, 1}, {7, 4 + 4}, {15, -4}} { // 15 moved the replica to a tag
		if version >= field.since {
			n += field.size
		}
	}
	return n
}

// fetchPartition is the length of a partition without its tags: number and
// offset, then log start, leader's epoch and last epoch; its limit of bytes.
func fetchPartition(version int16) int {
	n := 4 + 8 + 4
	for _, field := range []struct {
		since int16
		size  int
	}{{5, 8}, {9, 4}, {12, 4}} {
		if version >= field.since {
			n += field.size
		}
	}
	return n
}

// walk steps over the bytes of a request. After the first error it stands still.
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
		field := walk{b: w.span(int64(w.uvarint())), flexible: true}
		if inside == nil || w.err != nil {
			continue
		}
		if inside(key, &field); field.err != nil {
			w.fail(field.err)
		}
	}
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
