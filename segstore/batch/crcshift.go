package batch

import "hash/crc32"

// CRC arithmetic: a CRC is the remainder of a polynomial over GF(2) modulo a
// fixed one, written with x^0 in the highest bit. Following n more zero bytes
// multiplies it by x^8n.

// shiftPower[k][d] is x^(8·d·256^k) modulo the CRC-32C polynomial: the factor
// for n bytes is the product of one entry per base-256 digit of n.
var shiftPower = makeShiftPower()

const (
	crcOne   = 1 << 31      // x^0
	crcXByte = 1 << 31 >> 8 // x^8
)

// shift returns the remainder c after n zero bytes more, in a time that depends
// on the number of digits of n, not on n.
func shift(c uint32, n int) uint32 {
	for k := 0; n > 0; k, n = k+1, n>>8 {
		if d := n & 0xff; d != 0 {
			c = polyMul(c, shiftPower[k][d])
		}
	}
	return c
}

// polyMul multiplies modulo the CRC-32C polynomial, four bits of a at a time:
// a loop over single bits takes twice as long.
func polyMul(a, b uint32) uint32 {
	b8 := b // x^0 is the highest of four bits
	b4 := timesX(b8)
	b2 := timesX(b4)
	b1 := timesX(b2)
	b12, b3 := b8^b4, b2^b1
	multiple := [16]uint32{
		0, b1, b2, b3,
		b4, b4 ^ b1, b4 ^ b2, b4 ^ b3,
		b8, b8 ^ b1, b8 ^ b2, b8 ^ b3,
		b12, b12 ^ b1, b12 ^ b2, b12 ^ b3,
	}
	var product uint32
	for range 8 {
		product = product>>4 ^ castagnoli[product&15<<4] ^ multiple[a&15]
		a >>= 4
	}
	return product
}

func timesX(a uint32) uint32 { return a>>1 ^ crc32.Castagnoli&-(a&1) }

func makeShiftPower() *[4][256]uint32 {
	var t [4][256]uint32
	step := uint32(crcXByte)
	for k := range t {
		t[k][0] = crcOne
		for d := 1; d < 256; d++ {
			t[k][d] = polyMul(t[k][d-1], step)
		}
		step = polyMul(t[k][255], step)
	}
	return &t
}
