package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cistern/gossip"
	"cistern/gossip/metadata"
	"cistern/segstore/vfs"
)

// siteInterval is how often the site is looked at when nothing has changed.
const siteInterval = time.Second

// run does what a member of a site owes: it registers, brings every change of
// metadata to the replicas, names its streams, and tells the others how it is.
func (s *site) run(ctx context.Context) error {
	changed, cancel := s.quorum.Watch()
	defer cancel()
	register := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.registrar(ctx, register)
	}()
	defer func() { <-done }()
	tick := time.NewTicker(siteInterval)
	defer tick.Stop()
	before, drained := s.quorum.Image(), metadata.NewImage()
	for {
		image := s.quorum.Image()
		if err := s.replicas.Apply(image); err != nil {
			s.a.log.Error("site: a partition is not kept here", "error", err)
		}
		s.dropFenced(before, image) // after Apply: what is sent again must not go there again
		s.learnDrained(drained, image)
		before, drained = image, image
		s.learnRemoved()
		if s.owes(image) {
			select {
			case register <- struct{}{}:
			default:
			}
		}
		s.gossip.UpdateMeta(s.tell())
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
		}
	}
}

// dropFenced answers what waits for gateways that were taken out of the site's
// work just now: nobody should wait for a time-out.
func (s *site) dropFenced(before, image *metadata.Image) {
	for id, was := range before.Members {
		if m, ok := image.Members[id]; !was.Fenced && (!ok || m.Fenced) || ok && m.Incarnation != was.Incarnation {
			s.peers.Drop(id)
		}
	}
}

// flash is this process as a registration: healing a latched journal counts as
// another start, since what the others hold above its end must not be taken for
// its own.
func (s *site) flash() (registration, bool) {
	stats := s.a.store.Stats()
	return registration{store: fmt.Sprintf("%x", s.a.store.ID()), incarnation: s.a.store.Incarnation()<<16 | uint64(stats.Latches)}, !stats.Latched
}

// owes reports whether there is something to say: who we are, that we live
// although we were fenced, that there are streams to make, or that we may lead
// again.
func (s *site) owes(image *metadata.Image) bool {
	if leader, _ := s.quorum.Leader(); leader == "" {
		return false
	}
	return s.unregistered(image) || len(s.newStreams(image)) > 0 || s.isAside()
}

func (s *site) unregistered(image *metadata.Image) bool {
	want, ready := s.flash()
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.registered
	m, member := image.Members[r.node]
	switch {
	case member:
		s.joined, s.removed = true, false
	case s.joined:
		s.sayRemoved()
		return false
	}
	unsaid := r.store != want.store || r.incarnation != want.incarnation
	fenced := member && m.Incarnation >= r.given && m.Fenced                                                          // this life, or one of a former card that was told late
	unheard := member && m.Incarnation > r.given && m.StoreID == want.store && m.StoreIncarnation == want.incarnation // the answer was lost
	return ready && (unsaid || fenced || unheard)
}

// sayRemoved is called with mu held.
func (s *site) sayRemoved() {
	if !s.removed {
		s.removed = true
		s.a.log.Error("this gateway was removed from the site: it keeps what is parked here and takes no part any more; to join again, stop it and run `cistern site forget`")
	}
}

// learnRemoved hears of a removal that was while this gateway was away.
func (s *site) learnRemoved() {
	if !s.quorum.Removed() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sayRemoved()
}

// isRemoved reports whether the site has this gateway no more.
func (s *site) isRemoved() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.removed
}

// registrar registers and makes streams when woken, and tries on until it is
// done.
func (s *site) registrar(ctx context.Context, wake <-chan struct{}) {
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
		err := s.announce(ctx)
		if err != nil && ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			s.a.log.Warn("the site does not take this gateway yet; trying on", "error", err)
		}
		if err == nil {
			said = ""
		}
	}
}

func (s *site) announce(ctx context.Context) error {
	if s.unregistered(s.quorum.Image()) {
		s.awaitTouch(ctx)
		if err := s.register(ctx); err != nil {
			return err
		}
	}
	for _, c := range s.newStreams(s.quorum.Image()) {
		if _, err := s.propose(ctx, metadata.Change{PutStream: &metadata.PutStream{Config: c}}); err != nil && !errors.Is(err, metadata.ErrNotAllowed) {
			return fmt.Errorf("make stream %q: %w", c.Name, err)
		}
	}
	return s.comeBack(ctx)
}

