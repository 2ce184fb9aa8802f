package drain

import (
	"errors"
	"fmt"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/replica"
)

// MendLook is how often a flow that waits for records to be mended looks.
const MendLook = time.Second

// Mender brings back, from another copy of the partition, records that flash lost
// here. replica.Manager is one; a gateway on its own has none.
type Mender interface {
	// Mend says how far that is with a range. It does not block.
	Mend(p metadata.PartitionID, first, last int64) replica.Mending
	// WatchMends returns a channel that gets a value after some range was mended or
	// found to be nowhere, and a function that ends it.
	WatchMends() (ended <-chan struct{}, cancel func())
}

// errMending: what goes next is on its way from another copy.
var errMending = errors.New("records that flash lost are fetched from another copy")

// mending is a session's wait for records that flash lost here. It holds no
// memory, and flash is not read again before there is a reason to.
type mending struct {
	ended  <-chan struct{} // nil: there is no mender
	cancel func()
	until  time.Time // no reading before
	timer  *time.Timer
	lost   *segstore.CorruptError // what is waited for; nil: nothing
	first  int64                  // a range that was called mended last
	last   int64
}

func newMending(m Mender) mending {
	w := mending{cancel: func() {}, timer: time.NewTimer(time.Hour), first: -1}
	w.timer.Stop()
	if m != nil {
		w.ended, w.cancel = m.WatchMends()
	}
	return w
}

func (w *mending) waits() bool { return time.Now().Before(w.until) }

// over ends a wait: there may be something to read.
func (w *mending) over() { w.until = time.Time{} }

func (w *mending) reason() string {
	return fmt.Sprintf("flash lost records %d to %d here; waiting for them to come back from another copy", w.lost.FirstOffset, w.lost.LastOffset)
}

// mend asks for what flash lost to be brought back. nil means that it is to be
// read again, errMending that it has to be waited for, another error that it is
// lost for good.
func (s *session) mend(lost *segstore.CorruptError) error {
	if s.d.cfg.Mender == nil {
		return lost
	}
	w := &s.mending
	said := s.d.cfg.Mender.Mend(s.id, lost.FirstOffset, lost.LastOffset)
	again := lost.FirstOffset == w.first && lost.LastOffset == w.last
	switch {
	case said == replica.Nowhere:
		w.lost = nil
		return lost
	case said == replica.Mended && !again:
		w.lost, w.first, w.last = nil, lost.FirstOffset, lost.LastOffset
		return nil
	}
	w.lost = lost
	w.until = time.Now().Add(MendLook)
	w.timer.Reset(MendLook)
	if s.ticket != nil { // others need the memory meanwhile
		s.ticket.release()
		s.ticket = nil
	}
	return errMending
}
