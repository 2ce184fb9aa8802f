package shape

import "sync/atomic"

// Stats counts what was done since the start. A batch that is sent again counts
// again.
type Stats struct {
	Merged       int64 // stored batches that were made anew: merged, or given ids
	MergedBytes  int64 // their size on flash
	Pieces       int64 // what they became
	PieceBytes   int64 // and its size
	Corrected    int64 // stored batches whose times were set right
	Unknown      int64 // stored batches taken before the clock was set, in a boot whose time nobody knows
	Ahead        int64 // stored batches whose corrected times would lie in the future; left alone
	Unidentified int64 // batches that could not be given ids and left without
}

type counters struct {
	stored, storedBytes, pieces, pieceBytes atomic.Int64
	corrected, unknown, ahead, unidentified atomic.Int64
}

func (c *counters) merged(stored, storedBytes, pieceBytes int) {
	c.stored.Add(int64(stored))
	c.storedBytes.Add(int64(storedBytes))
	c.pieces.Add(1)
	c.pieceBytes.Add(int64(pieceBytes))
}

// Stats returns the counts; those of a nil Shaper are zero.
func (s *Shaper) Stats() Stats {
	if s == nil {
		return Stats{}
	}
	c := &s.count
	return Stats{
		Merged: c.stored.Load(), MergedBytes: c.storedBytes.Load(), Pieces: c.pieces.Load(), PieceBytes: c.pieceBytes.Load(),
		Corrected: c.corrected.Load(), Unknown: c.unknown.Load(), Ahead: c.ahead.Load(), Unidentified: c.unidentified.Load(),
	}
}
