package segstore

import "sync/atomic"

// counters count from the start of the process.
type counters struct {
	commits      atomic.Int64
	bytesWritten atomic.Int64
	batches      atomic.Int64
	latched      atomic.Int64
	damaged      atomic.Int64
}

func (c *counters) committed(bytes, batches int) {
	c.commits.Add(1)
	c.bytesWritten.Add(int64(bytes))
	c.batches.Add(int64(batches))
}

// Stats is what the journal did since the process started, and how much room
// it has.
type Stats struct {
	Commits      int64 // one write and one flush each
	BytesWritten int64 // to segments, whole pages, footers included; zeroing not
	Batches      int64
	Latches      int64 // failed writes or syncs
	Damaged      int64 // places where flash lost what it had confirmed

	Patches        int   // files that hold what flash lost here and another copy gave back
	PatchedRecords int64 // in them, of the logs as they are now
	PatchedBytes   int64

	MaxBytes   int64 // what all segments together may become
	TotalBytes int64 // what they are
	SpareBytes int64 // of these, ready for use
	Segments   int   // in use
	Latched    bool  // nothing is confirmed now
	Full       bool  // the last search for room found none
}

// Stats returns the counts of this moment.
func (s *Store) Stats() Stats {
	total, spareBytes, _ := s.pool.usage()
	s.mu.RLock()
	segments := len(s.segments)
	s.mu.RUnlock()
	st := Stats{
		Commits: s.stats.commits.Load(), BytesWritten: s.stats.bytesWritten.Load(), Batches: s.stats.batches.Load(),
		Latches: s.stats.latched.Load(), Damaged: s.stats.damaged.Load(),
		MaxBytes: s.pool.maxBytes, TotalBytes: total, SpareBytes: spareBytes, Segments: segments,
	}
	s.patches.mu.Lock()
	st.Patches, st.PatchedRecords, st.PatchedBytes = s.patches.files, s.patches.records, s.patches.bytes
	s.patches.mu.Unlock()
	for _, l := range s.lanes {
		st.Full = st.Full || l.full.Load()
		st.Latched = st.Latched || l.isLatched.Load()
	}
	return st
}
