// Package lan brings the machine into its network: an address that is given to
// it (DHCP) or is its own, the way out, and who knows names and the time.
//
// An interface may come late (a USB adapter), lose its cable and get another:
// with each new carrier a lease is asked for again, with the address that was
// there before. While nothing answers, the address stays until its lease has
// ended: devices in the same network go on publishing.
package lan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"cistern/firmware/machine"
)

// Settings are what an interface is set to.
type Settings struct {
	Address netip.Prefix
	Routes  []Route
	DNS     []netip.Addr
	NTP     []string
	Domain  string
	Times   Times // of the lease; zero for an address of its own
}

// Route is a way to a network.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

var everywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

// Limits of what a server may say.
const (
	serversMax = 3 // of each kind
	routesMax  = 16
	leaseMin   = time.Minute // shorter ones would be asked for without end
	leaseMax   = 7 * 24 * time.Hour
)

// Static are the settings of an address of its own.
func Static(c machine.Config) Settings {
	s := Settings{Address: c.Address, DNS: c.DNS, NTP: c.NTP}
	if c.Router.IsValid() {
		s.Routes = []Route{{everywhere, c.Router}}
	}
	return s
}

// ErrLease is found in the error of an answer that can't be used.
var ErrLease = errors.New("the DHCP server's answer can't be used")

// FromDHCP reads a server's answer. What the operator has set goes before what
// the server says.
func FromDHCP(ack *dhcpv4.DHCPv4, c machine.Config) (Settings, error) {
	address, ok := hostAddress(ack.YourIPAddr)
	if !ok {
		return Settings{}, fmt.Errorf("address %s: %w", ack.YourIPAddr, ErrLease)
	}
	bits, width := ack.SubnetMask().Size()
	if width == 0 { // none, or one with holes: the address says what it can
		bits, _ = ack.YourIPAddr.To4().DefaultMask().Size()
	}
	if bits == 0 {
		return Settings{}, fmt.Errorf("network of %s: %w", address, ErrLease)
	}
	s := Settings{Address: netip.PrefixFrom(address, bits), Routes: routes(ack), DNS: c.DNS, NTP: c.NTP, Times: times(ack)}
	if len(s.DNS) == 0 {
		s.DNS = addresses(ack.DNS())
	}
	if len(s.NTP) == 0 {
		for _, a := range addresses(ack.NTPServers()) {
			s.NTP = append(s.NTP, a.String())
		}
	}
	if machine.IsServer(ack.DomainName()) {
		s.Domain = ack.DomainName()
	}
	return s, nil
}

// routes takes option 121 before option 3, as RFC 3442 demands.
func routes(ack *dhcpv4.DHCPv4) []Route {
	var all []Route
	for _, r := range ack.ClasslessStaticRoute() {
		via, ok := hostAddress(r.Router)
		ones, width := r.Dest.Mask.Size()
		to, there := netip.AddrFromSlice(r.Dest.IP.To4())
		if ok && there && width == 32 && len(all) < routesMax {
			all = append(all, Route{netip.PrefixFrom(to, ones).Masked(), via})
		}
	}
	if len(all) > 0 {
		return all
	}
	if via := addresses(ack.Router()); len(via) > 0 {
		return []Route{{everywhere, via[0]}}
	}
	return nil
}

func addresses(list []net.IP) []netip.Addr {
	var all []netip.Addr
	for _, ip := range list {
		if a, ok := hostAddress(ip); ok && !slices.Contains(all, a) && len(all) < serversMax {
			all = append(all, a)
		}
	}
	return all
}

// hostAddress is an address that a machine can have.
func hostAddress(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip.To4())
	return a, ok && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// Times are how long a lease holds, from when it was asked for.
type Times struct {
	Renew, Rebind, End time.Duration
}

func times(ack *dhcpv4.DHCPv4) Times {
	end := min(max(ack.IPAddressLeaseTime(time.Hour), leaseMin), leaseMax)
	t := Times{Renew: ack.IPAddressRenewalTime(end / 2), Rebind: ack.IPAddressRebindingTime(end * 7 / 8), End: end}
	if t.Renew <= 0 || t.Renew >= end {
		t.Renew = end / 2
	}
	if t.Rebind <= t.Renew || t.Rebind >= end {
		t.Rebind = t.Renew + (end-t.Renew)*3/4
	}
	return t
}

// Step is what is due for a lease.
type Step int

const (
	Wait   Step = iota // nothing, for so long
	Renew              // ask the server that gave it
	Rebind             // ask any server
	Ended              // the address is no longer ours
)

// retryMin is the shortest pause between two questions (RFC 2131, 4.4.5).
const retryMin = time.Minute

// Next says what to do with a lease of that age, when it was last asked about at
// the age asked (negative: never), and for how long to wait.
func (t Times) Next(age, asked time.Duration) (Step, time.Duration) {
	if age >= t.End {
		return Ended, 0
	}
	step, from, next := Renew, t.Renew, t.Rebind
	if age >= t.Rebind {
		step, from, next = Rebind, t.Rebind, t.End
	}
	due := from
	if asked >= from {
		due = asked + max((next-asked)/2, retryMin)
	}
	due = min(due, max(next, from))
	if due <= age {
		return step, 0
	}
	return Wait, due - age
}

// same says whether a renewed lease changes nothing of the interface.
func same(a, b Settings) bool {
	return a.Address == b.Address && a.Domain == b.Domain && slices.Equal(a.Routes, b.Routes) &&
		slices.Equal(a.DNS, b.DNS) && slices.Equal(a.NTP, b.NTP)
}
