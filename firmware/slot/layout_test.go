package slot

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestPartitionsDoNotOverlap(t *testing.T) {
	at := int64(SectorBytes)
	for i, p := range Layout(0).Parts {
		if p.Start < at || p.Start%AlignBytes != 0 || p.Bytes%AlignBytes != 0 {
			t.Errorf("partition %d at %d with %d bytes, the one before ends at %d", i+1, p.Start, p.Bytes, at)
		}
		at = p.Start + p.Bytes
	}
	if at > ImageBytes {
		t.Errorf("the last partition ends at %d, the image at %d", at, ImageBytes)
	}
	if A.Other() != B || B.Other() != A || A.Start() != Layout(0).Parts[A.Partition()-1].Start || B.Start() != Layout(0).Parts[B.Partition()-1].Start {
		t.Error("the slots are not where the table has them")
	}
}

func TestSlotNames(t *testing.T) {
	for _, s := range []Slot{A, B} {
		if got, err := Parse(s.String()); got != s || err != nil {
			t.Errorf("%s reads as %s, %v", s, got, err)
		}
		if got, err := ByPartition(s.Partition()); got != s || err != nil {
			t.Errorf("partition %d is %s, %v", s.Partition(), got, err)
		}
	}
	if _, err := Parse("c"); err == nil {
		t.Error("there is a slot c")
	}
	for _, n := range []int{0, 1, 4} {
		if _, err := ByPartition(n); err == nil {
			t.Errorf("partition %d is a slot", n)
		}
	}
}

func TestTableReadsAsWritten(t *testing.T) {
	want := Layout(0xc157e2)
	want.Parts[3].Bytes = 30 << 30
	got, err := DecodeTable(want.Encode())
	if err != nil || got != want {
		t.Fatalf("%+v, %v; wrote %+v", got, err, want)
	}
}

func TestOthersTablesAreRefused(t *testing.T) {
	good := Layout(1).Encode()
	for name, spoil := range map[string]func(b []byte){
		"no magic":         func(b []byte) { b[510] = 0 },
		"slot b elsewhere": func(b []byte) { b[446+2*16+8] ^= 1 },
		"p1 shorter":       func(b []byte) { b[446+12] ^= 1 },
		"data too short":   func(b []byte) { b[446+3*16+14] = 0 },
		"empty":            func(b []byte) { clear(b) },
	} {
		b := good
		spoil(b[:])
		if _, err := DecodeTable(b); !errors.Is(err, ErrNotOurs) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGrowData(t *testing.T) {
	const gib = int64(1) << 30
	for _, c := range []struct{ card, want int64 }{
		{32 * gib, 32*gib - DataStart},
		{32*gib + 12345*512, 32*gib + 12345*512/AlignBytes*AlignBytes - DataStart},
		{DataStart + DataBytes, DataBytes},
		{1 << 20, DataBytes}, // never smaller
		{9000 * gib, 0xffffffff / 8192 * AlignBytes},
	} {
		m := newCard(t)
		m.b[100] = 0xab // somebody's boot code
		before := bytes.Clone(m.b)
		p, grown, err := GrowData(m, c.card)
		if err != nil || p.Bytes != c.want || grown != (c.want != DataBytes) {
			t.Errorf("card of %d: %d bytes, grown %v, %v; want %d", c.card, p.Bytes, grown, err, c.want)
		}
		after, err := ReadTable(m)
		if err != nil || after.Data() != p {
			t.Errorf("card of %d: reads back %+v, %v", c.card, after, err)
		}
		at := entriesAt + 3*entrySize + 12
		copy(m.b[at:at+4], before[at:])
		if !bytes.Equal(m.b, before) {
			t.Errorf("card of %d: more than the length was changed", c.card)
		}
		if !grown && len(m.writes) > 0 {
			t.Errorf("card of %d: written though nothing changed", c.card)
		}
	}
}

func TestGrowDataSaysWhatFailed(t *testing.T) {
	for name, spoil := range map[string]func(m *memory){
		"write":     func(m *memory) { m.failAt = 0 },
		"sync":      func(m *memory) { m.failSync = true },
		"read back": func(m *memory) { m.flip = 3 },
	} {
		m := newCard(t)
		spoil(m)
		if _, _, err := GrowData(m, 64<<30); err == nil || !strings.Contains(err.Error(), "partition table") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSectionKeepsToItself(t *testing.T) {
	m := newMemory(4096)
	s := Section(m, 1024, 1024)
	b := make([]byte, 512)
	for _, off := range []int64{-1, 513, 1024, 1 << 62} {
		if _, err := s.WriteAt(b, off); !errors.Is(err, ErrOutside) {
			t.Errorf("write at %d: %v", off, err)
		}
		if _, err := s.ReadAt(b, off); !errors.Is(err, ErrOutside) {
			t.Errorf("read at %d: %v", off, err)
		}
	}
	if _, err := s.WriteAt(bytes.Repeat([]byte{1}, 512), 512); err != nil || m.b[1536] != 1 || m.b[2047] != 1 || m.b[2048] != 0 {
		t.Errorf("write at the end: %v", err)
	}
}

func FuzzTable(f *testing.F) {
	good := Layout(1).Encode()
	f.Add(good[:])
	f.Add(make([]byte, 512))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s [SectorBytes]byte
		copy(s[:], b)
		table, err := DecodeTable(s)
		if err != nil {
			return
		}
		m := newMemory(SectorBytes)
		copy(m.b, s[:])
		p, _, err := GrowData(m, rand.Int64N(1<<42))
		if err != nil || p.Bytes < table.Data().Bytes {
			t.Errorf("from %+v to %+v, %v", table.Data(), p, err)
		}
	})
}
