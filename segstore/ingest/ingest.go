// Package ingest turns single records into batches, and what waits into
// commits: Kafka's record accumulator, in front of a journal instead of a
// network.
//
// Records that wait for the same partition become one batch, compressed once,
// here; the batches of all partitions of a lane become one commit, with one
// write and one flush. A commit closes when the first record in it has waited
// for its stream's commit window and the device is free, or when commit_bytes
// are there.
//
//	Append ──▶ open batches ──▶ sealer: build ──▶ lane: write, sync ──▶ finisher: Complete …, Flush
//
// On a site of several gateways a [Journal] takes the batches in place of the
// lane, brings them to the gateways that lead their partitions, and answers each
// on its own; one that is slow then holds up nobody else:
//
//	Append ──▶ open batches ──▶ sealer: build ──▶ Journal ──▶ answers: Complete …, Flush
//
// Every Append that returned nil is answered by exactly one Complete, after
// the record is on flash. Nothing here confirms anything earlier, but for
// streams with acks = 0 behind a Journal.
package ingest

import "errors"

// Completion is told what became of the records its owner handed to Append.
// An Accumulator calls it from one goroutine per lane; neither method may
// block, since every device of the gateway waits behind it.
type Completion interface {
	// Complete reports one record, named by the seq its owner gave: err is
	// nil when the record is as safe as its stream promises, and offset is
	// then its place in the partition. It returns true when the owner wants
	// Flush called at the end of this commit (true once per commit is enough).
	Complete(seq uint64, offset int64, err error) (flush bool)

	// Flush is called once after the last Complete of a commit, so that all
	// confirmations which one commit released can leave in one write.
	Flush()
}

// Why a record was not taken, or did not become durable.
var (
	// ErrFull says that flash is full, and its stream refuses then.
	ErrFull = errors.New("flash is full")
	// ErrTooLarge says that a record fits no batch.
	ErrTooLarge = errors.New("the record is too large")
	// ErrUnavailable says that nothing can be made durable now: the journal
	// is latched after a failed write, or the gateway is stopping.
	ErrUnavailable = errors.New("the journal takes no records now")
	// ErrUnknownPartition says that no such stream or partition exists.
	ErrUnknownPartition = errors.New("unknown stream or partition")
)
