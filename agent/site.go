package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"cistern/agent/config"
	"cistern/bridge/peer"
	"cistern/gossip"
	"cistern/gossip/controller"
	"cistern/gossip/metadata"
	"cistern/gossip/port"
	"cistern/gossip/quorum"
	"cistern/gossip/sitekey"
	"cistern/segstore/forward"
	"cistern/segstore/replica"
)

// site is what a gateway has beside its own journal when it is one of several.
type site struct {
	a        *Agent
	address  string // of the site port, as others reach it
	port     *port.Port
	quorum   *quorum.Quorum
	gossip   *gossip.Membership
	keeper   *quorum.Keeper
	peers    *peer.Peers
	server   *peer.Server
	replicas *replica.Manager
	forward  *forward.Forwarder
	cursors  *cursors
	hint     *metadata.Image // what the site had agreed on when this gateway stopped, as far as it knew

	lost []metadata.PartitionID // confirmed records that flash lost, not told yet; the registrar's

	mu         sync.Mutex
	registered registration                 // what the site knows of this process; zero: nothing yet
	joined     bool                         // the site has had us as a member, in this process
	removed    bool                         // and has us no more
	takeBack   bool                         // what stepAside ordered before this start
	probing    map[metadata.NodeID]struct{} // one probe of a gateway at a time

	raftStays atomic.Bool // raft did not end, and keeps its file: no other agent can start in this process
}

// registration is a gateway's flash and process, as Register tells them.
type registration struct {
	store       string
	incarnation uint64
	node        metadata.NodeID
	given       uint64 // the site's incarnation of it
}

// openSite makes what a site needs, right to left.
func (a *Agent) openSite() error {
	if !a.config.IsSite() {
		return nil
	}
	c := &a.config.Site
	key, err := sitekey.Load(c.KeyFile)
	if err != nil {
		return err
	}
	s := &site{a: a, probing: map[metadata.NodeID]struct{}{}, lost: replica.Unclean(a.store), takeBack: a.wasAside()}
	a.site = s
	if s.port, err = port.Listen(c.Listen, key, a.config.Gateway.Name); err != nil {
		return err
	}
	s.port.Logger = a.log
	host, err := c.AdvertiseHost()
	if err != nil {
		return err
	}
	_, number, err := net.SplitHostPort(s.port.Addr().String())
	if err != nil {
		return err
	}
	s.address = net.JoinHostPort(host, number)
	gossipProfile, raftProfile := profiles(c)
	if s.quorum, err = quorum.Open(quorum.Config{
		Dir: filepath.Join(a.config.Gateway.Data, "quorum"), Name: a.config.Gateway.Name, Address: s.address,
		Port: s.port, Profile: raftProfile, Logger: a.log,
	}); err != nil {
		return err
	}
	s.hint = s.quorum.Hint()
	if s.gossip, err = gossip.New(gossip.Config{
		Name: a.config.Gateway.Name, Bind: c.Gossip, Advertise: host, Key: key, Join: c.Join, MDNS: c.MDNS, Site: a.config.Gateway.Site,
		Profile: gossipProfile, Logger: a.log,
		Meta: gossip.Meta{Address: s.address, Zone: c.Zone, Version: a.version, Expect: c.BootstrapExpect, Formed: s.quorum.Site()},
	}); err != nil {
		return err
	}
	policy := controller.DefaultPolicy()
	policy.ReplaceAfter, policy.RebalanceAfter = c.ReplaceAfter, c.RebalanceAfter
	override(&policy.DrainAfter, c.Timing.DrainAfter)
	override(&policy.DrainBackAfter, c.Timing.DrainBackAfter)
	s.keeper = &quorum.Keeper{Quorum: s.quorum, Members: s.gossip.Members, Changed: s.gossip.Watch, Expect: c.BootstrapExpect, Policy: policy, Logger: a.log}
	return s.openReplicas()
}

// openReplicas makes the parts through which records move.
func (s *site) openReplicas() (err error) {
	a := s.a
	if s.peers, err = peer.New(peer.Config{Name: a.config.Gateway.Name, Dial: s.port.Dial, OnReset: s.reset, Logger: a.log}); err != nil {
		return err
	}
	s.replicas = replica.NewManager(replica.Config{
		Store: a.store, Peers: s.peers, Controller: s.quorum, MinInsync: controller.MinInsync,
		ReplicaLagMax: a.config.Site.ReplicaLagMax, ScrubEvery: a.config.Storage.ScrubEvery, Logger: a.log,
	})
	s.server = &peer.Server{Service: s.replicas, Logger: a.log}
	s.forward, err = forward.New(forward.Config{
		Store: a.store, Leader: s.replicas, Image: s.image, Changed: s.replicas.Watch, MinInsync: s.minInsync, Logger: a.log,
		Policy: forward.Policy{ParkAfter: a.config.Site.ParkTime(1), ParkHeldAfter: a.config.Site.ParkTime(2)},
	})
	return err
}

// minInsync is how many gateways must have a record of that partition before it
// is confirmed. Of a partition nobody knows yet nothing is confirmed that lies
// only here.
func (s *site) minInsync(id metadata.PartitionID) int {
	image := s.image()
	p := image.Partition(id)
	if p == nil {
		return 2
	}
	return controller.MinInsync(image.Streams[id.Stream].Config, p.Settled())
}

