package gossip

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// republishPause is the least time between two updates of Meta.
const republishPause = 250 * time.Millisecond

// Run takes part in the site until ctx ends. Then it says goodbye, which takes
// LeaveTimeout at most, and returns when nothing runs any more. A Membership
// runs once.
func (m *Membership) Run(ctx context.Context) error {
	if m.ran.Swap(true) {
		return errors.New("gossip: has run already, or was closed")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var parts, teller sync.WaitGroup
	endTeller := make(chan struct{})
	changed, unwatch := m.roster.watch()
	teller.Go(func() { m.tell(changed, endTeller) })
	defer teller.Wait()
	defer close(endTeller)
	defer unwatch()

	m.transport.start()
	list, err := memberlist.Create(m.memberlistConfig())
	if err != nil {
		return fmt.Errorf("gossip: %w", errors.Join(err, m.transport.Shutdown()))
	}
	m.list.Store(list)
	parts.Go(func() { m.keepJoined(ctx, list) })
	parts.Go(func() { m.keepAcquainted(ctx, list) })
	parts.Go(func() { m.keepPublished(ctx, list) })
	parts.Go(func() { m.keepDiscovering(ctx) })
	<-ctx.Done()
	parts.Wait()

	m.leave(list)
	m.list.Store(nil)
	if err := list.Shutdown(); err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	return nil
}

// keepPublished tells the site when Meta has changed. memberlist waits until
// the news is on its way, which is why nobody else calls it.
func (m *Membership) keepPublished(ctx context.Context, list *memberlist.Memberlist) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.republish:
		}
		// Not on its way in time: it goes along with the next push/pull.
		_ = list.UpdateNode(republishPause)
		if sleep(ctx, republishPause) != nil {
			return
		}
	}
}

// leave says goodbye. memberlist tells the others that this gateway is gone, but
// does not tell them apart from a dead one; so Meta says it first. While that is not
// on its way memberlist must not say more: it would send the later word instead of the
// earlier one, and all others would take a clean stop for a death.
func (m *Membership) leave(list *memberlist.Memberlist) {
	end := time.Now().Add(m.config.Profile.LeaveTimeout)
	err := m.UpdateMeta(func(meta *Meta) { meta.Leaving = true })
	if err == nil {
		err = list.UpdateNode(m.config.Profile.LeaveTimeout)
	}
	if err == nil {
		err = list.Leave(max(time.Until(end), time.Millisecond)) // 0 would be for ever
	}
	if err != nil {
		m.config.Logger.Info("left the site without everyone knowing; they will find out", "error", err)
	}
	m.roster.gone(m.config.Name)
}

// sleep waits for d, or returns why ctx has ended.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
