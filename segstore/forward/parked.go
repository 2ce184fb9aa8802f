package forward

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

// ParkedPrefix begins the names of the streams that batches are parked in, one
// for each stream, in the same lane and with the same partitions.
const ParkedPrefix = "cistern.parked."

func parkedID(p metadata.PartitionID) metadata.PartitionID {
	return metadata.PartitionID{Stream: ParkedPrefix + p.Stream, Partition: p.Partition}
}

// findParked makes a route for each partition of which a former process left
// something parked.
func (f *Forwarder) findParked() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, log := range f.cfg.Store.Logs() {
		name, ok := strings.CutPrefix(log.Partition().Stream, ParkedPrefix)
		if !ok {
			continue
		}
		id := metadata.PartitionID{Stream: name, Partition: log.Partition().Partition}
		pos, _ := loadPosition(f.cfg.Store.State(), log)
		if err := f.giveUpHeld(id, log, pos); err != nil {
			return fmt.Errorf("parked log of %s: %w", id, err)
		}
		log.SetDrained(pos)
		if end := log.EndOffset(); pos < end {
			f.addRoute(id)
			f.log.Warn("forward: parked batches of a former process were found", "partition", id, "records", end-pos)
		}
	}
	return nil
}

// The leader epoch of a parked batch says what its senders were told: odd,
// that it is safe; even, nothing yet.
func parkedEpoch(last int32, confirm bool) int32 {
	odd := int32(0)
	if confirm {
		odd = 1
	}
	if last >= 0 && last&1 == odd {
		return last
	}
	return (last+1)&^1 | odd // the next of that kind
}

// giveUpHeld cuts off what a former process held at the end of a parked log. No
// sender was told that it is safe, and none waits for it any more: handed over
// now it would come after what they sent since, or twice.
func (f *Forwarder) giveUpHeld(id metadata.PartitionID, log *segstore.Log, pos int64) error {
	from, end := heldFrom(log, pos), log.EndOffset()
	if from >= end {
		return nil
	}
	if _, err := f.cfg.Store.Commit(segstore.Entry{Log: log, Truncate: true, Offset: from}); err != nil {
		return err
	}
	f.givenUp += end - log.EndOffset()
	f.log.Warn("forward: records that a former process held, and had confirmed to nobody, are given up", "partition", id, "records", end-log.EndOffset())
	return nil
}

// heldFrom is where what was confirmed to nobody begins in a parked log that is
// handed over from pos on; its end when there is none.
func heldFrom(log *segstore.Log, pos int64) int64 {
	last, end := log.LastEpoch(), log.EndOffset()
	if last < 0 || last&1 == 1 || pos >= end {
		return end
	}
	from := log.StartOffset()
	if _, before := log.EndOffsetForEpoch(last - 1); before > from {
		from = before
	}
	return max(from, pos)
}

// Waiting is what lies parked for one partition in the store of a gateway that does
// not run: from From to Held its senders were told that it is safe, from there to End
// nothing. Its leader may have the first of it already.
type Waiting struct {
	Log             *segstore.Log // of the parked partition
	From, Held, End int64
}

// FindWaiting returns all that was parked and not handed over, as far as is noted.
func FindWaiting(store *segstore.Store) (all []Waiting) {
	for _, log := range store.Logs() {
		if !strings.HasPrefix(log.Partition().Stream, ParkedPrefix) {
			continue
		}
		pos, _ := loadPosition(store.State(), log)
		if w := (Waiting{log, pos, heldFrom(log, pos), log.EndOffset()}); w.From < w.End {
			all = append(all, w)
		}
	}
	return all
}

