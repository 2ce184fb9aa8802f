package replica

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"cistern/segstore"
	"cistern/segstore/batch"
)

// hurry says how soon a follower should hear of something.
type hurry int

const (
	wakeSoon hurry = iota // the high watermark moved: with the next records, or after a moment
	wakeNow               // there are records, or another epoch
)

// watermarkDelay is how long a moved high watermark waits for records to
// travel with.
const watermarkDelay = 20 * time.Millisecond

// poll is one follower's open fetch request.
type poll struct {
	request *FetchRequest
	wake    chan struct{} // one value: look at dirty
	ended   chan struct{} // closed when a newer request of this follower has come
	once    sync.Once

	mu    sync.Mutex
	dirty map[int]hurry // by index in the request
}

func (p *poll) end() { p.once.Do(func() { close(p.ended) }) }

// touch notes that partition i has something to say.
func (p *poll) touch(i int, h hurry) {
	p.mu.Lock()
	p.dirty[i] = max(h, p.dirty[i])
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// take returns what was touched; hurry is the most urgent.
func (p *poll) take(into []int) ([]int, hurry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	most := wakeSoon
	for i, h := range p.dirty {
		into, most = append(into, i), max(most, h)
	}
	clear(p.dirty)
	return into, most
}

// wake tells the followers that wait; l.mu is held.
func (l *local) wake(h hurry) {
	for p, i := range l.polls {
		p.touch(i, h)
	}
}

// Fetch answers a follower, as soon as there is something to say.
func (m *Manager) Fetch(ctx context.Context, r *FetchRequest) *FetchAnswer {
	p := &poll{request: r, wake: make(chan struct{}, 1), ended: make(chan struct{}), dirty: map[int]hurry{}}
	if !m.register(p) {
		return refuseAll(r, ErrNotLeader)
	}
	defer m.unregister(p)
	answer := &answering{m: m, r: r, left: min(r.MaxBytes, FetchBytesMax)}
	first := rand.IntN(len(r.Partitions) + 1) // partitions take turns at the front
	for k := range r.Partitions {
		answer.look((first + k) % len(r.Partitions))
	}
	if !answer.urgent {
		m.await(ctx, p, answer)
	}
	return &answer.FetchAnswer
}

func refuseAll(r *FetchRequest, why error) *FetchAnswer {
	a := &FetchAnswer{}
	for _, p := range r.Partitions {
		a.Partitions = append(a.Partitions, FetchedPartition{Partition: p.Partition, Err: why})
	}
	return a
}

// await looks again at what is touched until there is something to say.
func (m *Manager) await(ctx context.Context, p *poll, answer *answering) {
	expired := time.NewTimer(min(p.request.MaxWait, FetchWaitMax))
	defer expired.Stop()
	var soon <-chan time.Time
	if len(answer.Partitions) > 0 {
		soon = time.After(watermarkDelay)
	}
	var touched []int
	for !answer.urgent {
		select {
		case <-ctx.Done():
			return
		case <-p.ended:
			return
		case <-expired.C:
			answer.all = true // an earlier answer may have been lost
			for i := range p.request.Partitions {
				answer.look(i)
			}
			return
		case <-soon:
			return
		case <-p.wake:
		}
		var h hurry
		if touched, h = p.take(touched[:0]); h == wakeSoon && soon == nil {
			soon = time.After(watermarkDelay)
		}
		for _, i := range touched {
			answer.look(i)
		}
	}
	// A commit has batches of several partitions, and the first has woken this
	// goroutine. What comes too late waits for the follower's next commit.
	touched, _ = p.take(touched[:0])
	for _, i := range touched {
		answer.look(i)
	}
}

// register makes p the follower's one open request.
func (m *Manager) register(p *poll) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running == nil {
		return false
	}
	if old := m.polls[p.request.Node]; old != nil {
		old.end()
	}
	m.polls[p.request.Node] = p
	for i, fp := range p.request.Partitions {
		if l := m.locals[fp.Partition]; l != nil {
			l.mu.Lock()
			l.polls[p] = i
			l.mu.Unlock()
		}
	}
	return true
}

