package segment

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// CommitHeaderLen and FrameHeaderLen are the sizes on flash, in bytes.
const (
	CommitHeaderLen = 48
	FrameHeaderLen  = 16
)

const commitMagic = 0xC157_C0A1

// CommitHeader opens a commit.
//
//	 0 magic      u32
//	 4 length     u32  header and frames, without the padding
//	 8 segment ID u64
//	16 sequence   u64  one higher than the commit before, across segments
//	24 age        u64  ms the store has been running, over all its starts
//	32 wall clock i64  ms since 1970, as this machine believed; never used for order
//	40 frames     u32
//	44 CRC-32C    u32  of bytes 0 to 43, seeded by the Use
type CommitHeader struct {
	Length    uint32
	SegmentID uint64
	Seq       uint64
	AgeMillis int64
	WallMilli int64
	Frames    uint32
}

// FrameType says what a frame's payload is.
type FrameType uint8

const (
	FrameBatch    FrameType = 1 // a Kafka record batch v2, offset and epoch stamped
	FrameTruncate FrameType = 2 // i64: the partition's log ends here now
	FrameState    FrameType = 3 // a small fact: u64 version, u16 key length, key, value
	FrameSnapshot FrameType = 4 // all small facts; the first frame of every segment
	FrameRestart  FrameType = 5 // i64: the partition's log is empty and goes on here; u64: how often it was restarted
)

