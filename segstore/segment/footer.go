package segment

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Footer closes a segment: what it holds, so that opening a store reads one
// page of each sealed segment and scans none.
//
// It lies right-aligned at the end of the file: the batch references of every
// partition, then a summary of every partition, then the trailer. The summary
// and the trailer nearly always fit the last page.
type Footer struct {
	Trailer
	Index Index // Refs are nil when only the summary was read
}

// Trailer is the last TrailerLen bytes of a sealed segment.
//
//	 0 magic          u32
//	 4 refs length    u32
//	 8 summary length u32
//	12 refs CRC-32C   u32
//	16 summary CRC    u32
//	20 used           u32  bytes from the front: header page and commits
//	24 segment ID     u64
//	32 first sequence u64
//	40 last sequence  u64
//	48 age            u64  of the last commit, ms
//	56 lane           u8, 3 reserved
//	60 CRC-32C        u32  of bytes 0 to 59
type Trailer struct {
	SegmentID  uint64
	FirstSeq   uint64
	LastSeq    uint64
	AgeMillis  int64
	Used       uint32
	Lane       uint8
	refsLen    uint32
	summaryLen uint32
	refsCRC    uint32
	summaryCRC uint32
}

// TrailerLen is the size of a trailer on flash, in bytes.
const TrailerLen = 64

const trailerMagic = 0xC157_F001

// FooterMax bounds the bytes that the footer of a segment with so many
// partitions and batches takes, in whole pages.
func FooterMax(partitions, batches int) int64 {
	const refMax, summaryMax = 14, 48
	return PageAlign(int64(batches)*refMax + int64(partitions)*summaryMax + TrailerLen)
}

// AppendTo appends the footer to dst, filled up in front to whole pages: it is
// to be written so that it ends where the file ends.
func (f Footer) AppendTo(dst []byte) []byte {
	ids := make([]uint32, 0, len(f.Index))
	for id := range f.Index {
		ids = append(ids, id)
	}
	slices.Sort(ids)

	var refs, summary []byte
	summary = binary.AppendUvarint(summary, uint64(len(ids)))
	for _, id := range ids {
		e := f.Index[id]
		before := len(refs)
		refs = appendRefs(refs, e)
		for _, v := range []uint64{uint64(id), uint64(e.Base), uint64(e.Next - e.Base), uint64(e.Bytes),
			uint64(e.TruncatedTo + 1), uint64(len(e.Refs)), uint64(len(refs) - before)} {
			summary = binary.AppendUvarint(summary, v)
		}
	}
	size := len(refs) + len(summary) + TrailerLen
	dst = append(dst, make([]byte, int(PageAlign(int64(size)))-size)...)
	dst = append(append(dst, refs...), summary...)
	f.refsLen, f.refsCRC = uint32(len(refs)), crcOf(refs)
	f.summaryLen, f.summaryCRC = uint32(len(summary)), crcOf(summary)
	return f.Trailer.appendTo(dst)
}

func appendRefs(dst []byte, e *PartitionIndex) []byte {
	offset, pos := e.Base, uint32(0)
	for _, r := range e.Refs {
		dst = binary.AppendUvarint(dst, uint64(r.Offset-offset))
		dst = binary.AppendUvarint(dst, uint64(r.Pos-pos))
		dst = binary.AppendUvarint(dst, uint64(r.Len))
		offset, pos = r.Offset, r.Pos
	}
	return dst
}

func (t Trailer) appendTo(dst []byte) []byte {
	start := len(dst)
	for _, v := range []uint32{trailerMagic, t.refsLen, t.summaryLen, t.refsCRC, t.summaryCRC, t.Used} {
		dst = binary.BigEndian.AppendUint32(dst, v)
	}
	for _, v := range []uint64{t.SegmentID, t.FirstSeq, t.LastSeq, uint64(t.AgeMillis)} {
		dst = binary.BigEndian.AppendUint64(dst, v)
	}
	dst = append(dst, t.Lane, 0, 0, 0)
	return binary.BigEndian.AppendUint32(dst, crcOf(dst[start:]))
}

