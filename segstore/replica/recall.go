package replica

import (
	"errors"

	"cistern/gossip/metadata"
	"cistern/segstore"
)

// RecallRequest asks a copy, whoever leads, for records that flash lost elsewhere.
type RecallRequest struct {
	Partition metadata.PartitionID
	Offset    int64
	MaxBytes  int // of records; one batch comes whatever its size
}

// RecallAnswer is what a copy has of them. ErrOffsetOutOfRange and ErrCorrupt mean
// that it does not have the first; any other error, that it can't say now.
type RecallAnswer struct {
	Err     error
	Records []byte // whole batches; the first contains the offset asked for
	Resume  int64  // with ErrCorrupt and ErrOffsetOutOfRange: where it goes on, 0: nowhere above
}

// Recall gives what is on flash here to a gateway that lost it. It is of no
// account who leads, nor what is confirmed: leader epoch and offset name one batch
// for ever, and whoever asks has both.
func (m *Manager) Recall(r *RecallRequest) *RecallAnswer {
	l := m.local(r.Partition)
	if l == nil { // started just now, or not told yet that it keeps a copy
		return &RecallAnswer{Err: ErrNoLeader}
	}
	if r.Offset >= l.log.EndOffset() {
		return &RecallAnswer{Err: ErrOffsetOutOfRange}
	}
	raw, err := l.log.ReadPlaced(r.Offset, nil, max(0, min(r.MaxBytes, FetchBytesMax)))
	if err == nil {
		return &RecallAnswer{Records: raw}
	}
	a := &RecallAnswer{Err: readRefusal(err)}
	if c := (*segstore.CorruptError)(nil); errors.As(err, &c) {
		a.Resume = c.LastOffset + 1
	} else if start := l.log.StartOffset(); start > r.Offset {
		a.Resume = start
	}
	return a
}
