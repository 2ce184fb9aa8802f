package segment

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
)

const testSize = 16 * PageSize

func testHeader(id, firstSeq uint64) Header {
	return Header{Store: StoreID{1, 2, 3}, ID: id, FirstSeq: firstSeq, SizeBytes: testSize, Lane: 1}
}

// build writes commits with one frame of each given size to a new image.
func build(h Header, image []byte, sizes ...int) (positions []int64) {
	var e Encoder
	pos, seq := int64(0), h.FirstSeq
	for i, n := range sizes {
		e.Reset(h, pos)
		payload := bytes.Repeat([]byte{byte('a' + i)}, n)
		e.End(append(e.Begin(FrameBatch, uint32(i)), payload...))
		e.End(append(e.Begin(FrameState, 0), "state"...))
		b := e.Finish(seq, int64(seq), 0)
		copy(image[pos:], b)
		positions = append(positions, max(pos, PageSize))
		pos += int64(len(b))
		seq++
	}
	return positions
}

func scan(t *testing.T, image []byte, h Header, seqEnd uint64) (seqs []uint64, damage []string, end int64) {
	t.Helper()
	end, err := Scan(bytes.NewReader(image), h, seqEnd, func(c Commit) error {
		seqs = append(seqs, c.Seq)
		return nil
	}, func(d *Damage) { damage = append(damage, fmt.Sprint(d.FirstSeq, "-", d.LastSeq)) })
	if err != nil {
		t.Fatal(err)
	}
	return seqs, damage, end
}

// TestTornStates is a table of what a crash or a dying card can leave, by name.
func TestTornStates(t *testing.T) {
	h := testHeader(7, 100)
	sizes := []int{10, 5000, 20, 9000, 30}
	for _, c := range []struct {
		name   string
		break_ func(image []byte, at []int64)
		seqEnd uint64
		want   []uint64
		damage []string
	}{
		{name: "whole", want: []uint64{100, 101, 102, 103, 104}},
		{name: "last commit missing", break_: func(m []byte, at []int64) { zero(m[at[4]:]) }, want: []uint64{100, 101, 102, 103}},
		{name: "last commit torn at 512", break_: func(m []byte, at []int64) { zero(m[at[4]+64:]) }, want: []uint64{100, 101, 102, 103}},
		{name: "last two, the first of them torn", break_: func(m []byte, at []int64) { zero(m[at[4]:]); zero(m[at[3]+4096 : at[3]+8192]) },
			want: []uint64{100, 101, 102}},
		{name: "noise in the last commit's header", break_: func(m []byte, at []int64) { m[at[4]+20] ^= 1 }, want: []uint64{100, 101, 102, 103}},
		{name: "noise in its frame header", break_: func(m []byte, at []int64) { m[at[4]+CommitHeaderLen+9] ^= 0x80 }, want: []uint64{100, 101, 102, 103}},
		{name: "first commit missing: nothing confirmed", break_: func(m []byte, at []int64) { zero(m[at[0]:]) }},
		{name: "a bit flipped in the middle", break_: func(m []byte, at []int64) { m[at[1]+4000] ^= 4 },
			want: []uint64{100, 102, 103, 104}, damage: []string{"101-101"}},
		{name: "two commits lost in the middle", break_: func(m []byte, at []int64) { zero(m[at[1]:at[3]]) },
			want: []uint64{100, 103, 104}, damage: []string{"101-102"}},
		{name: "excluded by the next segment's first number", seqEnd: 103, want: []uint64{100, 101, 102}},
		{name: "a gap whose far side is excluded", seqEnd: 103, break_: func(m []byte, at []int64) { zero(m[at[2] : at[2]+4096]) },
			want: []uint64{100, 101}},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := make([]byte, testSize)
			at := build(h, image, sizes...)
			if c.break_ != nil {
				c.break_(image, at)
			}
			seqs, damage, _ := scan(t, image, h, c.seqEnd)
			if !reflect.DeepEqual(seqs, c.want) || !reflect.DeepEqual(damage, c.damage) {
				t.Errorf("commits %v, damage %v; want %v, %v", seqs, damage, c.want, c.damage)
			}
		})
	}
}

func zero(b []byte) { clear(b) }

