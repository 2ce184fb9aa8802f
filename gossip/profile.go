package gossip

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// Profile is how quickly a site notices, and how much it bears before it does.
// Wired and Wifi have been measured; between them lies a factor of two in
// time, and false alarms on a link that loses packets.
//
// A member that falls silent is dead to all after about
//
//	ProbeInterval + SuspicionMult × max(1, log10 n) × ProbeInterval
//
// when others confirm it, and up to SuspicionMaxMult times the second part when
// they do not.
type Profile struct {
	ProbeInterval time.Duration // between questions to one member or another
	ProbeTimeout  time.Duration // for the answer to a packet; then others are asked, and TCP
	ProbeAttempts int           // packets of Membership.Probe

	IndirectChecks   int // others that are asked
	SuspicionMult    int
	SuspicionMaxMult int
	AwarenessMax     int // a gateway that is slow itself asks up to this many times slower

	GossipInterval  time.Duration // between packets, while there is news
	GossipNodes     int           // that are told at a time
	GossipToTheDead time.Duration // a dead member is told that it is thought dead
	RetransmitMult  int           // times log10(n+1) a piece of news is sent

	// PushPullInterval is how often everything is compared with one other
	// member, over TCP, in case that news got lost.
	PushPullInterval time.Duration
	StreamTimeout    time.Duration // for each step of such an exchange

	ReclaimTime time.Duration // after which a dead member's name may come back from another address

	JoinBackoffMin time.Duration // between attempts to join, at first
	JoinBackoffMax time.Duration // and later; bounds how long a healed cut goes unnoticed
	ResolveTimeout time.Duration // for the names among the addresses to join
	MDNSInterval   time.Duration // between questions for neighbours, once there are some
	LeaveTimeout   time.Duration // to say goodbye at the end of Run
}

// Wired is for cables: a dead gateway is known to all in about a second.
func Wired() Profile {
	return Profile{
		ProbeInterval: 200 * time.Millisecond, ProbeTimeout: 100 * time.Millisecond, ProbeAttempts: 3,
		IndirectChecks: 3, SuspicionMult: 3, SuspicionMaxMult: 3, AwarenessMax: 8,
		GossipInterval: 50 * time.Millisecond, GossipNodes: 3, GossipToTheDead: 30 * time.Second, RetransmitMult: 4,
		PushPullInterval: time.Minute, StreamTimeout: 2 * time.Second,
		ReclaimTime:    time.Millisecond,
		JoinBackoffMin: 250 * time.Millisecond, JoinBackoffMax: 3 * time.Second,
		ResolveTimeout: 5 * time.Second, MDNSInterval: time.Minute, LeaveTimeout: 2 * time.Second,
	}
}

// Wifi is for links that lose packets and stall: a dead gateway is known in
// about two seconds, and a bad moment of the radio kills nobody.
func Wifi() Profile {
	p := Wired()
	p.ProbeInterval, p.ProbeTimeout = 300*time.Millisecond, 200*time.Millisecond
	p.SuspicionMult, p.SuspicionMaxMult = 4, 6
	p.GossipInterval = 100 * time.Millisecond
	p.StreamTimeout, p.LeaveTimeout = 4*time.Second, 3*time.Second
	return p
}

// ProfileOf chooses by the network interface that has the address (host or
// host:port, as in Config.Bind): "wifi" when it is wireless, else "wired". An
// unspecified address stands for the one that New would advertise.
func ProfileOf(bindAddr string) (name string, p Profile) {
	addr, err := advertised(bindAddr)
	if err == nil && isWireless("/sys/class/net", interfaceOf(addr)) {
		return "wifi", Wifi()
	}
	return "wired", Wired()
}

// isWireless asks Linux. Elsewhere nothing is.
func isWireless(sysfs string, i *net.Interface) bool {
	if i == nil {
		return false
	}
	for _, mark := range []string{"wireless", "phy80211"} {
		if _, err := os.Stat(filepath.Join(sysfs, i.Name, mark)); err == nil {
			return true
		}
	}
	return false
}

// interfaceOf returns the interface that has the address, nil if none has.
func interfaceOf(addr netip.Addr) *net.Interface {
	all, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap() == addr.WithZone("") {
					return &i
				}
			}
		}
	}
	return nil
}
