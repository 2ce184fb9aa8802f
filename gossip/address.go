package gossip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// DefaultPort is the gossip port where an address names none.
const DefaultPort = 7946

// splitAddr takes host, host:port, :port and [v6]:port.
func splitAddr(s string, port uint16) (host string, _ uint16, err error) {
	if ip, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return ip.String(), port, nil
	}
	if !strings.Contains(s, ":") {
		return s, port, nil
	}
	host, digits, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("address %s: port is %q", s, digits)
	}
	return host, uint16(n), nil
}

// bindAddr returns the address to listen on.
func bindAddr(s string) (netip.AddrPort, error) {
	host, port, err := splitAddr(s, DefaultPort)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if host == "" {
		host = "0.0.0.0"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %s: gossip listens on an IP address, and %q is none", s, host)
	}
	return netip.AddrPortFrom(ip.Unmap(), port), nil
}

// advertised returns under which address others reach what listens on s: the
// address itself, or this machine's when s is 0.0.0.0 or ::.
func advertised(s string) (netip.Addr, error) {
	bind, err := bindAddr(s)
	if err != nil || !bind.Addr().IsUnspecified() {
		return bind.Addr(), err
	}
	if ip, ok := routedAddr(); ok {
		return ip, nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap().Is4() && ip.Unmap().IsPrivate() {
				return ip.Unmap(), nil
			}
		}
	}
	return netip.Addr{}, errors.New("no network address found that others could use: set the address to advertise")
}

// routedAddr returns the address from which packets leave this machine. Nothing
// is sent: connecting a UDP socket only asks the routing table.
func routedAddr() (netip.Addr, bool) {
	c, err := net.Dial("udp4", "192.0.2.1:9") // an address that is nobody's (RFC 5737)
	if err != nil {
		return netip.Addr{}, false
	}
	defer c.Close()
	ip := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	return ip, !ip.IsUnspecified()
}

// localAddrs returns every address of this machine.
func localAddrs() map[netip.Addr]bool {
	found := map[netip.Addr]bool{}
	addrs, _ := net.InterfaceAddrs() // none: then only the bound address counts as ours
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				found[ip.Unmap()] = true
			}
		}
	}
	return found
}
