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

// Rebatch says how small batches are merged.
type Rebatch struct {
	// Bytes is the largest merged batch, before compression and therefore also
	// after; at most metadata.BatchBytesMax. 0: BytesDefault.
	Bytes int
	// Level is the level of zstd, as its own command counts them; 0: LevelDefault.
	Level int
	// Linger is how long a record may wait for others to be merged with.
	Linger time.Duration
}

// Shaper makes pieces. A nil Shaper sends every batch as it is. It may be used
// by many goroutines.
type Shaper struct{ cfg Config }

// New returns a Shaper.
func New(c Config) *Shaper { return &Shaper{cfg: c} }

// Options are what one target needs of the pieces.
type Options struct {
	// Partition names the partition in the id that Identified adds, as
	// "site/stream/partition".
	Partition string
	// Identified adds a header with the record's id to every record.
	Identified bool
}

// Piece is one batch to send.
type Piece struct {
	Bytes  []byte       // of the run itself, or made anew
	Header batch.Header // of Bytes; BaseOffset and Count tell which stored records these are
	Used   int          // bytes of the run that are in it: whole batches
	Copied bool         // Bytes was made anew: it lies in scratch, or in a larger buffer if it did not fit
}

// DamageError says that a stored batch can't be read. Batches before it were
// pieces of their own.
type DamageError struct {
	FirstOffset, LastOffset int64 // of the stored batch
	Err                     error
}

func (e *DamageError) Error() string { return e.Err.Error() }
func (e *DamageError) Unwrap() error { return e.Err }

// Next makes a piece of the batches at the start of run, which holds whole
// stored batches, one after the other; the first has to be whole and valid by
// its header. scratch is used for what has to be made anew. A batch that goes as
// it is was not read; one that has to be read and can't be is a *DamageError.
func (s *Shaper) Next(run, scratch []byte, o Options) (Piece, error) {
	b, _, err := batch.Next(run)
	if err != nil {
		return Piece{}, err
	}
	h, err := batch.ParseHeader(b)
	return Piece{Bytes: b, Header: h, Used: len(b)}, err
}

// Linger says how long to wait for more before a piece is made of run, which is
// all there is at the moment: 0 is not at all. oldest is when the first record
// of run was first seen waiting.
func (s *Shaper) Linger(run []byte, oldest, now time.Time) time.Duration { return 0 }

// Reach is how many stored bytes a piece may be made of: who reads less at once
// gets smaller pieces. 0: one batch.
func (s *Shaper) Reach() int { return 0 }

// Stats counts what was done since the start. A batch that is sent again counts
// again.
type Stats struct {
	Merged       int64 // stored batches that left in merged ones
	Pieces       int64 // merged batches
	MergedBytes  int64 // of the stored batches that were merged
	PieceBytes   int64 // of what they became
	Corrected    int64 // batches whose times were set right
	Unknown      int64 // batches taken before the clock was set, in a boot whose time was never learned
	Ahead        int64 // batches whose corrected times would lie in the future; left alone
	Unidentified int64 // batches that had no room for ids and left without
}

// Stats returns the counts; those of a nil Shaper are zero.
func (s *Shaper) Stats() Stats { return Stats{} }

// Retime appends a copy of b, which must be exactly one whole batch, whose
// latest timestamp is newMax, in ms since 1970. All records move by the same, so
// their distances stay. The records are neither read nor touched.
func Retime(dst, b []byte, newMax int64) ([]byte, error) {
	h, err := batch.ParseHeader(b)
	if err != nil {
		return dst, err
	}
	base := h.BaseTimestamp + (newMax - h.MaxTimestamp)
	return batch.Rewrite{
		BaseOffset: h.BaseOffset, LeaderEpoch: h.LeaderEpoch, Producer: h.Producer, Transactional: h.Transactional(),
		BaseTimestamp: &base, MaxTimestamp: &newMax,
	}.Apply(dst, b)
}
