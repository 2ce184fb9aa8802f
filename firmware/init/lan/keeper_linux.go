package lan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"cistern/firmware/machine"
)

// Keeper keeps one interface in the network.
type Keeper struct {
	Config   machine.Config
	Hostname string
	Say      func(format string, args ...any)
	Changed  func(Settings) // after each change; a zero Settings when the address is gone

	held  Settings // the last lease, also while there is no carrier
	until time.Time
}

// updatesMax is how many changes of links may wait.
const updatesMax = 64

// Run works until ctx is done. An error is one of the kernel's that does not
// pass.
func (k *Keeper) Run(ctx context.Context) error {
	if lo, err := netlink.LinkByName("lo"); err == nil {
		if err := netlink.LinkSetUp(lo); err != nil {
			k.Say("network: the loopback interface: %v", err)
		}
	}
	updates, done := make(chan netlink.LinkUpdate, updatesMax), make(chan struct{})
	defer close(done)
	lost := make(chan error, 1)
	err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{
		ListExisting:  true,
		ErrorCallback: func(err error) { trySend(lost, err) },
	})
	if err != nil {
		return fmt.Errorf("network: listening for interfaces: %w", err)
	}
	return k.follow(ctx, updates, lost)
}

// follow starts and ends the work on one interface with its carrier.
func (k *Keeper) follow(ctx context.Context, updates <-chan netlink.LinkUpdate, lost <-chan error) error {
	name, end := "", func() {}
	defer func() { end() }()
	carrier := false
	waiting := time.NewTimer(noInterfaceAfter)
	defer waiting.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-lost:
			return fmt.Errorf("network: listening for interfaces: %w", err)
		case <-waiting.C:
			if name == "" {
				k.Say("network: no wired interface%s yet; plug in a network adapter", k.wanted())
			}
		case u, ok := <-updates:
			if !ok {
				return errors.New("network: the kernel ended the list of interfaces")
			}
			link := u.Attrs()
			gone := u.Header.Type == unix.RTM_DELLINK
			if name == "" && !gone && k.isOurs(link) {
				name = link.Name
				k.Say("network: using %s (%s)", name, link.HardwareAddr)
				if err := netlink.LinkSetUp(u.Link); err != nil {
					return fmt.Errorf("network: %s: %w", name, err)
				}
			}
			if link.Name != name || (u.IfInfomsg.Flags&unix.IFF_LOWER_UP != 0 && !gone) == carrier {
				continue
			}
			carrier = !carrier
			end()
			end = func() {}
			if !carrier {
				k.Say("network: %s has no carrier; check the cable", name)
			} else {
				end = k.begin(ctx, link.Name)
			}
			if gone { // an adapter was pulled out; it, or another, may come
				name = ""
			}
		}
	}
}

// noInterfaceAfter is when it is said that there is none.
const noInterfaceAfter = 15 * time.Second

func (k *Keeper) wanted() string {
	if k.Config.Interface == "" {
		return ""
	}
	return " " + k.Config.Interface
}

// begin works on an interface with a carrier until the returned function is
// called.
func (k *Keeper) begin(ctx context.Context, name string) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		if k.Config.Static() {
			k.take(name, Static(k.Config))
			return
		}
		k.lease(ctx, name)
	}()
	return func() { cancel(); <-over }
}

// isOurs says whether that is the interface to use: the configured one, or the
// first that is a wired one of its own.
func (k *Keeper) isOurs(a *netlink.LinkAttrs) bool {
	if k.Config.Interface != "" {
		return a.Name == k.Config.Interface
	}
	return isWired("/sys/class/net", a)
}

func isWired(sys string, a *netlink.LinkAttrs) bool {
	if a.EncapType != "ether" || len(a.HardwareAddr) == 0 || strings.HasPrefix(a.Name, "wl") {
		return false
	}
	_, device := os.Stat(filepath.Join(sys, a.Name, "device"))
	_, wireless := os.Stat(filepath.Join(sys, a.Name, "phy80211"))
	return device == nil && wireless != nil
}

// take sets an interface to s and says so.
func (k *Keeper) take(name string, s Settings) {
	set, err := apply(name, s)
	if err != nil {
		k.Say("network: %s: %v", name, err)
	}
	if !set {
		return
	}
	k.Say("network: %s is %s%s", name, s.Address, via(s))
	k.Changed(s)
}

func via(s Settings) string {
	for _, r := range s.Routes {
		if r.To == everywhere {
			return ", router " + r.Via.String()
		}
	}
	return ", no router"
}

// apply makes an interface have this address and no other, and these routes. One
// bad route of a server's list costs that route: the address is set then.
func apply(name string, s Settings) (set bool, err error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return false, err
	}
	want := &net.IPNet{IP: s.Address.Addr().AsSlice(), Mask: net.CIDRMask(s.Address.Bits(), 32)}
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: want}); err != nil {
		return false, fmt.Errorf("address %s: %w", s.Address, err)
	}
	if err := dropOthers(link, want); err != nil {
		return false, err
	}
	var failed []error
	for _, r := range s.Routes {
		to := &net.IPNet{IP: r.To.Addr().AsSlice(), Mask: net.CIDRMask(r.To.Bits(), 32)}
		// On-link: some servers name a router outside of the network they give.
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: to, Gw: r.Via.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}
		if err := netlink.RouteReplace(route); err != nil {
			failed = append(failed, fmt.Errorf("route to %s via %s: %w", r.To, r.Via, err))
		}
	}
	return true, errors.Join(failed...)
}

// dropOthers removes every address but want, which may be nil.
func dropOthers(link netlink.Link, want *net.IPNet) error {
	has, err := netlink.AddrList(link, unix.AF_INET)
	if err != nil {
		return err
	}
	has = slices.DeleteFunc(has, func(a netlink.Addr) bool { return want != nil && a.IPNet.String() == want.String() })
	for _, a := range has {
		if err := netlink.AddrDel(link, &a); err != nil {
			return fmt.Errorf("removing the address %s: %w", a.IPNet, err)
		}
	}
	return nil
}

func trySend(c chan<- error, err error) {
	select {
	case c <- err:
	default:
	}
}
