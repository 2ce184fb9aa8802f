// Package shape makes what leaves the gateway out of the batches that lie on
// flash: as they are, or merged, marked, and with their clock set right.
//
//	stored:  [b0][b1][b2][b3 of another leader epoch][b4 damaged][b5]
//	pieces:  [b0 b1 b2, merged]  [b3, verbatim]  an error that names b4 ...
//
// A piece is made of whole stored batches, so where one ends a stored batch
// ends: a position that is found upstream is always one at which a reader of the
// log can go on. Record i of a piece has the offset of its first record plus i.
package shape

import (
	"errors"
	"log/slog"
	"time"

	"cistern/segstore/batch"
)

// Config of a Shaper.
type Config struct {
	// Rebatch merges small batches; nil: every stored batch is a piece.
	Rebatch *Rebatch

	// BootAt tells when a machine's boot was, in ms since 1970, false while
	// nobody knows. It is asked for batches whose records were taken before the
	// clock was set. nil: never known.
	BootAt func(boot string) (unixMs int64, ok bool)

	// Now is the clock that says what lies in the future; nil: time.Now.
	Now func() time.Time

	Logger *slog.Logger // nil: silent
}

// Shaper makes pieces. A nil Shaper sends every batch as it is. It may be used
// by many goroutines.
type Shaper struct {
	cfg   Config
	tools tools
	count counters
}

// New returns a Shaper.
func New(c Config) *Shaper {
	if c.Rebatch != nil {
		c.Rebatch = c.Rebatch.checked()
	}
	if c.BootAt == nil {
		c.BootAt = func(string) (int64, bool) { return 0, false }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Shaper{cfg: c}
	s.tools.init(c.Rebatch)
	return s
}

// plain serves the nil Shaper where a batch has to be made anew all the same.
var plain = New(Config{})

// Options are what one target needs of the pieces.
type Options struct {
	// Partition names the partition in the id that Identified adds, as
	// "site/stream/partition".
	Partition string
	// Identified adds a header with the record's id to every record: see HeaderID.
	Identified bool
}

// Piece is one batch to send.
type Piece struct {
	Bytes  []byte       // of the run itself, or made anew
	Header batch.Header // of Bytes; BaseOffset and Count tell which stored records these are
	Used   int          // bytes of the run that are in it: whole batches
	Copied bool         // Bytes was made anew: it lies in scratch, or in a larger buffer if it did not fit
}

// DamageError says that a stored batch's bytes are not those that were
// checksummed. Batches before it were pieces of their own.
type DamageError struct {
	FirstOffset, LastOffset int64 // of the stored batch
	Err                     error
}

func (e *DamageError) Error() string { return e.Err.Error() }
func (e *DamageError) Unwrap() error { return e.Err }

// Next makes a piece of the batches at the start of run, which holds whole
// stored batches, one after the other; the first has to be whole and valid by
// its header. scratch is used for what has to be made anew. A batch that goes as
// it is was not read: what is wrong with it, upstream finds out. One that has to
// be read and whose checksum fails is a *DamageError.
func (s *Shaper) Next(run, scratch []byte, o Options) (Piece, error) {
	b, _, err := batch.Next(run)
	if err != nil {
		return Piece{}, err
	}
	h, err := batch.ParseHeader(b)
	if err != nil {
		return Piece{}, err
	}
	verbatim := Piece{Bytes: b, Header: h, Used: len(b)}
	if s == nil {
		if !o.Identified {
			return verbatim, nil
		}
		s = plain
	}
	if n, _ := s.span(run); n > 1 || o.Identified {
		p, err := s.rebuild(run, scratch, n, o)
		if !errors.Is(err, errVerbatim) {
			return p, err
		}
	}
	if h.ClockUnset() {
		return s.correct(verbatim, scratch)
	}
	return verbatim, nil
}

// Retime appends a copy of b, which must be exactly one whole batch, whose
// latest timestamp is newMax, in ms since 1970. All records move by the same, so
// their distances stay. The records are neither read nor touched.
func Retime(dst, b []byte, newMax int64) ([]byte, error) {
	h, err := batch.ParseHeader(b)
	if err != nil {
		return dst, err
	}
	return move(dst, b, &h, newMax-h.MaxTimestamp)
}

// move appends a copy of b, whose header is h, with all times moved by shift.
func move(dst, b []byte, h *batch.Header, shift int64) ([]byte, error) {
	base, latest := h.BaseTimestamp+shift, h.MaxTimestamp+shift
	return batch.Rewrite{
		BaseOffset: h.BaseOffset, LeaderEpoch: h.LeaderEpoch, Producer: h.Producer, Transactional: h.Transactional(),
		BaseTimestamp: &base, MaxTimestamp: &latest,
	}.Apply(dst, b)
}
