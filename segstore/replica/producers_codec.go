package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ProducersBytesMax bounds an encoded table. If not all fits, those who
// appended last are kept: the others have nothing on its way, and begin anew.
const ProducersBytesMax = 1900

const producersVersion = 1

var errProducers = errors.New("producers: malformed table")

// Encode returns the table as bytes:
//
//	1       version
//	varint  end
//	varint  epoch that the log had there + 1
//	        for each producer, who appended last first:
//	8         id
//	1         batches known, +0x80 when there were older ones
//	          for each, newest first:
//	varint      end of the one after it (of the table, for the newest) - its end
//	varint      its last sequence (newest), or how far it lies below the next
//	varint      records
func (t *Producers) Encode() []byte {
	b := binary.AppendUvarint([]byte{producersVersion}, uint64(t.end))
	b = binary.AppendUvarint(b, uint64(t.epoch+1))
	for _, id := range t.byRecency() {
		one := t.byID[id].encode(id, t.end)
		if len(b)+len(one) > ProducersBytesMax {
			break
		}
		b = append(b, one...)
	}
	return b
}

func (p *producer) encode(id, end int64) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(id))
	head := byte(p.n)
	if p.more {
		head |= 0x80
	}
	b = append(b, head)
	var next int32
	for i := p.n - 1; i >= 0; i-- {
		s := p.window[i]
		b = binary.AppendUvarint(b, uint64(end-s.end))
		b = binary.AppendUvarint(b, uint64((int64(next)-int64(s.last))&sequenceMask))
		b = binary.AppendUvarint(b, uint64(s.records))
		end, next = s.end, s.last
	}
	return b
}

// DecodeProducers is the inverse of Encode.
func DecodeProducers(b []byte) (*Producers, error) {
	if len(b) == 0 || b[0] != producersVersion {
		return nil, fmt.Errorf("%w: version", errProducers)
	}
	d := decoder{b: b[1:]}
	t := NewProducers()
	t.end = d.offset(1 << 62)
	t.epoch = int32(d.offset(math.MaxInt32)) - 1
	for len(d.b) > 0 && d.err == nil {
		id, p := d.producer(t.end)
		t.empty = t.empty || p != nil && p.n == 0
		if t.byID[id] = p; len(t.byID) > ProducersMax {
			return nil, fmt.Errorf("%w: more than %d", errProducers, ProducersMax)
		}
	}
	return t, d.err
}

type decoder struct {
	b   []byte
	err error
}

// offset reads a varint of at most limit.
func (d *decoder) offset(limit int64) int64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > uint64(limit) {
		d.err, d.b = errProducers, nil
		return 0
	}
	d.b = d.b[n:]
	return int64(v)
}

func (d *decoder) producer(end int64) (int64, *producer) {
	if len(d.b) < 9 {
		d.err, d.b = errProducers, nil
		return 0, nil
	}
	id, head := int64(binary.BigEndian.Uint64(d.b)), d.b[8]
	d.b = d.b[9:]
	p := &producer{n: int(head & 0x7f), more: head&0x80 != 0}
	if p.n > ProducerWindow {
		d.err = errProducers
		return 0, nil
	}
	var next int32
	for i := p.n - 1; i >= 0; i-- {
		end -= d.offset(end)
		last := int32((int64(next) - d.offset(sequenceMask)) & sequenceMask)
		p.window[i] = sent{end: end, last: last, records: int32(d.offset(sequenceMask))}
		next = last
	}
	return id, p
}
