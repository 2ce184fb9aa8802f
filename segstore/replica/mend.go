package replica

import (
	"slices"
	"sync"
	"time"

	"cistern/gossip/metadata"
)

// Mending says what became of records that flash lost here.
type Mending uint8

const (
	Underway Mending = iota // they are being asked for, or wait for a copy that is not in reach: ask again
	Mended                  // some are back: read again
	Nowhere                 // every other copy was asked, and none has them
)

// Limits of mending.
const (
	mendsMax     = 1024      // ranges that are asked for or known about; more ask again later
	mendBytes    = 256 << 10 // of records asked for at once
	mendRetryMin = 100 * time.Millisecond
	mendRetryMax = 5 * time.Second
	// mendKept is how long is believed what was found out, and how long a range is
	// asked for that nobody here asks for any more.
	mendKept = time.Minute
	// mendSilence is how long a gateway is left alone that did not answer, twice as
	// long each time, or until there is other metadata: one that is dead must not hold
	// up what others have.
	mendSilenceMin = 5 * time.Second
	mendSilenceMax = time.Minute
	// mendLent is how long a piece that flash can't keep stays in memory although
	// another partition waits for the place.
	mendLent = time.Second
)

// MendStatus is a range that flash lost here and that is not back yet. With nobody in
// Awaits and Unproven it is this gateway that can't keep it, or can't ask.
type MendStatus struct {
	Partition   metadata.PartitionID
	First, Last int64
	Since       time.Duration     // on the protocol's clock
	Awaits      []metadata.NodeID // who may have it, and does not answer or can't say now
	Unproven    []metadata.NodeID // who sent what nothing here proves to be the same
	Reason      string            // why it is not back; "" while it is asked for the first time
}

// mendKey names a range by where it begins: it may turn out shorter.
type mendKey struct {
	id    metadata.PartitionID
	first int64
}

// mend is one range that somebody here could not read.
type mend struct {
	mendKey
	last  int64
	since time.Duration
	asked time.Duration // when somebody wanted it last
	due   time.Duration // not tried before
	retry time.Duration
	blocked

	lent   bool          // a piece of it can be read from memory, or could
	lentAt time.Duration // when that was last

	done  bool
	ended time.Duration
	lost  int64 // no copy has what lies from first up to here
}

// tries says whether it is to be asked for: of what was lent the reader comes for the
// rest, and only whoever wants the same again makes it worth asking again.
func (e *mend) tries() bool { return !e.done && (!e.lent || e.asked > e.lentAt) }

// blocked is why a range is not back; why nil: it is, or nobody has it.
type blocked struct {
	await    []metadata.NodeID // who may have it, and does not answer or can't say now
	unproven []metadata.NodeID // who sent what can't be proven to be the same
	why      error             // what each of them, or this gateway's flash, says
}

func (b *blocked) waits() bool { return b.why != nil }

// same says whether it is still the same gateways for the same kind of reason.
func (b *blocked) same(o blocked) bool {
	return b.waits() == o.waits() && slices.Equal(b.await, o.await) && slices.Equal(b.unproven, o.unproven)
}

// silence is of a gateway that did not answer.
type silence struct{ until, next time.Duration }

// mender brings back from other copies what flash lost here. One goroutine asks
// for one range after the other; whoever came upon one asks how it is.
type mender struct {
	m      *Manager
	wake   chan struct{}
	pause  time.Duration                // of any kind, at most; tests do not wait so long
	silent map[metadata.NodeID]*silence // its goroutine's

	lent      metadata.PartitionID // whose records are read from memory; its goroutine's
	lentUntil time.Duration        // not replaced by another's before

	mu       sync.Mutex
	mends    map[mendKey]*mend
	saidLent time.Duration // that flash can't keep what comes, last
	said     time.Duration // that flash loses records, last
	anew     bool          // other metadata: whoever was silent may not be any more
	watchers map[chan struct{}]struct{}
}

func newMender(m *Manager) *mender {
	return &mender{m: m, wake: make(chan struct{}, 1), pause: mendSilenceMax, silent: map[metadata.NodeID]*silence{},
		mends: map[mendKey]*mend{}, watchers: map[chan struct{}]struct{}{}}
}

// Mend asks for records that flash lost here to be fetched from another copy, and
// says how far that is. It does not block. A copy that is not in reach is waited
// for as long as it is one, since it may be the only one that has them.
func (m *Manager) Mend(p metadata.PartitionID, first, last int64) Mending {
	if others, known := m.others(p); known && len(others) == 0 {
		return Nowhere
	}
	return m.mender.ask(mendKey{p, first}, last)
}

// others are those who keep the other copies of a partition, those in sync first.
func (m *Manager) others(p metadata.PartitionID) (nodes []metadata.NodeID, known bool) {
	m.mu.RLock()
	image, self := m.image, m.self
	m.mu.RUnlock()
	state := image.Partition(p)
	if state == nil || self == metadata.NoNode {
		return nil, false
	}
	for _, list := range [][]metadata.NodeID{state.ISR, state.LastISR, state.Replicas} {
		for _, n := range list {
			if _, member := image.Members[n]; member && n != self && !slices.Contains(nodes, n) {
				nodes = append(nodes, n)
			}
		}
	}
	return nodes, true
}

// WatchMends returns a channel that gets a value after something was mended or
// found nowhere, and a function that ends it.
func (m *Manager) WatchMends() (<-chan struct{}, func()) {
	d, ch := m.mender, make(chan struct{}, 1)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watchers[ch] = struct{}{}
	return ch, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.watchers, ch)
	}
}

// Mends are the ranges that are not back yet.
func (m *Manager) Mends() (out []MendStatus) {
	d := m.mender
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.mends {
		if e.done {
			continue
		}
		s := MendStatus{Partition: e.id, First: e.first, Last: e.last, Since: e.since, Awaits: e.await, Unproven: e.unproven}
		if e.why != nil {
			s.Reason = e.why.Error()
		}
		out = append(out, s)
	}
	return out
}

func (d *mender) ask(k mendKey, last int64) Mending {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.m.now()
	e := d.mends[k]
	if e == nil || e.done && (last > e.last || now-e.ended > mendKept) {
		if e == nil && len(d.mends) >= mendsMax && !d.forget(now) {
			return Underway
		}
		e = &mend{mendKey: k, last: last, since: now, due: now, retry: mendRetryMin}
		d.mends[k] = e
		d.wakeUp()
	}
	if e.lent && !e.tries() {
		d.wakeUp() // somebody wants the same again
	}
	e.asked, e.last = now, max(e.last, last)
	switch {
	case (e.done || e.lent) && last < e.lost:
		return Nowhere
	case !e.done && e.lent && d.readable(e):
		return Mended
	case !e.done:
		return Underway
	}
	return Mended
}

// readable says whether what was lent of a range is still in memory.
func (d *mender) readable(e *mend) bool {
	log := d.m.cfg.Store.Log(e.id)
	return log != nil && log.Lent(e.lost)
}

// forget makes room for another range, if one is of no use any more. d.mu is held.
func (d *mender) forget(now time.Duration) bool {
	for k, e := range d.mends {
		if e.done || e.lent && !e.tries() || now-e.asked > mendKept {
			delete(d.mends, k)
			return true
		}
	}
	return false
}

func (d *mender) wakeUp() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// changed is told that there is other metadata: what waits is tried at once.
func (d *mender) changed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.mends) == 0 {
		return
	}
	d.anew = true
	for _, e := range d.mends {
		e.due = 0
	}
	d.wakeUp()
}
