package nbd

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

const testBlocks = 64

func newCard(t *testing.T, blocks int) (*Card, string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "card")
	must(t, os.WriteFile(name, nil, 0o600))
	must(t, os.Truncate(name, int64(blocks)*blockBytes))
	c, err := Open(name)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c, name
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, c *Card, off int64, b []byte) {
	t.Helper()
	_, err := c.WriteAt(b, off)
	must(t, err)
}

func read(t *testing.T, c *Card, off int64, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, err := c.ReadAt(b, off)
	must(t, err)
	return b
}

func filled(n int, with byte) []byte { return bytes.Repeat([]byte{with}, n) }

// What was written is read, wherever it is: random writes and flushes against
// a plain slice.
func TestReadsWhatWasWritten(t *testing.T) {
	c, name := newCard(t, testBlocks)
	want := make([]byte, testBlocks*blockBytes)
	r := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		off, n := r.IntN(len(want)), 1+r.IntN(3*blockBytes)
		n = min(n, len(want)-off)
		switch r.IntN(10) {
		case 0:
			must(t, c.Sync())
		case 1:
			b := filled(n, byte(r.Uint32()))
			copy(want[off:], b)
			_, err := c.WriteThrough(b, int64(off))
			must(t, err)
		case 2, 3, 4:
			if !bytes.Equal(read(t, c, int64(off), n), want[off:off+n]) {
				t.Fatalf("%d bytes at %d are not what was written", n, off)
			}
		default:
			b := filled(n, byte(r.Uint32()))
			copy(want[off:], b)
			write(t, c, int64(off), b)
		}
	}
	must(t, c.Close())
	got, err := os.ReadFile(name)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Error("the file of a card that was taken out is not what was written")
	}
}

// Whatever the seed: flushed blocks stay, an unflushed sector is old or new.
func TestCutLosesOnlyWhatWasNotFlushed(t *testing.T) {
	var all Cut
	for seed := range uint64(50) {
		c, _ := newCard(t, testBlocks)
		write(t, c, 0, filled(testBlocks*blockBytes, 'o'))
		must(t, c.Sync())
		write(t, c, 0, filled(testBlocks/2*blockBytes, 'n'))
		cut := c.PowerCut(seed)
		if cut.Lost+cut.Torn+cut.Kept != testBlocks/2 {
			t.Fatalf("seed %d: %v", seed, cut)
		}
		if _, err := c.ReadAt(make([]byte, 1), 0); !errors.Is(err, ErrCut) {
			t.Fatalf("reading without power: %v", err)
		}
		c.Restore()
		if back := read(t, c, testBlocks/2*blockBytes, testBlocks/2*blockBytes); !bytes.Equal(back, filled(len(back), 'o')) {
			t.Fatalf("seed %d: what was flushed and not written since has changed", seed)
		}
		for s := range testBlocks / 2 * sectors {
			b := read(t, c, int64(s)*sectorBytes, sectorBytes)
			if !bytes.Equal(b, filled(sectorBytes, 'o')) && !bytes.Equal(b, filled(sectorBytes, 'n')) {
				t.Fatalf("seed %d: sector %d is neither old nor new", seed, s)
			}
		}
		all = Cut{all.Lost + cut.Lost, all.Torn + cut.Torn, all.Kept + cut.Kept}
	}
	if total := all.Lost + all.Torn + all.Kept; all.Lost < total/3 || all.Torn < total/6 || all.Kept < total/6 {
		t.Errorf("the fates of 50 cuts: %v", all)
	}
}

func TestSameSeedSameCut(t *testing.T) {
	after := func(seed uint64) []byte {
		c, name := newCard(t, testBlocks)
		write(t, c, 0, filled(testBlocks*blockBytes, 'x'))
		c.PowerCut(seed)
		b, err := os.ReadFile(name)
		must(t, err)
		return b
	}
	if !bytes.Equal(after(7), after(7)) {
		t.Error("two cuts with the same seed differ")
	}
	if bytes.Equal(after(7), after(8)) {
		t.Error("two cuts with other seeds are the same")
	}
}

func TestWriteThroughSurvives(t *testing.T) {
	for seed := range uint64(8) {
		c, _ := newCard(t, testBlocks)
		write(t, c, 0, filled(blockBytes, 'a'))
		_, err := c.WriteThrough(filled(sectorBytes, 'b'), sectorBytes)
		must(t, err)
		c.PowerCut(seed)
		c.Restore()
		if !bytes.Equal(read(t, c, sectorBytes, sectorBytes), filled(sectorBytes, 'b')) {
			t.Fatalf("seed %d: lost what was written through", seed)
		}
	}
}

// The control of the tests that use this: a lying card loses.
func TestLyingCardLosesWhatWasFlushed(t *testing.T) {
	c, _ := newCard(t, testBlocks)
	c.Lie(true)
	write(t, c, 0, filled(testBlocks*blockBytes, 'x'))
	must(t, c.Sync())
	if cut := c.PowerCut(1); cut.Lost == 0 {
		t.Errorf("a lying card lost nothing: %v", cut)
	}
}

func TestCutsInTheMiddleOfTheWriteAskedFor(t *testing.T) {
	c, _ := newCard(t, testBlocks)
	gone := c.Gone()
	c.CutAfter(3, 1)
	for i := range int64(2) {
		write(t, c, i*blockBytes, filled(blockBytes, 'x'))
	}
	select {
	case <-gone:
		t.Fatal("cut too early")
	default:
	}
	if _, err := c.WriteAt(filled(blockBytes, 'x'), 0); !errors.Is(err, ErrCut) {
		t.Fatalf("the third write: %v", err)
	}
	<-gone
	if err := c.Sync(); !errors.Is(err, ErrCut) {
		t.Errorf("a flush without power: %v", err)
	}
	if cut := c.Restore(); cut.Lost+cut.Torn+cut.Kept != 2 {
		t.Errorf("%v; 2 blocks were unflushed", cut)
	}
	write(t, c, 0, filled(blockBytes, 'y'))
	must(t, c.Sync())
}

// A cache has an end; who writes more without a flush gets the oldest written.
func TestCacheIsBounded(t *testing.T) {
	const more = 10
	c, _ := newCard(t, cacheBlocksMax+more)
	for i := range int64(cacheBlocksMax + more) {
		write(t, c, i*blockBytes, filled(blockBytes, 'x'))
	}
	if len(c.dirty) != cacheBlocksMax {
		t.Errorf("%d blocks in a cache of %d", len(c.dirty), cacheBlocksMax)
	}
	c.PowerCut(1)
	c.Restore()
	if !bytes.Equal(read(t, c, 0, more*blockBytes), filled(more*blockBytes, 'x')) {
		t.Error("the oldest blocks were not written back")
	}
}

func TestRefuses(t *testing.T) {
	c, name := newCard(t, 1)
	for _, off := range []int64{-1, 1, blockBytes, blockBytes + 1} {
		if _, err := c.WriteAt(make([]byte, blockBytes), off); !errors.Is(err, ErrRange) {
			t.Errorf("a block at %d: %v", off, err)
		}
	}
	must(t, os.Truncate(name, 100))
	if _, err := Open(name); err == nil {
		t.Error("100 bytes are taken for a card")
	}
}