// String names the type as the inspector shows it.
func (t FrameType) String() string {
	names := [...]string{1: "batch", 2: "truncate", 3: "state", 4: "snapshot", 5: "restart"}
	if int(t) < len(names) && names[t] != "" {
		return names[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Frame is one part of a commit. On flash:
//
//	 0 type      u8
//	 1 reserved  3 bytes, zero
//	 4 partition u32  the store's own number for it
//	 8 length    u32  of the payload
//	12 CRC-32C   u32  of bytes 0 to 11 and the payload, seeded by the Use
//	16 payload
type Frame struct {
	Type      FrameType
	Partition uint32
	Payload   []byte
	Pos       int64 // of the frame header, in the segment
}

// Use names one use of a segment file: what was written in another use of it, or
// in another store, has other checksums. The seed holds the store's random ID,
// so a device can't put bytes into a payload that would pass for a commit if
// power went while they were written.
type Use struct {
	id   uint64
	seed uint32
}

// UseOf returns the use of a file as segment id of a store.
func UseOf(store StoreID, id uint64) Use {
	var b [len(store) + 8]byte
	copy(b[:], store[:])
	binary.BigEndian.PutUint64(b[len(store):], id)
	return Use{id, crcOf(b[:])}
}

// Use returns the use that the header begins.
func (h Header) Use() Use { return UseOf(h.Store, h.ID) }

func (u Use) crc(parts ...[]byte) uint32 {
	crc := u.seed
	for _, b := range parts {
		crc = crc32.Update(crc, castagnoli, b)
	}
	return crc
}

// Encoder builds one commit in a buffer of its own, which Reset keeps.
type Encoder struct {
	buf    []byte
	start  int // of the commit in buf: a page later when a header leads it
	pos    int64
	use    Use
	frames uint32
}

// Reset begins a commit that will be written at pos of segment h.ID. When pos
// is 0 the segment begins here: the header page leads and the commit follows
// on page 1, so that both are one write.
func (e *Encoder) Reset(h Header, pos int64) {
	e.buf = e.buf[:0]
	if pos == 0 {
		e.buf = h.AppendTo(e.buf)
	}
	e.start = len(e.buf)
	e.pos, e.use, e.frames = pos, h.Use(), 0
	var zero [CommitHeaderLen]byte
	e.buf = append(e.buf, zero[:]...)
}

// Begin opens a frame and returns the buffer to append its payload to; End
// must follow with what became of the buffer.
func (e *Encoder) Begin(t FrameType, partition uint32) []byte {
	e.buf = append(e.buf, byte(t), 0, 0, 0)
	e.buf = binary.BigEndian.AppendUint32(e.buf, partition)
	return append(e.buf, 0, 0, 0, 0, 0, 0, 0, 0)
}

// End closes the frame that Begin opened. It returns the frame's position in
// the segment and its payload, which the caller may still change until the
// next Begin (a batch gets its offset only now).
func (e *Encoder) End(buf []byte) (pos int64, payload []byte) {
	head := len(e.buf) - 8
	e.buf = buf
	e.frames++
	binary.BigEndian.PutUint32(buf[head+8:], uint32(len(buf)-head-FrameHeaderLen))
	return e.pos + int64(head), buf[head+FrameHeaderLen:]
}

// Len returns the bytes the commit takes so far, header page included, before
// padding.
func (e *Encoder) Len() int { return len(e.buf) }

// Cap returns the memory the encoder holds.
func (e *Encoder) Cap() int { return cap(e.buf) }

// Finish checksums every frame, completes the header and pads to a page. The
// bytes stay valid until Reset.
func (e *Encoder) Finish(seq uint64, ageMillis, wallMillis int64) []byte {
	body := e.buf[e.start+CommitHeaderLen:]
	for len(body) > 0 {
		n := FrameHeaderLen + int(binary.BigEndian.Uint32(body[8:]))
		binary.BigEndian.PutUint32(body[12:], e.use.crc(body[:12], body[FrameHeaderLen:n]))
		body = body[n:]
	}
	CommitHeader{
		Length:    uint32(len(e.buf) - e.start),
		SegmentID: e.use.id,
		Seq:       seq,
		AgeMillis: ageMillis,
		WallMilli: wallMillis,
		Frames:    e.frames,
	}.put(e.buf[e.start:], e.use)
	pad := int(PageAlign(int64(len(e.buf)))) - len(e.buf)
	e.buf = append(e.buf, zeroPage[:pad]...)
	return e.buf
}

var zeroPage [PageSize]byte

func (h CommitHeader) put(b []byte, u Use) {
	binary.BigEndian.PutUint32(b[0:], commitMagic)
	binary.BigEndian.PutUint32(b[4:], h.Length)
	binary.BigEndian.PutUint64(b[8:], h.SegmentID)
	binary.BigEndian.PutUint64(b[16:], h.Seq)
	binary.BigEndian.PutUint64(b[24:], uint64(h.AgeMillis))
	binary.BigEndian.PutUint64(b[32:], uint64(h.WallMilli))
	binary.BigEndian.PutUint32(b[40:], h.Frames)
	binary.BigEndian.PutUint32(b[44:], u.crc(b[:44]))
}

// ParseCommitHeader reads a commit header. ErrNotWritten means that no commit of
// this use of the segment begins here.
func ParseCommitHeader(b []byte, u Use) (CommitHeader, error) {
	if len(b) < CommitHeaderLen || binary.BigEndian.Uint32(b) != commitMagic ||
		binary.BigEndian.Uint64(b[8:]) != u.id {
		return CommitHeader{}, fmt.Errorf("commit header: %w", ErrNotWritten)
	}
	if u.crc(b[:44]) != binary.BigEndian.Uint32(b[44:]) {
		return CommitHeader{}, fmt.Errorf("commit header: %w", ErrChecksum)
	}
	h := CommitHeader{
		Length:    binary.BigEndian.Uint32(b[4:]),
		SegmentID: u.id,
		Seq:       binary.BigEndian.Uint64(b[16:]),
		AgeMillis: int64(binary.BigEndian.Uint64(b[24:])),
		WallMilli: int64(binary.BigEndian.Uint64(b[32:])),
		Frames:    binary.BigEndian.Uint32(b[40:]),
	}
	if h.Length < CommitHeaderLen {
		return CommitHeader{}, fmt.Errorf("commit header: length is %d, the header alone has %d", h.Length, CommitHeaderLen)
	}
	return h, nil
}

// PeekCommit returns the segment ID and sequence number that stand where a
// commit header has them. Nothing is checked: they are a guess to try.
func PeekCommit(b []byte) (segmentID, seq uint64) {
	return binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])
}

// ParseFrame reads the frame at the front of b, which lies at pos, and returns
// what follows it. The payload is a part of b.
func ParseFrame(b []byte, u Use, pos int64) (f Frame, rest []byte, err error) {
	if len(b) < FrameHeaderLen {
		return f, nil, fmt.Errorf("frame at %d: %d bytes left, a header has %d", pos, len(b), FrameHeaderLen)
	}
	n := int64(binary.BigEndian.Uint32(b[8:]))
	if n > int64(len(b)-FrameHeaderLen) {
		return f, nil, fmt.Errorf("frame at %d: length is %d, %d bytes left", pos, n, len(b)-FrameHeaderLen)
	}
	payload := b[FrameHeaderLen : FrameHeaderLen+n]
	if u.crc(b[:12], payload) != binary.BigEndian.Uint32(b[12:]) {
		return f, nil, fmt.Errorf("frame at %d: %w", pos, ErrChecksum)
	}
	f = Frame{Type: FrameType(b[0]), Partition: binary.BigEndian.Uint32(b[4:]), Payload: payload, Pos: pos}
	return f, b[FrameHeaderLen+n:], nil
}
