package segment

import (
	"errors"
	"fmt"
	"io"
)

// Commit is one whole commit that was read back and found good.
type Commit struct {
	CommitHeader
	Pos    int64 // of the commit header, in the segment
	Frames []Frame
}

// Next returns the position after the commit and its padding.
func (c Commit) Next() int64 { return PageAlign(c.Pos + int64(c.Length)) }

// Damage is a commit in the middle of a segment that can't be read although
// later ones can: flash lost what it had confirmed.
type Damage struct {
	SegmentID uint64
	From, To  int64 // positions in the segment
	FirstSeq  uint64
	LastSeq   uint64
	Cause     error
}

func (d *Damage) Error() string {
	return fmt.Sprintf("segment %d, bytes %d to %d (commits %d to %d): %v",
		d.SegmentID, d.From, d.To-1, d.FirstSeq, d.LastSeq, d.Cause)
}

func (d *Damage) Unwrap() error { return d.Cause }

// Scan reads the commits of the segment with header h from r, in order, and
// calls fn with each; frames are valid during the call only. It stops before
// the commit with sequence number seqEnd (0: none), at the first that is not
// whole, or when fn fails, and returns the position where it stopped.
//
// One commit that is not whole is the end of the log, torn by a power cut,
// and no error: it was never confirmed. But a commit is written only after
// the one before it was synced; so when a later one of this use of the segment
// is found, what is missing had been confirmed. damaged is then called, and
// the scan goes on behind the gap.
func Scan(r io.ReaderAt, h Header, seqEnd uint64, fn func(Commit) error, damaged func(*Damage)) (end int64, err error) {
	s := scanner{r: r, use: h.Use(), limit: int64(h.SizeBytes)}
	pos, seq := int64(PageSize), h.FirstSeq
	for seqEnd == 0 || seq < seqEnd {
		c, err := s.read(pos, seq)
		if err == nil {
			if err := fn(c); err != nil {
				return pos, err
			}
			pos, seq = c.Next(), seq+1
			continue
		}
		if isIO(err) {
			return pos, err
		}
		found, ok, ioErr := s.findAfter(pos+PageSize, seq)
		if ioErr != nil {
			return pos, ioErr
		}
		if !ok || seqEnd != 0 && found.Seq >= seqEnd {
			return pos, nil
		}
		damaged(&Damage{SegmentID: h.ID, From: pos, To: found.Pos, FirstSeq: seq, LastSeq: found.Seq - 1, Cause: err})
		pos, seq = found.Pos, found.Seq
	}
	return pos, nil
}

// ioError marks an error of the device, which says nothing about the log.
type ioError struct{ error }

func (e ioError) Unwrap() error { return e.error }

func isIO(err error) bool {
	var e ioError
	return errors.As(err, &e)
}

type scanner struct {
	r     io.ReaderAt
	use   Use
	limit int64
	buf   []byte
	// ahead holds bytes read before they were asked for: a scan is one
	// sequential read, not a read per commit.
	ahead    []byte
	aheadPos int64
}

// scanAhead is how much a scan reads at a time, in bytes.
const scanAhead = 256 << 10

// bytes returns n bytes at pos, which stay valid until the next call. What was
// read ahead is used, so that every byte is read once.
func (s *scanner) bytes(pos, n int64) ([]byte, error) {
	if pos+n > s.limit {
		return nil, fmt.Errorf("commit at %d reaches past the end of the segment", pos)
	}
	off := pos - s.aheadPos
	if off < 0 || off > int64(len(s.ahead)) {
		off = int64(len(s.ahead)) // nothing of it is of use
	}
	rest := s.ahead[off:]
	if n <= int64(len(rest)) {
		return rest[:n], nil
	}
	want := min(max(n, scanAhead), s.limit-pos)
	if int64(cap(s.buf)) < want {
		s.buf = make([]byte, want)
	}
	kept := int64(copy(s.buf[:want], rest))
	s.ahead = nil
	got, err := s.r.ReadAt(s.buf[kept:want], pos+kept)
	have := kept + int64(got)
	if err != nil && !(errors.Is(err, io.EOF) && have >= n) {
		return nil, ioError{fmt.Errorf("read %d bytes at %d: %w", want-kept, pos+kept, err)}
	}
	s.ahead, s.aheadPos = s.buf[:have], pos
	return s.ahead[:n], nil
}

// read returns the commit at pos, which must have the given sequence number.
func (s *scanner) read(pos int64, seq uint64) (Commit, error) {
	b, err := s.bytes(pos, CommitHeaderLen)
	if err != nil {
		return Commit{}, err
	}
	h, err := ParseCommitHeader(b, s.use)
	if err != nil {
		return Commit{}, err
	}
	if h.Seq != seq {
		return Commit{}, fmt.Errorf("commit at %d has sequence number %d, expected %d", pos, h.Seq, seq)
	}
	if b, err = s.bytes(pos, int64(h.Length)); err != nil {
		return Commit{}, err
	}
	c := Commit{CommitHeader: h, Pos: pos}
	at, rest := pos+CommitHeaderLen, b[CommitHeaderLen:]
	for len(rest) > 0 {
		before := len(rest)
		var f Frame
		if f, rest, err = ParseFrame(rest, s.use, at); err != nil {
			return Commit{}, err
		}
		at += int64(before - len(rest))
		c.Frames = append(c.Frames, f)
	}
	if uint32(len(c.Frames)) != h.Frames {
		return Commit{}, fmt.Errorf("commit at %d has %d frames, its header says %d", pos, len(c.Frames), h.Frames)
	}
	return c, nil
}

// findAfter looks for a whole commit at pos or later with a sequence number
// above seq.
func (s *scanner) findAfter(pos int64, seq uint64) (Commit, bool, error) {
	for ; pos+CommitHeaderLen <= s.limit; pos += PageSize {
		b, err := s.bytes(pos, CommitHeaderLen)
		if err != nil {
			return Commit{}, false, err
		}
		h, err := ParseCommitHeader(b, s.use)
		if err != nil || h.Seq <= seq {
			continue
		}
		c, err := s.read(pos, h.Seq)
		if isIO(err) {
			return Commit{}, false, err
		}
		if err == nil {
			return c, true, nil
		}
	}
	return Commit{}, false, nil
}