// park appends items to the parked log, which is made at the first need.
func (r *route) park(items []*Item) {
	if r.log != nil {
		r.parkIn(r.log, items)
		return
	}
	r.f.jobs.add(func() {
		log, err := r.f.makeParked(r.id)
		if err != nil {
			r.f.log.Error("forward: the parked log can't be made", "partition", r.id, "error", err)
			results := make([]Parked, len(items))
			for i := range results {
				results[i].Err = err
			}
			r.step(func(q *Queue, now time.Time) *Effects { return q.Parked(now, results) })
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.log = log
		if !r.closed {
			r.parkIn(log, items)
		}
	})
}

func (r *route) parkIn(log *segstore.Log, items []*Item) {
	g := &segstore.Group{Entries: make([]segstore.Entry, len(items))}
	for i, it := range items {
		confirm := it.Confirm
		g.Entries[i] = segstore.Entry{Log: log, Batch: it.Data, Admit: func(*batch.Header, int64) (int32, error) {
			return parkedEpoch(log.LastEpoch(), confirm), nil
		}}
	}
	g.Done = func(g *segstore.Group) {
		results := make([]Parked, len(g.Entries))
		for i, e := range g.Entries {
			results[i] = Parked{Base: e.BaseOffset, Err: e.Err}
		}
		r.step(func(q *Queue, now time.Time) *Effects { return q.Parked(now, results) })
	}
	// A store that is closing calls Done at once, and the mutex is held.
	r.f.jobs.submit(r.f.cfg.Store, g)
}

// makeParked makes the stream that id's batches are parked in.
func (f *Forwarder) makeParked(id metadata.PartitionID) (*segstore.Log, error) {
	of, known := f.Stream(id.Stream)
	if !known {
		return nil, fmt.Errorf("%s: %w", id, segstore.ErrUnknownStream)
	}
	p := parkedID(id)
	c := metadata.DefaultStreamConfig(p.Stream)
	c.Partitions, c.Lane = of.Partitions, of.Lane
	c.RetentionTime, c.RetentionBytes, c.WhenFull = 0, 0, metadata.Refuse // what is parked stays until it is handed over
	if err := f.cfg.Store.PutStream(c); err != nil {
		return nil, err
	}
	if log := f.cfg.Store.Log(p); log != nil {
		return log, nil
	}
	return nil, fmt.Errorf("%s: %w", p, segstore.ErrUnknownStream)
}

// readBack reads on in the parked log.
func (r *route) readBack(buf []byte) []byte {
	r.mu.Lock()
	from, log := r.readFrom, r.log
	r.mu.Unlock()
	run, err := log.Read(from, buf[:0], ReadBytesMax)
	var corrupt *segstore.CorruptError
	switch {
	case errors.As(err, &corrupt):
		r.f.log.Error("forward: parked log damaged", "partition", r.id, "error", err)
		r.step(func(q *Queue, now time.Time) *Effects { return q.Lost(now, corrupt.LastOffset+1) })
	case errors.Is(err, segstore.ErrOffsetOutOfRange):
		r.step(func(q *Queue, now time.Time) *Effects { return q.Lost(now, log.StartOffset()) })
	default:
		r.step(func(q *Queue, now time.Time) *Effects { return q.ReadBack(now, run, err) })
	}
	return run
}

// moved notes how far the parked log was handed over. The note becomes durable
// with a later commit, since a leader knows what it has; when all is handed
// over it is made durable at once, for leaders do not remember for ever.
func (r *route) moved() {
	pos, end := r.q.Position()
	r.log.SetDrained(pos)
	r.f.cfg.Store.State().Put(positionKey(r.id), appendPosition(nil, pos, r.remap))
	if pos < end {
		return
	}
	r.f.jobs.add(func() {
		r.mu.Lock()
		pos, _ := r.q.Position()
		note := appendPosition(nil, pos, r.remap)
		r.mu.Unlock()
		if err := r.f.cfg.Store.State().PutSync(positionKey(r.id), note); err != nil {
			r.f.log.Warn("forward: the position in the parked log is not durable yet", "partition", r.id, "error", err)
		}
	})
}

// save makes a remap durable.
func (r *route) save(remap Remap) {
	r.mu.Lock()
	r.remap = remap
	r.mu.Unlock()
	err := r.f.cfg.Store.State().PutSync(positionKey(r.id), appendPosition(nil, remap.From, remap))
	r.step(func(q *Queue, now time.Time) *Effects { return q.Saved(now, err) })
}

func positionKey(p metadata.PartitionID) string { return "parked/" + p.String() }

const positionLen = 32

func appendPosition(b []byte, pos int64, r Remap) []byte {
	for _, v := range []int64{pos, r.From, r.To, r.Producer} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return b
}

// loadPosition returns how far a parked log was handed over. Without a note it
// is handed over from its start: what a leader has, it knows.
func loadPosition(state *segstore.State, log *segstore.Log) (pos int64, r Remap) {
	id := log.Partition()
	id.Stream = strings.TrimPrefix(id.Stream, ParkedPrefix)
	if b := state.Get(positionKey(id)); len(b) == positionLen {
		at := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[8*i:])) }
		pos, r = at(0), Remap{From: at(1), To: at(2), Producer: at(3)}
	}
	return min(max(pos, log.StartOffset()), log.EndOffset()), r
}
