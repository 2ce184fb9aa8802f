package load

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// Records makes n JSON records of exactly size bytes, as one device of a plant
// would send them one after the other: values that wander a little, a counter,
// a clock. How well they compress matters, so they are neither random bytes nor
// the same record n times.
func Records(device, n, size int) [][]byte {
	rng := rand.New(rand.NewPCG(uint64(device), 42))
	walk := make([]float64, 64)
	for i := range walk {
		walk[i] = 20 + 60*rng.Float64()
	}
	clock := int64(1_763_800_000_000) + int64(device)*137
	out := make([][]byte, n)
	for i := range out {
		clock += 980 + rng.Int64N(40)
		out[i] = record(rng, walk, device, i, clock, size)
	}
	return out
}

func record(rng *rand.Rand, walk []float64, device, seq int, clock int64, size int) []byte {
	b := fmt.Appendf(make([]byte, 0, size+32), `{"ts":%d,"dev":"press-%02d","seq":%d`, clock, device, seq)
	for field := 0; ; field++ {
		name := fieldNames[field%len(fieldNames)]
		v := &walk[field%len(walk)]
		*v += rng.NormFloat64() / 4
		next := fmt.Appendf(nil, `,"%s%d":%.2f`, name, field/len(fieldNames), math.Abs(*v))
		if len(b)+len(next)+len(`,"u":""}`) > size {
			break
		}
		b = append(b, next...)
	}
	b = append(b, `,"u":"`...)
	for len(b) < size-2 {
		b = append(b, "0123456789abcdef"[rng.IntN(16)])
	}
	return append(b, `"}`...)
}

var fieldNames = []string{"temp", "press", "rpm", "amp", "volt", "flow", "vib", "level"}