// profiles are the timings of gossip and raft: by the kind of network, or as
// the file says.
func profiles(c *config.Site) (gossip.Profile, quorum.Profile) {
	name, g := gossip.ProfileOf(c.Gossip)
	switch c.Profile {
	case config.ProfileWired:
		name, g = c.Profile, gossip.Wired()
	case config.ProfileWiFi:
		name, g = c.Profile, gossip.Wifi()
	}
	q := quorum.Wired()
	if name == config.ProfileWiFi {
		q = quorum.Wifi()
	}
	t := &c.Timing
	override(&g.ProbeInterval, t.ProbeInterval)
	override(&g.ProbeTimeout, t.ProbeTimeout)
	override(&g.SuspicionMult, t.SuspicionMult)
	override(&g.SuspicionMaxMult, t.SuspicionMaxMult)
	override(&g.GossipInterval, t.GossipInterval)
	override(&q.Heartbeat, t.RaftHeartbeat)
	override(&q.Election, t.RaftElection)
	override(&q.Lease, t.RaftLease)
	return g, q
}

func override[T comparable](value *T, by T) {
	var zero T
	if by != zero {
		*value = by
	}
}

// start runs the site's parts, right to left.
func (s *site) start(c *crew) {
	c.start("site port", s.port.Run)
	c.start("quorum", s.runQuorum)
	c.start("gossip", s.gossip.Run)
	c.start("keeper", s.keeper.Run)
	c.start("peers", s.peers.Run)
	c.start("replicas", s.replicas.Run)
	c.start("peer server", func(ctx context.Context) error {
		return s.server.Serve(ctx, callers{s.port.Listener(peer.Protocol), s.hungUp})
	})
	c.start("forwarder", s.forward.Run)
	c.start("site", s.run)
}

// runQuorum is the quorum's Run. That raft does not end spoils no stop, since all that
// was agreed on is on flash; but Agent.settled has to know.
func (s *site) runQuorum(ctx context.Context) error {
	err := s.quorum.Run(ctx)
	if errors.Is(err, quorum.ErrNotEnded) {
		s.raftStays.Store(true)
		return nil
	}
	return err
}

// image is the site's metadata as far as this gateway knows it: while it is out
// of touch, what it last wrote down.
func (s *site) image() *metadata.Image {
	if i := s.quorum.Image(); i.Index >= s.hint.Index {
		return i
	}
	return s.hint
}

// stream is what the site has decided about a stream.
func (s *site) stream(name string) (metadata.StreamConfig, bool) {
	if st := s.image().Streams[name]; st != nil {
		return st.Config, true
	}
	return metadata.StreamConfig{}, false
}

// await returns when the site has every stream that a route of this gateway
// needs: before that nobody knows where a record belongs.
func (s *site) await(ctx context.Context) error {
	changed, cancel := s.quorum.Watch()
	defer cancel()
	said := false
	for {
		missing := s.missing()
		if missing == "" {
			return nil
		}
		if !said {
			s.a.log.Info("waiting for the site before devices are let in", "stream", missing, "bootstrap_expect", s.a.config.Site.BootstrapExpect)
			said = true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *site) missing() string {
	for _, r := range s.a.config.MQTT.Routes {
		if _, ok := s.stream(r.Stream); !ok {
			return r.Stream
		}
	}
	return ""
}

// Limits of what is asked of the site.
const (
	proposeTimeout = 5 * time.Second
	leaveTimeout   = 2 * time.Second
	probeTimeout   = time.Second
)

// propose asks the site to agree on a change.
func (s *site) propose(ctx context.Context, c metadata.Change) (metadata.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	c.At = time.Now().UnixMilli()
	r, err := s.quorum.Propose(ctx, c)
	if err == nil {
		err = r.Err()
	}
	return r, err
}

// reset is told when a peer hung up or refused a connection. If its process is
// gone for certain, nobody has to wait for gossip to find out.
func (s *site) reset(to metadata.Member, _ error) {
	s.mu.Lock()
	_, busy := s.probing[to.ID]
	s.probing[to.ID] = struct{}{}
	s.mu.Unlock()
	if busy {
		return
	}
	go func() {
		defer func() {
			s.mu.Lock()
			delete(s.probing, to.ID)
			s.mu.Unlock()
		}()
		ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
		defer cancel()
		if err := s.gossip.Probe(ctx, to.Name); !errors.Is(err, gossip.ErrRefused) {
			return
		}
		s.a.log.Warn("a gateway's process is gone", "gateway", to.Name, "incarnation", to.Incarnation)
		s.quorum.Suspect(to.Name)
		if m := s.quorum.Image().Members[to.ID]; m.Fenced || m.Incarnation != to.Incarnation {
			return
		}
		if _, err := s.propose(context.Background(), metadata.Change{Fence: &metadata.Fence{Node: to.ID, Incarnation: to.Incarnation}}); err != nil && !errors.Is(err, metadata.ErrStaleIncarnation) {
			s.a.log.Warn("a gateway that is gone could not be fenced yet", "gateway", to.Name, "error", err)
		}
	}()
}

// leave hands over what this gateway leads, so that nobody has to find out that
// it stops.
func (s *site) leave(ctx context.Context) {
	s.mu.Lock()
	r := s.registered
	s.mu.Unlock()
	if leader, _ := s.quorum.Leader(); r.given == 0 || leader == "" {
		return
	}
	if _, err := s.propose(ctx, metadata.Change{Fence: &metadata.Fence{Node: r.node, Incarnation: r.given}}); err != nil {
		s.a.log.Warn("leaderships could not be handed over before stopping", "error", err)
	}
}

// close lets go of what openSite took, where Run did not.
func (s *site) close() error {
	var errs []error
	if s.gossip != nil {
		errs = append(errs, s.gossip.Close())
	}
	if s.quorum != nil {
		errs = append(errs, s.quorum.Close())
	}
	if s.port != nil {
		s.port.Close()
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	return nil
}
