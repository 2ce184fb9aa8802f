package replica

import (
	"context"
	"sync/atomic"
	"time"

	"cistern/gossip/metadata"
)

// counts count from the start of the process.
type counts struct {
	alters    atomic.Int64
	elections atomic.Int64
	broken    atomic.Int64
	mended    atomic.Int64
	scrubbed  atomic.Int64
}

// Stats is what the manager did since the process started.
type Stats struct {
	ISRChanges int64 // asked for
	Elections  int64 // won by this gateway
	Broken     int64 // partitions stopped because an invariant did not hold
	Mended     int64 // records that flash lost here and another copy gave back
	Scrubbed   int64 // bytes of records read to see whether they still can be
}

// Stats returns the counts of this moment.
func (m *Manager) Stats() Stats {
	return Stats{ISRChanges: m.counts.alters.Load(), Elections: m.counts.elections.Load(), Broken: m.counts.broken.Load(), Mended: m.counts.mended.Load(), Scrubbed: m.counts.scrubbed.Load()}
}

// handOver asks the controller for another leader: this one's journal is
// latched. Where nobody else is in sync nothing changes.
func (m *Manager) handOver(l *local) {
	m.background(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, alterTimeout)
		defer cancel()
		r, err := m.cfg.Controller.Propose(ctx, metadata.Change{At: time.Now().UnixMilli(),
			Elect: &metadata.Elect{Partition: l.id, Node: metadata.NoNode, PartitionEpoch: -1}})
		if err == nil {
			err = r.Err()
		}
		if err != nil {
			m.log.Warn("the leadership of a latched journal could not be handed over", "partition", l.id, "error", err)
		}
	})
}

// background runs fn while the manager runs; stop waits for it.
func (m *Manager) background(fn func(context.Context)) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.running == nil {
		return false
	}
	ctx := m.running
	m.wg.Go(func() { fn(ctx) })
	return true
}

// View is one partition's state at this gateway.
type View struct {
	Partition metadata.PartitionID
	Status
	StartOffset, EndOffset int64
	Truncated              int64
	Starved                *Starved // nil: no follower waits so
}

// Views returns the state of every partition kept here.
func (m *Manager) Views() []View {
	var out []View
	for _, l := range m.all() {
		l.mu.Lock()
		v := View{Partition: l.id, Status: l.p.Status(), Starved: l.starving()}
		l.mu.Unlock()
		v.StartOffset, v.EndOffset, v.Truncated = l.log.StartOffset(), l.log.EndOffset(), l.log.Truncated()
		out = append(out, v)
	}
	return out
}

// Leads reports whether this gateway leads p, and in which epoch.
func (m *Manager) Leads(p metadata.PartitionID) (epoch int32, ok bool) {
	l := m.local(p)
	if l == nil {
		return 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.p.LeaderEpoch(), l.p.Role() == RoleLeader
}

// Since returns how long ago a moment of the protocol's clock was.
func (m *Manager) Since(moment time.Duration) time.Duration { return m.now() - moment }

// Keeps returns what this gateway is to p, and in which leader epoch.
func (m *Manager) Keeps(p metadata.PartitionID) (epoch int32, role Role) {
	l := m.local(p)
	if l == nil {
		return 0, RoleIdle
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.p.LeaderEpoch(), l.p.Role()
}
