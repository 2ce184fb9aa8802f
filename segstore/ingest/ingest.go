package ingest

// Completion is told what became of the records its owner handed to Append.
// An Accumulator calls it from one goroutine at a time; neither method may
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
