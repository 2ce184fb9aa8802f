package quorum

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"cistern/gossip"
	"cistern/gossip/controller"
	"cistern/gossip/metadata"
)

const (
	keeperTick     = time.Second
	proposeTimeout = 5 * time.Second // one change that the keeper proposes
	// unseenGrace is how long nothing is said about a member that gossip has
	// not shown yet: after a start it has not met everybody.
	unseenGrace = 10 * time.Second
	// roundsMax is how often in a tick something may follow at once from what
	// was just agreed on. Each costs flash, and two rules that undo each
	// other must not burn it.
	roundsMax = 16
)

// Keeper lets the site form, and on the raft leader keeps raft's servers and
// the image in step with who is alive.
type Keeper struct {
	Quorum  *Quorum
	Members func() []gossip.Member // this gateway included
	// Changed is gossip's Watch: a channel that gets a value when members changed.
	Changed func() (<-chan struct{}, func())
	// Expect is how many gateways form the site together; 0: this one only
	// joins one that is there.
	Expect int
	Policy controller.Policy
	// OnSite is told Quorum.Site when it changes: it belongs in
	// gossip.Meta.Formed, as it does from the start. It must not block.
	OnSite func(site string)
	Logger *slog.Logger

	leading   time.Time            // since when this gateway is raft leader, zero when it is not
	lives     map[string]time.Time // since when a member is alive but not registered
	uplinks   uplinks
	announced string
	complaint string

	serving time.Time // like leading, of the goroutine that keeps raft's servers
	asked   time.Time // when it last asked whether this gateway was removed
}

// Run works until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	k.lives, k.uplinks = map[string]time.Time{}, uplinks{}
	if k.Policy == (controller.Policy{}) {
		k.Policy = controller.DefaultPolicy()
	}
	if k.Logger == nil {
		k.Logger = k.Quorum.c.Logger
	}
	select {
	case <-k.Quorum.started:
	case <-ctx.Done():
		return nil
	}
	// Servers are added and removed apart from decisions: a question to a
	// gateway that doesn't answer must not hold up a failover.
	var wg sync.WaitGroup
	wg.Go(func() { k.each(ctx, k.keepServers) })
	k.each(ctx, k.keepImage)
	wg.Wait()
	return nil
}

// each calls step at every event and tick. What follows from step's own doing
// waits for the tick when it comes too often.
func (k *Keeper) each(ctx context.Context, step func(context.Context) (calm bool)) {
	agreed, end := k.Quorum.Watch()
	defer end()
	var seen <-chan struct{}
	if k.Changed != nil {
		ch, end := k.Changed()
		defer end()
		seen = ch
	}
	tick := time.NewTicker(keeperTick)
	defer tick.Stop()
	rounds := 0
	for ctx.Err() == nil {
		events := agreed
		if !step(ctx) {
			rounds++
		}
		if rounds >= roundsMax {
			events = nil
		}
		select {
		case <-events:
		case <-seen:
		case <-tick.C:
			rounds = 0
		case <-ctx.Done():
		}
	}
}

// keepImage announces the site and, on the raft leader, proposes what is due.
// It is calm when nothing was.
func (k *Keeper) keepImage(ctx context.Context) (calm bool) {
	members := k.Members()
	for _, m := range members {
		k.Quorum.Learn(m.Name, m.Meta.Address)
	}
	if site := k.Quorum.Site(); site != k.announced {
		k.announced = site
		if k.OnSite != nil {
			k.OnSite(site)
		}
	}
	k.watchConflict(members)
	k.uplinks.see(time.Now(), members)
	if !k.lead(ctx) {
		return true
	}
	img := k.Quorum.Image()
	if img.Site == "" {
		return k.proposeAll(ctx, []metadata.Change{{Form: &metadata.Form{Site: newSiteID()}}})
	}
	return k.proposeAll(ctx, controller.Decide(time.Now(), img, k.liveness(img, members), k.Policy))
}

// lead reports whether this gateway is raft leader and knows all that was
// agreed on before. Deciding from less would be harmless, and useless.
func (k *Keeper) lead(ctx context.Context) bool {
	q := k.Quorum
	if _, self := q.Leader(); !self {
		k.leading = time.Time{}
		return false
	}
	if q.machine.behind.Load() != nil {
		q.handOver()
		return false
	}
	if k.leading.IsZero() {
		if q.await(ctx, func() raft.Future { return q.raft.Barrier(proposeTimeout) }) != nil {
			return false
		}
		k.leading = time.Now()
	}
	return ctx.Err() == nil
}

