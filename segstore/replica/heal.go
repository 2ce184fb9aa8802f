package replica

import (
	"context"
	"fmt"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
)

// Limits of healing: fetching again what flash was found to have lost when the
// gateway started.
const (
	// healHold is how long a copy is not followed on for that: one that follows
	// is soon in sync, and counts as having what it lacks. Longer would cost the
	// partition a copy of what is new, for what another gateway has that is away.
	healHold = 30 * time.Second
	healLook = time.Second
)

// healKey marks a copy that has to be looked through for holes. The mark stays over
// restarts until that is done.
func healKey(id metadata.PartitionID) string { return "heal/" + id.String() }

func mustHeal(s *segstore.State, id metadata.PartitionID) bool { return len(s.Get(healKey(id))) > 0 }

// Heal has the copies of these partitions, of which flash has lost something, looked
// through and mended before they are followed on. It is to be called before
// Registered.
func (m *Manager) Heal(lost []metadata.PartitionID) error {
	for _, id := range lost {
		if log := m.cfg.Store.Log(id); log != nil {
			if _, _, ok, err := log.Hole(0); !ok && err == nil {
				continue // it ends early, or has lost nothing
			}
		}
		if err := m.cfg.Store.State().PutSync(healKey(id), []byte{1}); err != nil {
			return fmt.Errorf("%s: note that it is to be mended: %w", id, err)
		}
	}
	return nil
}

// healing is a copy that is looked through for holes.
type healing struct {
	started bool
	until   time.Duration // not followed before, unless it is done
	done    bool
}

// holds says whether the copy must not be followed on yet; l.mu is held.
func (l *local) holds() bool { return l.heals != nil && !l.heals.done && l.m.now() < l.heals.until }

// startHealing begins to look for holes, once there is somebody to ask.
func (l *local) startHealing() {
	l.mu.Lock()
	start := l.heals != nil && !l.heals.started
	if start {
		l.heals.started, l.heals.until = true, l.m.now()+healHold
	}
	l.mu.Unlock()
	if start && !l.m.background(l.heal) {
		l.mu.Lock()
		l.heals.started = false
		l.mu.Unlock()
	}
}

// heal mends every hole of a copy, or finds that nobody can. Whoever reads the rest
// finds what rotted without leaving one.
func (l *local) heal(ctx context.Context) {
	ended, cancel := l.m.WatchMends()
	defer cancel()
	nowhere, again := int64(0), int64(-1)
	for at := int64(0); ctx.Err() == nil; {
		first, last, ok, err := l.log.Hole(at)
		if err != nil {
			l.m.log.Error("this copy can't be looked through for what flash has lost; it is mended where it is read", "partition", l.id, "error", err)
		}
		if err != nil || !ok {
			l.healed(nowhere)
			return
		}
		switch said := l.m.Mend(l.id, first, last); {
		case said == Nowhere:
			nowhere += last + 1 - first
			at = last + 1
		case said == Mended && first != again:
			again = first
		default:
			l.awaitMend(ctx, ended)
			again = -1
		}
	}
}

func (l *local) awaitMend(ctx context.Context, ended <-chan struct{}) {
	t := time.NewTimer(healLook)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-ended:
	case <-t.C:
	}
}

func (l *local) healed(nowhere int64) {
	l.mu.Lock()
	l.heals.done = true
	l.mu.Unlock()
	if err := l.m.cfg.Store.State().PutSync(healKey(l.id), nil); err != nil {
		l.m.log.Warn("the next start looks through this copy again", "partition", l.id, "error", err)
	}
	if nowhere > 0 {
		l.m.log.Error("flash lost records here that no other copy has", "partition", l.id, "records", nowhere)
		return
	}
	l.m.log.Info("this copy is whole again, as far as can be seen without reading all of it", "partition", l.id)
}