func (m *Manager) unregister(p *poll) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.polls[p.request.Node] == p {
		delete(m.polls, p.request.Node)
	}
	for _, fp := range p.request.Partitions {
		if l := m.locals[fp.Partition]; l != nil {
			l.mu.Lock()
			delete(l.polls, p)
			l.mu.Unlock()
		}
	}
}

// answering is an answer that is being put together.
type answering struct {
	FetchAnswer
	m      *Manager
	r      *FetchRequest
	left   int   // bytes of records
	at     []int // index of each partition in r
	urgent bool  // worth sending at once
	all    bool  // whatever the follower may have heard
}

// look asks the protocol about partition i of the request, and notes the
// answer if it says anything new.
func (a *answering) look(i int) {
	fp := &a.r.Partitions[i]
	l := a.m.local(fp.Partition)
	if l == nil {
		a.put(i, FetchedPartition{Partition: fp.Partition, Err: ErrUnknownPartition}, true)
		return
	}
	said, news := l.fetch(a.r, fp, a.left)
	a.left -= len(said.Records)
	switch {
	case said.Err != nil || said.Diverging != nil || len(said.Records) > 0:
		a.put(i, said, true)
	case news || a.all:
		a.put(i, said, false)
	}
}

func (a *answering) put(i int, said FetchedPartition, urgent bool) {
	a.urgent = a.urgent || urgent
	for k, at := range a.at {
		if at == i {
			a.Partitions[k] = said
			return
		}
	}
	a.at, a.Partitions = append(a.at, i), append(a.Partitions, said)
}

// fetch is the leader's answer to one follower; news says that its high
// watermark, or what was drained, is not what the follower heard last.
func (l *local) fetch(r *FetchRequest, fp *FetchPartition, sizeMax int) (said FetchedPartition, news bool) {
	l.mu.Lock()
	said, read, e := l.p.Fetch(l.m.now(), r.Node, r.Incarnation, fp)
	if said.Err == nil && said.Diverging == nil { // in this epoch, of this log
		l.log.SetDrained(min(fp.Drained, said.HighWatermark))
	}
	said.Drained = l.log.Drained()
	news = said.Err == nil && (l.p.News(r.Node) || l.drained[r.Node] != said.Drained)
	l.finish(e)
	if read && sizeMax > 0 {
		var err error
		if said.Records, err = l.read(fp.Offset, sizeMax); err != nil {
			l.refuseRead(fp, &said, err)
		}
	}
	if said.Err == nil && (news || len(said.Records) > 0) {
		l.mu.Lock()
		l.drained[r.Node] = said.Drained
		l.p.Told(r.Node, said.HighWatermark)
		l.mu.Unlock()
	}
	return said, news
}

// read returns batches from offset on, up to what is being written now. The log
// gives what is on flash and what is not separately; a follower that is behind
// needs both, or it would be behind for as long as there is load.
func (l *local) read(offset int64, sizeMax int) ([]byte, error) {
	records, err := l.log.ReadPlaced(offset, nil, sizeMax)
	if err != nil || len(records) == 0 || len(records) >= sizeMax {
		return records, err
	}
	var h batch.Header
	for rest := records; len(rest) > 0; rest = rest[h.Size():] {
		if h, err = batch.ParseHeader(rest); err != nil || h.Size() > len(rest) {
			return records, nil // the follower will say what is wrong with it
		}
	}
	if h.NextOffset() >= l.log.PlacedOffset() {
		return records, nil
	}
	if more, err := l.log.ReadPlaced(h.NextOffset(), records, sizeMax-len(records)); err == nil {
		return more, nil
	}
	return records, nil
}

func readRefusal(err error) error {
	switch e := (*segstore.CorruptError)(nil); {
	case errors.As(err, &e):
		return ErrCorrupt
	case errors.Is(err, segstore.ErrOffsetOutOfRange):
		return ErrOffsetOutOfRange
	}
	return ErrJournal
}