// proposeAll proposes one change after the other, and stops at the first whose
// fate is unknown: the next look at the image decides anew.
func (k *Keeper) proposeAll(ctx context.Context, changes []metadata.Change) (calm bool) {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	for _, c := range changes {
		if c.At == 0 {
			c.At = time.Now().UnixMilli()
		}
		b, err := encodeChange(c)
		if err == nil {
			var r metadata.Result
			if r, err = k.Quorum.applyHere(ctx, b); err == nil {
				err = r.Err()
			}
		}
		if err != nil {
			if !errors.Is(err, errNotLeader) && ctx.Err() == nil {
				k.Logger.Warn("a change of the site was not made", "change", kindOf(c), "error", err)
			}
			return false
		}
	}
	return len(changes) == 0
}

// liveness is what gossip says about the members of the image.
func (k *Keeper) liveness(img *metadata.Image, members []gossip.Member) []controller.Liveness {
	now := time.Now()
	seen := make(map[string]gossip.Member, len(members))
	for _, m := range members {
		seen[m.Name] = m
	}
	var list []controller.Liveness
	for _, id := range slices.Sorted(maps.Keys(img.Members)) {
		m := img.Members[id]
		g, ok := seen[m.Name]
		if !ok { // not since this process began
			if d := now.Sub(k.leading); d > unseenGrace {
				list = append(list, controller.Liveness{Name: m.Name, For: d})
			}
			continue
		}
		l := controller.Liveness{Name: m.Name, Alive: present(g), For: now.Sub(g.Since)}
		l.Unregistered = k.unregistered(now, &m, g)
		l.Uplink, l.UplinkFor = k.uplinks.of(now, m.Name)
		list = append(list, l)
	}
	return list
}

// unregistered returns how long a member has been alive in a life that the
// image does not have.
func (k *Keeper) unregistered(now time.Time, m *metadata.Member, g gossip.Member) time.Duration {
	if !present(g) || g.Meta.Incarnation == m.Incarnation {
		delete(k.lives, m.Name)
		return 0
	}
	if _, ok := k.lives[m.Name]; !ok {
		k.lives[m.Name] = now
	}
	return now.Sub(k.lives[m.Name])
}

// present reports whether a gateway works: a suspect may, one that says goodbye
// does no more.
func present(m gossip.Member) bool { return m.State.Present() && !m.Meta.Leaving }

// watchConflict tells when gossip shows two sites. They are never merged: each
// has records and metadata of its own.
func (k *Keeper) watchConflict(members []gossip.Member) {
	why := conflictOf(k.Quorum.Site(), members)
	if why == k.complaint {
		return
	}
	k.complaint = why
	if why == "" {
		k.Quorum.conflict.Store(nil)
		k.Logger.Info("there is one site again")
		return
	}
	k.Quorum.conflict.Store(&why)
	k.Logger.Error("there are two sites with one key; nobody joins until it is settled", "conflict", why)
}

func conflictOf(site string, members []gossip.Member) string {
	of := map[string][]string{}
	for _, m := range members {
		if m.Meta.Formed != "" && present(m) {
			of[m.Meta.Formed] = append(of[m.Meta.Formed], m.Name)
		}
	}
	if site != "" && len(of[site]) == 0 {
		of[site] = []string{"this gateway"}
	}
	if len(of) < 2 {
		return ""
	}
	var text string
	for _, id := range slices.Sorted(maps.Keys(of)) {
		slices.Sort(of[id])
		text += fmt.Sprintf("; site %s: %v", id, of[id])
	}
	return text[2:]
}

func kindOf(c metadata.Change) string {
	switch {
	case c.Form != nil:
		return "form"
	case c.Fence != nil:
		return "fence"
	case c.Elect != nil:
		return "elect"
	case c.Reassign != nil:
		return "reassign"
	case c.AssignSource != nil:
		return "assign source"
	case c.AssignDrain != nil:
		return "assign drain"
	}
	return "other"
}
