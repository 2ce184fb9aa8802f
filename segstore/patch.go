package segstore

import "errors"

// Patch gives back whole batches that flash lost, as another copy has them: they
// follow each other, and all were committed. Batches that can be read here already
// are left out, so raw may hold more than was lost. It is durable when it returns.
//
// Errors: ErrForeignBatch when the batches are not this log's, ErrPatchesFull.
func (g *Log) Patch(raw []byte) error { return errors.New("patch: to come") }

// Hole returns the first range of offsets from `from` on, below the log's end, that
// neither the journal's indexes nor a patch hold. It reads indexes only: a batch
// that an index names and that can't be read is no hole.
func (g *Log) Hole(from int64) (first, last int64, ok bool, err error) { return 0, 0, false, nil }
