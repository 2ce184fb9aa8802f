package gossip

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"cistern/gossip/sitekey"
)

// joinMax is how many addresses are tried at a time.
const joinMax = 64

// youngFor is how long a gateway says hello again to those that it sees.
const youngFor = 30 * time.Second

// joiner looks for gateways that this one ought to know and does not.
type joiner struct {
	m        *Membership
	list     *memberlist.Memberlist
	began    time.Time
	resolved map[string]lookup
	settled  map[netip.AddrPort]time.Time // joined under an address that no member advertises
	failing  map[netip.AddrPort]string    // and how
}

type lookup struct {
	addrs []netip.AddrPort
	at    time.Time
}

// keepJoined tries for ever, sooner when there is somebody new to try.
func (m *Membership) keepJoined(ctx context.Context, list *memberlist.Memberlist) {
	j := &joiner{m: m, list: list, began: time.Now(), resolved: map[string]lookup{}, settled: map[netip.AddrPort]time.Time{},
		failing: map[netip.AddrPort]string{}}
	p := m.config.Profile
	pause := p.JoinBackoffMin
	for {
		if j.round(ctx) {
			pause = p.JoinBackoffMin
		}
		// Gateways that were switched on together should not stay in step.
		if sleep(ctx, pause/2+rand.N(pause)) != nil {
			return
		}
		pause = min(2*pause, p.JoinBackoffMax)
	}
}

// round tries whoever is missing, all at once, and reports whether one of them
// was not tried before.
func (j *joiner) round(ctx context.Context) (fresh bool) {
	targets := j.missing(ctx)
	errs := make([]error, len(targets))
	var tries sync.WaitGroup
	for i, addr := range targets {
		tries.Go(func() { _, errs[i] = j.list.Join([]string{addr.String()}) })
	}
	tries.Wait()
	j.helloAgain()
	failing := map[netip.AddrPort]string{}
	for i, addr := range targets {
		before, tried := j.failing[addr]
		fresh = fresh || !tried
		if errs[i] == nil {
			j.settled[addr] = time.Now()
			continue
		}
		failing[addr] = j.tell(ctx, addr, errs[i], before)
	}
	j.failing = failing
	return fresh
}

// helloAgain compares with one of those that are present, while this gateway is young.
// One that came back at another address is nobody to those that suspect the one before
// it, and does not learn so; once they have given that one up, saying hello helps.
func (j *joiner) helloAgain() {
	if time.Since(j.began) > youngFor {
		return
	}
	present := slices.DeleteFunc(j.m.roster.list(), func(x Member) bool { return !x.State.Present() || x.Name == j.m.config.Name })
	if len(present) > 0 {
		_, _ = j.list.Join([]string{present[rand.IntN(len(present))].Addr}) // the next round is the next try
	}
}

// tell logs an attempt that failed, unless it failed like this before, and
// returns how.
func (j *joiner) tell(ctx context.Context, addr netip.AddrPort, err error, before string) string {
	level, how := slog.LevelInfo, "can't join a gateway yet"
	// memberlist has no error values. The other side says this when our packet
	// is noise to it, and we when its answer is.
	if strings.Contains(err.Error(), "could decrypt") {
		level, how = slog.LevelError, "can't join a gateway: its site key is another"
		err = fmt.Errorf("%w: copy the key file of one gateway to all of its site", sitekey.ErrKeysDiffer)
	}
	if how != before && ctx.Err() == nil {
		j.m.config.Logger.Log(ctx, level, how, "address", addr, "error", err)
	}
	return how
}

// missing returns the addresses of gateways that are not present: configured,
// found by mDNS, or known from before they died.
func (j *joiner) missing(ctx context.Context) []netip.AddrPort {
	var targets []netip.AddrPort
	present, dead := map[netip.AddrPort]bool{}, map[netip.AddrPort]bool{}
	twin := j.hasTwin()
	for _, x := range j.m.roster.list() {
		addr, err := netip.ParseAddrPort(x.Addr)
		if err != nil || x.Name == j.m.config.Name {
			continue
		}
		// Whoever believes that another has our name does not see us. Once it
		// has given that other up, saying hello again helps.
		if x.State.Present() && !twin {
			present[addr] = true
		} else if x.State != Left {
			dead[addr] = true
			targets = append(targets, addr)
		}
	}
	targets = append(targets, j.m.neighbors.list()...)
	for _, s := range j.m.config.Join {
		targets = append(targets, j.resolve(ctx, s, present)...)
	}
	seen := map[netip.AddrPort]bool{}
	kept := targets[:0]
	for _, addr := range targets {
		settled := !dead[addr] && time.Since(j.settled[addr]) < j.m.config.Profile.PushPullInterval
		if !seen[addr] && !present[addr] && !settled && !j.m.isSelf(addr) && len(kept) < joinMax {
			seen[addr] = true
			kept = append(kept, addr)
		}
	}
	return kept
}

func (j *joiner) hasTwin() bool {
	for _, c := range j.m.roster.clashes() {
		if c.Name == j.m.config.Name {
			return true
		}
	}
	return false
}

// resolve returns the addresses behind a configured one. Names are asked for
// again when none of their addresses is present, and now and then otherwise.
func (j *joiner) resolve(ctx context.Context, s string, present map[netip.AddrPort]bool) []netip.AddrPort {
	last := j.resolved[s]
	useful := false
	for _, addr := range last.addrs {
		useful = useful || present[addr] || j.m.isSelf(addr)
	}
	if useful && time.Since(last.at) < j.m.config.Profile.PushPullInterval {
		return last.addrs
	}
	ctx, cancel := context.WithTimeout(ctx, j.m.config.Profile.ResolveTimeout)
	defer cancel()
	addrs, err := j.lookup(ctx, s)
	if err != nil {
		if last.at.IsZero() {
			j.m.config.Logger.Warn("can't find a gateway to join; trying on", "join", s, "error", err)
		}
		last.at = time.Now()
		j.resolved[s] = last // where it was before is better than nothing
		return last.addrs
	}
	j.resolved[s] = lookup{addrs, time.Now()}
	return addrs
}

func (j *joiner) lookup(ctx context.Context, s string) ([]netip.AddrPort, error) {
	host, port, err := splitAddr(s, j.m.transport.port())
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host) // an IP address is its own answer
	if err != nil {
		return nil, err
	}
	var addrs []netip.AddrPort
	for _, ip := range ips[:min(len(ips), joinMax)] {
		addrs = append(addrs, netip.AddrPortFrom(ip.Unmap(), port))
	}
	return addrs, nil
}

// isSelf reports whether this gateway listens there: the same list of addresses
// is on every gateway.
func (m *Membership) isSelf(addr netip.AddrPort) bool {
	if addr == m.transport.advertise {
		return true
	}
	if addr.Port() != m.transport.port() {
		return false
	}
	return addr.Addr() == m.bind.Addr() || m.bind.Addr().IsUnspecified() && localAddrs()[addr.Addr()]
}
