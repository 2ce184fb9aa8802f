// Package shape makes what leaves the gateway out of the batches that lie on
// flash: as they are, or merged, marked, and with their clock set right.
package shape

import (
	"time"

	"cistern/segstore/batch"
)

// Shaper makes pieces. A nil Shaper sends every batch as it is. It may be used
// by many goroutines.
type Shaper struct{}

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
	Bytes  []byte       // of the run itself, or of scratch
	Header batch.Header // of Bytes; BaseOffset and Count tell which stored records these are
	Used   int          // bytes of the run that are in it: whole batches
	Copied bool         // Bytes lies in scratch
}

// Next makes a piece of the batches at the start of run, which holds whole
// stored batches, one after the other; the first has to be whole and valid by
// its header. scratch is used for what has to be made anew.
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