// ParseTrailer reads the last bytes of a file. ErrNotWritten means the segment
// was never sealed.
func ParseTrailer(tail []byte) (Trailer, error) {
	if len(tail) < TrailerLen {
		return Trailer{}, fmt.Errorf("segment trailer: %w", ErrNotWritten)
	}
	b := tail[len(tail)-TrailerLen:]
	if binary.BigEndian.Uint32(b) != trailerMagic {
		return Trailer{}, fmt.Errorf("segment trailer: %w", ErrNotWritten)
	}
	if crcOf(b[:TrailerLen-4]) != binary.BigEndian.Uint32(b[TrailerLen-4:]) {
		return Trailer{}, fmt.Errorf("segment trailer: %w", ErrChecksum)
	}
	return Trailer{
		refsLen:    binary.BigEndian.Uint32(b[4:]),
		summaryLen: binary.BigEndian.Uint32(b[8:]),
		refsCRC:    binary.BigEndian.Uint32(b[12:]),
		summaryCRC: binary.BigEndian.Uint32(b[16:]),
		Used:       binary.BigEndian.Uint32(b[20:]),
		SegmentID:  binary.BigEndian.Uint64(b[24:]),
		FirstSeq:   binary.BigEndian.Uint64(b[32:]),
		LastSeq:    binary.BigEndian.Uint64(b[40:]),
		AgeMillis:  int64(binary.BigEndian.Uint64(b[48:])),
		Lane:       b[56],
	}, nil
}

// SummarySize and Size return how many bytes from the end of the file hold
// the summary and the whole footer.
func (t Trailer) SummarySize() int64 { return int64(t.summaryLen) + TrailerLen }
func (t Trailer) Size() int64        { return int64(t.refsLen) + t.SummarySize() }

// ParseSummary reads the footer without its batch references from the last
// SummarySize bytes of the file, or more.
func ParseSummary(tail []byte) (Footer, error) {
	f, _, err := parseSummary(tail)
	return f, err
}

// ParseFooter reads the whole footer from the last Size bytes of the file, or
// more.
func ParseFooter(tail []byte) (Footer, error) {
	f, order, err := parseSummary(tail)
	if err != nil {
		return f, err
	}
	if int64(len(tail)) < f.Size() {
		return f, fmt.Errorf("segment footer: %d bytes read, it has %d", len(tail), f.Size())
	}
	refs := tail[int64(len(tail))-f.Size():][:f.refsLen]
	if crcOf(refs) != f.refsCRC {
		return f, fmt.Errorf("segment footer references: %w", ErrChecksum)
	}
	for _, s := range order {
		if uint64(len(refs)) < s.refsLen {
			return f, errFooterRefs
		}
		if err := parseRefs(f.Index[s.id], refs[:s.refsLen], s.count); err != nil {
			return f, err
		}
		refs = refs[s.refsLen:]
	}
	return f, nil
}

var (
	errFooterRefs    = errors.New("segment footer references: lengths do not add up")
	errFooterSummary = errors.New("segment footer summary: a field can't be")
)

// refsOf says which part of the references belongs to a partition.
type refsOf struct {
	id             uint32
	count, refsLen uint64
}

func parseSummary(tail []byte) (Footer, []refsOf, error) {
	t, err := ParseTrailer(tail)
	if err != nil {
		return Footer{}, nil, err
	}
	f := Footer{Trailer: t, Index: Index{}}
	if int64(len(tail)) < t.SummarySize() {
		return f, nil, fmt.Errorf("segment footer: %d bytes read, the summary has %d", len(tail), t.SummarySize())
	}
	b := tail[int64(len(tail))-t.SummarySize():][:t.summaryLen]
	if crcOf(b) != t.summaryCRC {
		return f, nil, fmt.Errorf("segment footer summary: %w", ErrChecksum)
	}
	d := uvarints{b: b}
	n := d.next()
	var order []refsOf
	for range n {
		id, base, length, size, truncated := d.next(), d.next(), d.next(), d.next(), d.next()
		o := refsOf{id: uint32(id), count: d.next(), refsLen: d.next()}
		if d.bad || id > 1<<32-1 || o.count > uint64(t.Used) {
			return f, nil, errFooterSummary
		}
		f.Index[o.id] = &PartitionIndex{Base: int64(base), Next: int64(base + length), Bytes: int64(size),
			TruncatedTo: int64(truncated) - 1}
		order = append(order, o)
	}
	if !slices.IsSortedFunc(order, func(a, b refsOf) int { return cmp.Compare(a.id, b.id) }) || len(order) != len(f.Index) {
		return f, nil, errFooterSummary
	}
	return f, order, nil
}

func parseRefs(e *PartitionIndex, b []byte, count uint64) error {
	d := uvarints{b: b}
	if count > uint64(len(b)) { // a reference has three bytes at least
		return errFooterRefs
	}
	e.Refs = make([]BatchRef, 0, count)
	offset, pos := e.Base, uint64(0)
	for range count {
		offset += int64(d.next())
		pos += d.next()
		length := d.next()
		if d.bad || pos > 1<<32-1 || length > 1<<32-1 {
			return errFooterRefs
		}
		e.Refs = append(e.Refs, BatchRef{Offset: offset, Pos: uint32(pos), Len: uint32(length)})
	}
	return nil
}

// uvarints reads numbers one after the other; bad stays set after the first
// that is not there.
type uvarints struct {
	b   []byte
	bad bool
}

func (d *uvarints) next() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}
