package forward

import (
	"context"
	"slices"
	"sync"

	"cistern/segstore"
)

// readers bounds how many partitions have parked batches in memory. They take
// turns.
type readers struct {
	mu      sync.Mutex
	reading map[*route]struct{}
	waiting []*route
}

// ask lets r read when it is its turn.
func (d *readers) ask(r *route) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reading == nil {
		d.reading = map[*route]struct{}{}
	}
	delete(d.reading, r)
	d.waiting = append(d.waiting, r)
	d.admit()
}

// release ends r's turn.
func (d *readers) release(r *route) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.reading[r]; ok {
		delete(d.reading, r)
		d.admit()
	}
}

func (d *readers) admit() {
	for len(d.waiting) > 0 && len(d.reading) < ReadersMax {
		r := d.waiting[0]
		d.waiting = slices.Delete(d.waiting, 0, 1)
		d.reading[r] = struct{}{}
		r.f.jobs.addRead(r)
	}
}

// jobs are done one after the other, in order, by one goroutine: what may take
// long. There are never more than a few for each route.
type jobs struct {
	mu     sync.Mutex
	list   []func()
	signal chan struct{}
	buf    []byte // to read into; the goroutine's
}

func (j *jobs) init() { j.signal = make(chan struct{}, 1) }

func (j *jobs) add(job func()) {
	j.mu.Lock()
	j.list = append(j.list, job)
	j.mu.Unlock()
	select {
	case j.signal <- struct{}{}:
	default:
	}
}

func (j *jobs) addRead(r *route) { j.add(func() { j.buf = r.readBack(j.buf) }) }

func (j *jobs) submit(s *segstore.Store, g *segstore.Group) { j.add(func() { s.Submit(g) }) }

func (j *jobs) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-j.signal:
		}
		j.mu.Lock()
		list := j.list
		j.list = nil
		j.mu.Unlock()
		for _, job := range list {
			job()
		}
	}
}