// TestRecycled: what an earlier use of the file left behind never counts, even
// where it is whole, fits in place and carries the expected sequence number.
func TestRecycled(t *testing.T) {
	image := make([]byte, testSize)
	old := testHeader(3, 100)
	build(old, image, 10, 10, 10, 10)
	h := testHeader(9, 100)
	build(h, image, 20)
	if seqs, damage, end := scan(t, image, h, 0); len(seqs) != 1 || damage != nil || end != 2*PageSize {
		t.Errorf("commits %v, damage %v, end %d; want one commit, none, %d", seqs, damage, end, 2*PageSize)
	}
	_, _, err := ParseFrame(image[2*PageSize+CommitHeaderLen:3*PageSize], h.Use(), 2*PageSize+CommitHeaderLen)
	if err == nil {
		t.Error("a frame of an earlier use passed for one of this")
	}
}

// TestForgedCommit: a device knows this format, guesses the segment's ID and
// puts a whole commit into its payload where a page begins. If power tears the
// commit that carries it, the forgery must not be found.
func TestForgedCommit(t *testing.T) {
	h := testHeader(7, 100)
	forger := h
	forger.Store = StoreID{} // all that it can't know
	forged := make([]byte, testSize)
	build(forger, forged, 10, 10, 10)
	image := make([]byte, testSize)
	at := build(h, image, 10, 3*PageSize)
	copy(image[at[1]+PageSize:], forged[3*PageSize:4*PageSize]) // its third commit, with number 102
	if seqs, damage, _ := scan(t, image, h, 0); len(seqs) != 1 || damage != nil {
		t.Errorf("commits %v, damage %v; want the first alone", seqs, damage)
	}
	// The test of the test: whoever knew the store ID would get through.
	if seqs, _, _ := scan(t, image, forger, 0); len(seqs) != 1 || seqs[0] != 102 {
		t.Errorf("its own store finds %v in it, want the forgery: it is not whole", seqs)
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	h := testHeader(5, 6)
	page := h.AppendTo(nil)
	if len(page) != PageSize {
		t.Fatalf("header takes %d bytes, want a page", len(page))
	}
	got, err := ParseHeader(page)
	if err != nil || got != h {
		t.Errorf("got %+v, %v; want %+v", got, err, h)
	}
	for i := range headerLen {
		page[i] ^= 1
		if _, err := ParseHeader(page); err == nil {
			t.Errorf("byte %d flipped: accepted", i)
		}
		page[i] ^= 1
	}
}

func randomIndex(rng *rand.Rand, partitions, batches int) Index {
	x := Index{}
	for p := range partitions {
		ref := uint32(p * 3)
		offset, pos := rng.Int64N(1<<40), int64(PageSize)
		for range rng.IntN(batches + 1) {
			n := rng.Int64N(500) + 1
			size := rng.IntN(5000) + 77
			x.Append(ref, offset, offset+n, pos, size)
			offset += n
			pos += int64(size) + rng.Int64N(9000)
		}
		if rng.IntN(5) == 0 {
			x.Truncate(ref, max(offset-rng.Int64N(1000), 0))
		}
	}
	return x
}

func TestFooterRoundTrip(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		f := Footer{Trailer: Trailer{SegmentID: rng.Uint64(), FirstSeq: 4, LastSeq: 90, AgeMillis: 1234, Used: 1 << 20, Lane: 2},
			Index: randomIndex(rng, rng.IntN(300), rng.IntN(50))}
		b := f.AppendTo(nil)
		partitions, batches := f.Index.Counts()
		if int64(len(b)) > FooterMax(partitions, batches) {
			t.Fatalf("seed %d: footer has %d bytes, FooterMax says %d", seed, len(b), FooterMax(partitions, batches))
		}
		got, err := ParseFooter(b)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		sum, err := ParseSummary(b[int64(len(b))-got.SummarySize():])
		if err != nil {
			t.Fatalf("seed %d: summary: %v", seed, err)
		}
		for ref, e := range f.Index {
			g, s := got.Index[ref], sum.Index[ref]
			if g.Base != e.Base || g.Next != e.Next || g.Bytes != e.Bytes || g.TruncatedTo != e.TruncatedTo ||
				len(g.Refs) != len(e.Refs) || len(e.Refs) > 0 && !reflect.DeepEqual(g.Refs, e.Refs) {
				t.Fatalf("seed %d, partition %d: got %+v, want %+v", seed, ref, g, e)
			}
			if s.Base != e.Base || s.Next != e.Next || s.Refs != nil {
				t.Fatalf("seed %d, partition %d: summary %+v, want %+v without references", seed, ref, s, e)
			}
		}
	}
}