// awaitTouch returns when gossip has found whoever leads the quorum. Before that
// it takes this gateway for dead, which it was, and fences it as often as it
// registers.
func (s *site) awaitTouch(ctx context.Context) {
	changed, cancel := s.gossip.Watch()
	defer cancel()
	for !s.inTouch() {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-time.After(siteInterval): // another one may lead
		}
	}
}

func (s *site) inTouch() bool {
	leader, self := s.quorum.Leader()
	return self || slices.ContainsFunc(s.gossip.Members(), func(m gossip.Member) bool {
		return m.Name == leader && (m.State == gossip.Alive || m.State == gossip.Suspect)
	})
}

func (s *site) register(ctx context.Context) error {
	c := &s.a.config
	want, ready := s.flash()
	if !ready {
		return nil
	}
	r := metadata.Register{Name: c.Gateway.Name, Address: s.address, Zone: c.Site.Zone, Weight: int32(c.Site.Weight), Version: s.a.version,
		StoreID: want.store, StoreIncarnation: want.incarnation, Unclean: len(s.lost) > 0}
	for _, src := range c.MQTT.Sources {
		r.Sources = append(r.Sources, src.URL)
	}
	result, err := s.propose(ctx, metadata.Change{Register: &r})
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	if err := s.forgetLost(); err != nil {
		return err
	}
	want.node, want.given = result.Node, result.Incarnation
	s.mu.Lock()
	s.registered = want
	s.mu.Unlock()
	s.a.log.Info("registered with the site", "node", want.node, "incarnation", want.given)
	return s.replicas.Registered(want.node, want.given)
}

// forgetLost is called when the site knows that flash lost something here, and before
// anything is followed: what others have is fetched from them, and what is nowhere is
// named. Where nobody else was in sync the partition waits for an operator, leaderless.
func (s *site) forgetLost() error {
	if len(s.lost) == 0 {
		return nil
	}
	if err := s.replicas.Heal(s.lost); err != nil {
		return err
	}
	s.a.log.Warn("flash lost what was confirmed: this gateway counts as out of sync, and looks through its copies for what is missing, to fetch it from the others; where nobody else was in sync, `cistern partitions elect --unclean` goes on with what is left", "partitions", s.lost)
	s.lost = nil
	return s.a.store.ForgetUnclean()
}

// newStreams are those of our file that the site does not have. They are made
// when there are as many gateways as the site was planned for, so that their
// copies are spread from the start.
func (s *site) newStreams(image *metadata.Image) (missing []metadata.StreamConfig) {
	if len(image.Members) < s.a.config.Site.BootstrapExpect {
		return nil
	}
	for _, c := range s.a.config.Streams {
		if image.Streams[c.Name] == nil {
			missing = append(missing, c)
		}
	}
	return missing
}

// differing names the streams that our file describes otherwise than the site.
func (s *site) differing() []string {
	names := []string{}
	for _, c := range s.a.config.Streams {
		if st, ok := s.stream(c.Name); ok && st != c {
			names = append(names, c.Name)
		}
	}
	return names
}

// tell is what the others learn of this gateway by gossip.
func (s *site) tell() func(*gossip.Meta) {
	s.mu.Lock()
	given := s.registered.given
	s.mu.Unlock()
	uplink := "none"
	if s.a.drain != nil {
		uplink = s.a.drain.Status().Uplink.State
	}
	var free int64
	if u, err := vfs.OS.Usage(s.a.config.Gateway.Data); err == nil {
		free = u.Available >> flashFreeShift << flashFreeShift
	}
	latched := s.a.store.Stats().Latched
	formed := s.quorum.Site()
	return func(m *gossip.Meta) {
		m.Formed, m.Incarnation, m.Uplink, m.FlashFree, m.FlashLatched = formed, given, uplink, free, latched
	}
}

// flashFreeShift rounds what is free to 256 MiB: gossip is not for every write.
const flashFreeShift = 28
