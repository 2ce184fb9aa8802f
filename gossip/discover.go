package gossip

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/mdns"
)

const (
	mdnsService = "_cistern._tcp"
	mdnsWait    = time.Second // for answers to one question
	// neighborsMax and neighborFor limit what is remembered of the answers.
	neighborsMax = 64
	neighborFor  = 10 * time.Minute
)

// neighbors are the gateways of this site that mDNS has found.
type neighbors struct {
	mu   sync.Mutex
	seen map[netip.AddrPort]time.Time
}

func (n *neighbors) add(addr netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen == nil {
		n.seen = map[netip.AddrPort]time.Time{}
	}
	if _, known := n.seen[addr]; known || len(n.seen) < neighborsMax {
		n.seen[addr] = time.Now()
	}
}

func (n *neighbors) list() []netip.AddrPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []netip.AddrPort
	for addr, at := range n.seen {
		if time.Since(at) > neighborFor {
			delete(n.seen, addr)
			continue
		}
		list = append(list, addr)
	}
	slices.SortFunc(list, netip.AddrPort.Compare)
	return list
}

// keepDiscovering answers neighbours that look for gateways of this site, and
// looks for them: often while alone, rarely then.
func (m *Membership) keepDiscovering(ctx context.Context) {
	if !m.config.MDNS {
		return
	}
	log, self := m.config.Logger, m.transport.advertise
	if self.Addr().IsLoopback() {
		log.Info("no mDNS on loopback")
		return
	}
	iface := interfaceOf(self.Addr())
	stop, err := m.announce(iface)
	if err != nil { // looking for others still makes sense
		log.Warn("can't be found by mDNS", "error", err)
	} else {
		defer stop()
	}
	told := false
	for {
		err := m.discover(ctx, iface)
		if err != nil && !told && ctx.Err() == nil {
			log.Warn("can't look for neighbours by mDNS; trying on", "error", err)
		}
		told = err != nil
		pause := m.config.Profile.MDNSInterval
		if m.alone() {
			pause = m.config.Profile.JoinBackoffMax
		}
		if sleep(ctx, pause) != nil {
			return
		}
	}
}

func (m *Membership) alone() bool {
	for _, x := range m.roster.list() {
		if x.Name != m.config.Name && x.State.Present() {
			return false
		}
	}
	return true
}

// mdnsTag is what gateways of one site recognise each other by. Strangers learn
// from it that there is a site, and which gateways are of the same.
func (m *Membership) mdnsTag() string { return "site=" + m.config.Key.Fingerprint() }

// quiet is for the mdns package, which otherwise writes to standard error about
// every packet on the network that it does not understand.
var quiet = log.New(io.Discard, "", 0)

// announce answers questions for the service until stop is called.
func (m *Membership) announce(iface *net.Interface) (stop func() error, err error) {
	self, txt := m.transport.advertise, []string{m.mdnsTag()}
	if m.config.Site != "" {
		txt = append(txt, "name="+m.config.Site)
	}
	// The host name is of our own making: the machine's may be someone else's
	// to announce.
	host := "cistern-" + m.config.Key.Fingerprint()[:8] + "-" + m.config.Name + ".local."
	zone, err := mdns.NewMDNSService(m.config.Name, mdnsService, "local.", host, int(self.Port()),
		[]net.IP{self.Addr().AsSlice()}, txt)
	if err != nil {
		return nil, err
	}
	server, err := mdns.NewServer(&mdns.Config{Zone: zone, Iface: iface, Logger: quiet})
	if err != nil {
		return nil, err
	}
	return server.Shutdown, nil
}

// discover asks once and keeps the gateways of this site that answer.
func (m *Membership) discover(ctx context.Context, iface *net.Interface) error {
	entries := make(chan *mdns.ServiceEntry, neighborsMax) // answers beyond it are dropped
	v4 := m.transport.advertise.Addr().Is4()
	err := mdns.QueryContext(ctx, &mdns.QueryParam{Service: mdnsService, Timeout: mdnsWait, Interface: iface,
		Entries: entries, DisableIPv4: !v4, DisableIPv6: v4, Logger: quiet})
	for {
		select {
		case e := <-entries:
			if addr, ok := m.neighbor(e); ok {
				m.neighbors.add(addr)
			}
		default:
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}
	}
}

// neighbor returns the address in an answer, if it is of this site.
func (m *Membership) neighbor(e *mdns.ServiceEntry) (netip.AddrPort, bool) {
	if !slices.Contains(e.InfoFields, m.mdnsTag()) || e.Port < 1 || e.Port > 65535 {
		return netip.AddrPort{}, false
	}
	for _, b := range []net.IP{e.AddrV4, e.AddrV6} {
		if ip, ok := netip.AddrFromSlice(b); ok && ip.IsValid() {
			return netip.AddrPortFrom(ip.Unmap(), uint16(e.Port)), true
		}
	}
	return netip.AddrPort{}, false
}
