package gossip

import (
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"cistern/gossip/sitekey"
)

// Config is what a gateway needs to take part.
type Config struct {
	Name      string // unique on the site
	Bind      string // IP address and port to listen on, TCP and UDP; port 0 is any
	Advertise string // where others reach it, if not at Bind
	Key       sitekey.Key
	Join      []string // host, host:port of other gateways; this one may be among them
	MDNS      bool     // look for neighbours and be found; not on loopback
	Site      string   // the site's name, for people who look at mDNS
	Profile   Profile  // the zero value chooses by ProfileOf
	Meta      Meta
	Logger    *slog.Logger
}

// Membership is a gateway's part in the gossip of its site.
type Membership struct {
	config    Config
	bind      netip.AddrPort
	transport *transport
	roster    *roster
	processes *processes
	lines     *lines
	neighbors neighbors // found by mDNS

	ran  atomic.Bool
	list atomic.Pointer[memberlist.Memberlist] // while Run runs

	mu        sync.Mutex
	meta      Meta
	encoded   []byte        // meta as it travels
	republish chan struct{} // of room for one: encoded has changed
}

// ErrNotRunning is returned while Run does not run.
var ErrNotRunning = errors.New("gossip does not run")

// New opens the sockets. Nothing is sent or taken before Run.
func New(c Config) (*Membership, error) {
	m := &Membership{config: c, meta: c.Meta, republish: make(chan struct{}, 1)}
	if err := m.prepare(); err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	return m, nil
}

func (m *Membership) prepare() (err error) {
	c := &m.config
	if err = sitekey.CheckName(c.Name); err != nil {
		return err
	}
	if m.encoded, err = m.meta.encode(); err != nil {
		return err
	}
	if m.bind, err = bindAddr(c.Bind); err != nil {
		return err
	}
	if c.Key == (sitekey.Key{}) && !m.bind.Addr().IsLoopback() {
		return errors.New("without a site key gossip stays on loopback: make one with cistern site init")
	}
	if c.Profile == (Profile{}) {
		_, c.Profile = ProfileOf(c.Bind)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	advertise, err := m.advertise()
	if err != nil {
		return err
	}
	if m.transport, err = newTransport(m.bind); err != nil {
		return err
	}
	if advertise.Port() == 0 {
		advertise = netip.AddrPortFrom(advertise.Addr(), m.transport.port())
	}
	m.transport.advertise = advertise
	m.lines, m.processes = newLines(c.Logger), newProcesses()
	m.roster = newRoster(Member{Name: c.Name, Addr: advertise.String(), State: Alive, Since: time.Now(), Meta: m.meta})
	m.transport.reached = m.roster.reached
	return nil
}

// advertise returns where others reach this gateway, with port 0 for the one
// that will be bound.
func (m *Membership) advertise() (netip.AddrPort, error) {
	if m.config.Advertise == "" {
		ip, err := advertised(m.config.Bind)
		return netip.AddrPortFrom(ip, 0), err
	}
	host, port, err := splitAddr(m.config.Advertise, 0)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address to advertise: %q is no IP address", host)
	}
	return netip.AddrPortFrom(ip.Unmap(), port), nil
}

// Addr returns host:port as others know it.
func (m *Membership) Addr() string { return m.transport.advertise.String() }

// Members returns everyone known, this gateway and the dead included, by name.
func (m *Membership) Members() []Member { return m.roster.list() }

// Watch returns a channel that gets a value when Members or Conflicts have
// changed, and what ends it.
func (m *Membership) Watch() (<-chan struct{}, func()) { return m.roster.watch() }

// Conflicts returns which names were claimed twice lately.
func (m *Membership) Conflicts() []Conflict { return m.roster.clashes() }

// HealthScore says how well this gateway keeps up: 0 is well, Profile.AwarenessMax-1
// worst. A slow machine and a bad network both raise it.
func (m *Membership) HealthScore() int {
	if list := m.list.Load(); list != nil {
		return list.GetHealthScore()
	}
	return 0
}

// Packets returns how many gossip packets were sent and received.
func (m *Membership) Packets() (sent, received int64) {
	return m.transport.sent.Load(), m.transport.received.Load()
}

// UpdateMeta changes what this gateway says about itself, and has the site told
// soon. It does not wait for that. A small change of FlashFree alone is not
// worth a packet, and is not made. An error means that nothing was changed.
func (m *Membership) UpdateMeta(change func(*Meta)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	meta := m.meta
	change(&meta)
	if !worthTelling(m.meta, meta) {
		return nil
	}
	encoded, err := meta.encode()
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	m.meta, m.encoded = meta, encoded
	m.roster.alive(m.config.Name, m.Addr(), meta)
	select {
	case m.republish <- struct{}{}:
	default:
	}
	return nil
}

// Close closes the sockets of a Membership that never ran. Run does so itself.
func (m *Membership) Close() error {
	if m.ran.Swap(true) {
		return nil
	}
	return m.transport.Shutdown()
}

// memberlistConfig translates the profile.
func (m *Membership) memberlistConfig() *memberlist.Config {
	p, e, c := m.config.Profile, events{m}, memberlist.DefaultLANConfig()
	c.Name, c.Transport, c.SecretKey = m.config.Name, m.transport, m.config.Key.Gossip()
	c.BindAddr, c.BindPort = m.bind.Addr().String(), int(m.transport.port())
	c.Delegate, c.Events, c.Conflict, c.Alive, c.Ping = e, e, e, e, e
	c.Logger = log.New(m.lines, "", 0)
	c.EnableCompression = false // packets are small, and encryption follows

	c.ProbeInterval, c.ProbeTimeout, c.IndirectChecks = p.ProbeInterval, p.ProbeTimeout, p.IndirectChecks
	c.SuspicionMult, c.SuspicionMaxTimeoutMult, c.AwarenessMaxMultiplier = p.SuspicionMult, p.SuspicionMaxMult, p.AwarenessMax
	c.GossipInterval, c.GossipNodes, c.GossipToTheDeadTime = p.GossipInterval, p.GossipNodes, p.GossipToTheDead
	c.RetransmitMult, c.PushPullInterval, c.TCPTimeout = p.RetransmitMult, p.PushPullInterval, p.StreamTimeout
	c.DeadNodeReclaimTime = p.ReclaimTime
	return c
}
