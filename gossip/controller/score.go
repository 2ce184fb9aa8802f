package controller

import (
	"hash/fnv"
	"math/bits"
	"strconv"

	"cistern/gossip/metadata"
)

// Rendezvous hashing: every gateway draws a lot for every partition, the best
// lots win. A gateway that joins wins its share and changes nothing else; one
// that leaves gives up only what it had. The weighted form takes the smallest
// -ln(u)/weight. Logarithms of floats are not the same to the last bit on every
// architecture, and all gateways must come to one result, so the logarithm is
// made of integers.

// lot is what one gateway draws for one partition: the less, the better.
type lot struct {
	distance uint64 // -log2(u), 32 bits after the point
	weight   uint64
	id       metadata.NodeID
}

func draw(id metadata.PartitionID, m *metadata.Member) lot {
	h := fnv.New64a()
	h.Write([]byte(id.Stream))
	h.Write([]byte{0})
	h.Write(strconv.AppendInt(nil, int64(id.Partition), 10))
	h.Write([]byte{0})
	h.Write([]byte(m.Name))
	return lot{distance: distance(mix(h.Sum64())), weight: weight(m), id: m.ID}
}

// beats compares without dividing. distance has at most 39 bits, a weight 10.
func (a lot) beats(b lot) bool {
	x, y := a.distance*b.weight, b.distance*a.weight
	return x < y || x == y && a.id < b.id
}

func weight(m *metadata.Member) uint64 { return uint64(min(max(m.Weight, 1), WeightMax)) }

// mix spreads every bit of h over all of them (the finalizer of SplitMix64):
// names that differ in the last letter only leave FNV's upper bits nearly alike.
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// distance returns 64 - log2(h), which is -log2 of h as a fraction of 2^64,
// with 32 bits after the point; at least the smallest of them.
func distance(h uint64) uint64 {
	h |= 1
	zeros := bits.LeadingZeros64(h)
	m := h << zeros // 1 <= m < 2, with 63 bits after the point
	log := uint64(63 - zeros)
	for range 32 {
		// Squaring doubles the logarithm: its next bit is whether m reached 2.
		hi, lo := bits.Mul64(m, m)
		log <<= 1
		if hi>>63 == 1 {
			log, m = log|1, hi
		} else {
			m = hi<<1 | lo>>63
		}
	}
	return 64<<32 - log
}