func TestIndexFind(t *testing.T) {
	x := Index{}
	for _, b := range []struct{ base, next int64 }{{10, 15}, {15, 16}, {16, 30}} {
		x.Append(1, b.base, b.next, b.base*100, 80)
	}
	for offset, want := range map[int64]int{5: 0, 10: 0, 14: 0, 15: 1, 16: 2, 29: 2, 99: 2} {
		if got := x[1].Find(offset); got != want {
			t.Errorf("offset %d: batch %d, want %d", offset, got, want)
		}
	}
	x.Truncate(1, 16)
	x.Append(1, 16, 20, 9000, 80)
	if e := x[1]; e.Base != 10 || e.Next != 20 || e.Refs[2].Pos != 9000 || e.Bytes != 240 || e.TruncatedTo != 16 {
		t.Errorf("after truncating: %+v", e)
	}
	x.Truncate(1, 4) // below all that is here
	x.Append(1, 4, 5, 10000, 80)
	if e := x[1]; e.Base != 4 || e.Next != 5 || len(e.Refs) != 1 {
		t.Errorf("after truncating below the base: %+v", e)
	}
}

func FuzzScan(f *testing.F) {
	image := make([]byte, testSize)
	h := testHeader(7, 100)
	build(h, image, 10, 5000, 20)
	f.Add(image, uint64(7), uint64(100))
	f.Fuzz(func(t *testing.T, image []byte, id, first uint64) {
		h := Header{ID: id, FirstSeq: first, SizeBytes: uint32(len(image))}
		last := first
		Scan(bytes.NewReader(image), h, 0, func(c Commit) error {
			if c.Seq < last || c.Next() > PageAlign(int64(len(image))) {
				t.Fatalf("commit %d up to %d in an image of %d", c.Seq, c.Next(), len(image))
			}
			last = c.Seq + 1
			return nil
		}, func(*Damage) {})
	})
}

func FuzzFooter(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 1))
	f.Add(Footer{Trailer: Trailer{SegmentID: 1, Used: 1 << 20}, Index: randomIndex(rng, 3, 4)}.AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		// A checksum stops nearly all of what a fuzzer makes up; parse what is
		// behind it as well.
		ParseFooter(b)
		parseRefs(&PartitionIndex{}, b, uint64(len(b))/3)
		if len(b) > TrailerLen {
			tr := Trailer{summaryLen: uint32(len(b) - TrailerLen), Used: 1 << 30}
			tr.summaryCRC = crcOf(b[:len(b)-TrailerLen])
			ParseFooter(tr.appendTo(b[: len(b)-TrailerLen : len(b)-TrailerLen]))
		}
	})
}

func FuzzFrame(f *testing.F) {
	image := make([]byte, testSize)
	build(testHeader(7, 100), image, 10)
	f.Add(image[PageSize+CommitHeaderLen:2*PageSize], uint64(7))
	f.Fuzz(func(t *testing.T, b []byte, id uint64) {
		ParseCommitHeader(b, Use{id: id})
		ParseHeader(b)
		if fr, rest, err := ParseFrame(b, Use{id: id}, 0); err == nil && FrameHeaderLen+len(fr.Payload)+len(rest) != len(b) {
			t.Fatal("frame and rest are not the input")
		}
	})
}

// countingReader counts the bytes that were asked for.
type countingReader struct {
	*bytes.Reader
	n int64
}

func (r *countingReader) ReadAt(b []byte, off int64) (int, error) {
	r.n += int64(len(b))
	return r.Reader.ReadAt(b, off)
}

// TestScanReadsEveryByteOnce: a card reads slowly, and opening waits for it.
func TestScanReadsEveryByteOnce(t *testing.T) {
	const size = 8 * scanAhead
	h := Header{ID: 1, FirstSeq: 1, SizeBytes: size}
	image := make([]byte, size)
	var sizes []int
	for i := range 30 {
		sizes = append(sizes, 1000+i*i*50) // some span what is read at a time
	}
	build(h, image, sizes...)
	r := &countingReader{Reader: bytes.NewReader(image)}
	commits := 0
	if _, err := Scan(r, h, 0, func(Commit) error { commits++; return nil }, func(d *Damage) { t.Error(d) }); err != nil {
		t.Fatal(err)
	}
	if commits != len(sizes) || r.n > size {
		t.Errorf("%d commits of %d, %d bytes read of a segment of %d", commits, len(sizes), r.n, size)
	}
}
