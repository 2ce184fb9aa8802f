package config

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Site is how this gateway takes part in a site of several. Without a KeyFile
// it is on its own, and the rest means nothing.
type Site struct {
	KeyFile         string
	Gossip          string   // host:port for UDP and TCP: who is alive
	Listen          string   // host:port for TCP: records and agreement
	Advertise       string   // host by which others reach both; "": see AdvertiseHost
	Join            []string // gossip addresses of some of the others
	MDNS            bool
	Zone            string
	Weight          int
	BootstrapExpect int
	Profile         string
	ReplaceAfter    time.Duration
	RebalanceAfter  time.Duration
	ReplicaLagMax   time.Duration
	ParkAfter       time.Duration // 0: see ParkTime
	Timing          Timing
}

// Timing overrides single values of the profile; zero leaves them to it.
type Timing struct {
	ProbeInterval    time.Duration
	ProbeTimeout     time.Duration
	SuspicionMult    int
	SuspicionMaxMult int
	GossipInterval   time.Duration
	RaftHeartbeat    time.Duration
	RaftElection     time.Duration
	RaftLease        time.Duration
	DrainAfter       time.Duration // see controller.Policy
	DrainBackAfter   time.Duration
}

// What [site] profile may say.
const (
	ProfileAuto  = "auto" // by the kind of interface
	ProfileWired = "wired"
	ProfileWiFi  = "wifi"
)

// How long a batch waits for its partition's leader before it is parked, unless
// park_after says. One copy that is parked can be confirmed, so waiting longer
// gains nothing; where a second is needed, an election may well be over first.
const (
	parkAfterOne  = 250 * time.Millisecond
	parkAfterMany = time.Second
)

// gossipPort is the default, which joining addresses are likely to have.
const gossipPort = "7610"

// SitePort is the default port of listen in [site], where operators come in, too.
const SitePort = "7611"

func defaultSite() Site {
	return Site{
		Gossip: "127.0.0.1:" + gossipPort, Listen: "127.0.0.1:" + SitePort,
		Weight: 1, BootstrapExpect: 3, Profile: ProfileAuto,
		ReplaceAfter: 15 * time.Minute, RebalanceAfter: 5 * time.Minute, ReplicaLagMax: 2 * time.Second,
	}
}

// IsSite says whether this gateway is one of a site.
func (c *Config) IsSite() bool { return c.Site.KeyFile != "" }

// ParkTime returns how long a batch of a stream with that min_insync waits for
// its leader before it is parked.
func (s *Site) ParkTime(minInsync int) time.Duration {
	switch {
	case s.ParkAfter > 0:
		return s.ParkAfter
	case minInsync <= 1:
		return parkAfterOne
	}
	return parkAfterMany
}

// AdvertiseHost returns the host by which others reach this gateway: what the
// file says, else the one it listens at, else, when it listens everywhere, the
// only address of this machine that could be meant.
func (s *Site) AdvertiseHost() (string, error) {
	if s.Advertise != "" {
		return s.Advertise, nil
	}
	host, _, err := net.SplitHostPort(s.Gossip)
	if err != nil {
		return "", err
	}
	if !isWildcard(host) {
		return host, nil
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("advertise: the addresses of this machine can't be listed: %w", err)
	}
	return onlyAddress(own)
}

// onlyAddress chooses among the addresses of a machine. Two that could be meant
// are one too many: others would be told the wrong one half of the time.
func onlyAddress(own []net.Addr) (string, error) {
	var v4, v6 []string
	for _, a := range own {
		p, err := netip.ParsePrefix(a.String())
		ip := p.Addr().Unmap()
		switch {
		case err != nil || !ip.IsGlobalUnicast():
		case ip.Is4():
			v4 = append(v4, ip.String())
		default:
			v6 = append(v6, ip.String())
		}
	}
	candidates := v4
	if len(v4) == 0 {
		candidates = v6
	}
	if len(candidates) == 1 {
		return candidates[0], nil
	}
	found := "none but loopback addresses"
	if len(candidates) > 0 {
		found = strings.Join(candidates, ", ")
	}
	return "", fmt.Errorf("which address reaches this gateway? it has %s; set advertise in [site]", found)
}

func isWildcard(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}
