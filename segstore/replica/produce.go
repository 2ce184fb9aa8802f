package replica

import (
	"errors"
	"fmt"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

// Deliver hands batches to whoever leads their partitions, this gateway or
// another. It does not block; batches of one partition keep their order.
func (m *Manager) Deliver(batches []*Append) {
	var here []*Append
	var away map[metadata.NodeID][]*Append
	m.mu.RLock()
	image, self := m.image, m.self
	m.mu.RUnlock()
	for _, a := range batches {
		switch p := image.Partition(a.Partition); {
		case p == nil || p.Leader == metadata.NoNode: // nil: our metadata lags, or there is none yet
			a.fail(ErrNoLeader)
		case p.Leader == self:
			here = append(here, a)
		default:
			if away == nil {
				away = map[metadata.NodeID][]*Append{}
			}
			away[p.Leader] = append(away[p.Leader], a)
		}
	}
	m.Produce(here)
	for node, list := range away {
		m.cfg.Peers.Produce(image.Members[node], list)
	}
}

// Produce appends at this gateway, if it leads; it is what peers call.
func (m *Manager) Produce(batches []*Append) {
	var groups map[string]*leading // by lane
	for _, a := range batches {
		l := m.local(a.Partition)
		if l == nil {
			a.fail(ErrNotLeader)
			continue
		}
		if groups == nil {
			groups = map[string]*leading{}
		}
		g := groups[l.lane]
		if g == nil {
			g = &leading{}
			groups[l.lane] = g
		}
		g.add(l, a)
	}
	for _, g := range groups {
		g.group.Done = g.done
		m.cfg.Store.Submit(&g.group)
	}
}

// leading is a group of batches on its way into the journal of their leader.
type leading struct {
	group   segstore.Group
	locals  []*local
	appends []*Append
}

func (g *leading) add(l *local, a *Append) {
	g.locals = append(g.locals, l)
	g.appends = append(g.appends, a)
	g.group.Entries = append(g.group.Entries, segstore.Entry{Log: l.log, Batch: a.Batch, Admit: func(h *batch.Header, base int64) (int32, error) {
		return l.admit(h, base, a.Acks)
	}})
}

// done is called when the group is on flash here.
func (g *leading) done(*segstore.Group) {
	for i := range g.group.Entries {
		g.locals[i].appended(g.appends[i], &g.group.Entries[i])
	}
	for i, l := range g.locals {
		if i == 0 || g.locals[i-1] != l {
			l.synced()
		}
	}
}

// answer ends an append.
func (a *Append) answer(base int64, err error) {
	a.BaseOffset, a.Err = base, err
	a.Done(a)
}

func (a *Append) fail(err error) { a.answer(-1, fmt.Errorf("%s: %w", a.Partition, err)) }

// refusal translates what the journal says of an entry into what peers know.
func refusal(err error) error {
	switch {
	case errors.Is(err, segstore.ErrFull):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, segstore.ErrTooLarge):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, batch.ErrMalformed), errors.Is(err, batch.ErrTruncated):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	case errors.Is(err, segstore.ErrLatched), errors.Is(err, segstore.ErrClosed), errors.Is(err, segstore.ErrEpochSpent):
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return err
}
