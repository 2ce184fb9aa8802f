package mqtt

import (
	"strings"
	"sync"

	"cistern/bridge/mqtt/packet"
	"cistern/gossip/metadata"
)

// Log is what the fan-out reads: one partition's committed records.
type Log interface {
	// HighWatermark is the offset after the last committed record.
	HighWatermark() int64
	// Read appends whole record batches to buf, the first of which contains
	// offset, up to sizeMax bytes but at least one.
	Read(offset int64, buf []byte, sizeMax int) ([]byte, error)
	// Watch returns a channel that is signalled when the high watermark moves.
	Watch() (moved <-chan struct{}, cancel func())
}

// Logs finds the log of a partition.
type Logs func(metadata.PartitionID) (Log, error)

// fanout brings committed records to the subscribers. It reads the log as
// anybody else would, so it has no part in ingest and can't slow it.
type fanout struct {
	s       *Server
	mu      sync.RWMutex // held for reading while one record is handed out
	tree    tree
	tails   map[metadata.PartitionID]*tail
	running sync.WaitGroup
}

// subscription is one filter of one client.
type subscription struct {
	conn              *conn
	filter            string
	qos               byte
	noLocal           bool
	retainAsPublished bool
	bytes             int             // its share of Server.memory
	tails             []*tail         // the partitions it reads
	starts            map[*tail]int64 // first offset, where the tail is behind it; mostly nil
}

// levelBytes is about what one level of a filter costs in the tree.
const levelBytes = 256

func newFanout(s *Server) *fanout {
	return &fanout{s: s, tails: map[metadata.PartitionID]*tail{}}
}

// wants reports whether sub was there before the record at offset of t.
func (sub *subscription) wants(t *tail, offset int64) bool {
	start, behind := sub.starts[t]
	return !behind || offset >= start
}

// subscribe adds sub. It gets the records that are committed from now on.
func (f *fanout) subscribe(sub *subscription) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	cost := len(sub.filter) + (2+strings.Count(sub.filter, "/"))*levelBytes
	if !f.s.memory.Reserve(cost) {
		return packet.ErrNoMemory
	}
	sub.bytes = cost
	for _, p := range f.partitions(sub.filter) {
		t, err := f.tail(p)
		if err != nil {
			f.release(sub)
			return err
		}
		sub.tails = append(sub.tails, t)
		t.users++
		if end := t.log.HighWatermark(); end > t.next {
			if sub.starts == nil {
				sub.starts = map[*tail]int64{}
			}
			sub.starts[t] = end
		}
	}
	f.tree.insert(sub)
	return nil
}

// unsubscribe removes sub.
func (f *fanout) unsubscribe(sub *subscription) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tree.remove(sub)
	f.release(sub)
}

// release stops the tails that only sub needed, and frees its memory.
func (f *fanout) release(sub *subscription) {
	f.s.memory.Release(sub.bytes)
	sub.bytes = 0
	for _, t := range sub.tails {
		if t.users--; t.users == 0 {
			close(t.done)
			delete(f.tails, t.partition)
		}
	}
	sub.tails = nil
}

// leave removes all subscriptions of c, which takes no more packets.
func (f *fanout) leave(c *conn) {
	for _, sub := range c.subscriptions {
		f.unsubscribe(sub)
	}
	c.subscriptions = nil
	c.mu.Lock()
	c.dropDeliveries()
	c.mu.Unlock()
}

// partitions returns those that may hold topics matching filter.
func (f *fanout) partitions(filter string) (ids []metadata.PartitionID) {
	seen := map[string]bool{}
	for _, r := range f.s.router.routes {
		if seen[r.Stream] || !packet.Overlap(r.Filter, filter) {
			continue
		}
		seen[r.Stream] = true
		for n := range r.partitions {
			ids = append(ids, metadata.PartitionID{Stream: r.Stream, Partition: n})
		}
	}
	return ids
}

// tail returns the reader of p, started if need be.
func (f *fanout) tail(p metadata.PartitionID) (*tail, error) {
	if t := f.tails[p]; t != nil {
		return t, nil
	}
	log, err := f.s.config.Logs(p)
	if err != nil {
		return nil, err
	}
	t := &tail{fanout: f, partition: p, log: log, done: make(chan struct{}),
		targets: map[*conn]delivery{}, touched: map[*conn]bool{}}
	t.moved, t.unwatch = log.Watch()
	t.next = log.HighWatermark()
	f.tails[p] = t
	f.running.Go(t.run)
	return t, nil
}

// wait returns when no tail runs any more, which is soon after the last
// connection has left.
func (f *fanout) wait() { f.running.Wait() }
