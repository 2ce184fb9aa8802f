package lan

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
)

// How a server is asked.
const (
	answerTimeout = 2 * time.Second // doubled with each of the tries
	answerTries   = 3
	askAgainMin   = 2 * time.Second // between two series of tries
	askAgainMax   = time.Minute
)

// lease asks for an address and keeps it until ctx is done. The address stays
// when ctx ends: the carrier may be back at once.
func (k *Keeper) lease(ctx context.Context, name string) {
	var had net.IP
	for pause := askAgainMin; ctx.Err() == nil; pause = min(pause*2, askAgainMax) {
		began := time.Now()
		l, err := k.request(ctx, name, had)
		if err == nil {
			var s Settings
			if s, err = FromDHCP(l.ACK, k.Config); err == nil {
				had = l.ACK.YourIPAddr
				k.take(name, s)
				k.keep(ctx, name, l, s, began)
				pause = askAgainMin
				continue
			}
		}
		if ctx.Err() == nil {
			k.Say("network: %s: no address by DHCP: %v; trying again in %s", name, err, pause)
			sleep(ctx, pause)
		}
	}
}

// keep renews a lease until it has ended or ctx is done.
func (k *Keeper) keep(ctx context.Context, name string, l *nclient4.Lease, s Settings, began time.Time) {
	asked := time.Duration(-1)
	for {
		step, wait := s.Times.Next(time.Since(began), asked)
		if step == Ended {
			k.giveUp(name, s)
			return
		}
		if step == Wait {
			if !sleep(ctx, wait) {
				return
			}
			continue
		}
		now := time.Now()
		asked = now.Sub(began)
		next, err := k.ask(ctx, name, step, l)
		if err != nil {
			var nak *nclient4.ErrNak
			if errors.As(err, &nak) {
				k.giveUp(name, s)
				return
			}
			if ctx.Err() == nil {
				k.Say("network: %s: the lease of %s was not renewed: %v", name, s.Address, err)
			}
			continue
		}
		renewed, err := FromDHCP(next.ACK, k.Config)
		if err != nil {
			k.Say("network: %s: %v", name, err)
			continue
		}
		if !same(renewed, s) {
			k.take(name, renewed)
		}
		l, s, began, asked = next, renewed, now, -1
	}
}

func (k *Keeper) ask(ctx context.Context, name string, step Step, l *nclient4.Lease) (*nclient4.Lease, error) {
	if step == Rebind {
		return k.request(ctx, name, l.ACK.YourIPAddr)
	}
	return k.renew(ctx, l)
}

// giveUp removes an address that is no longer ours.
func (k *Keeper) giveUp(name string, s Settings) {
	k.Say("network: %s: the lease of %s has ended", name, s.Address)
	if link, err := netlink.LinkByName(name); err == nil {
		if err := dropOthers(link, nil); err != nil {
			k.Say("network: %s: %v", name, err)
		}
	}
	k.Changed(Settings{})
}

// request asks every server. The raw socket it needs sees every packet of the
// interface, so it is open only while it is needed.
func (k *Keeper) request(ctx context.Context, name string, had net.IP) (*nclient4.Lease, error) {
	c, err := nclient4.New(name, nclient4.WithTimeout(answerTimeout), nclient4.WithRetry(answerTries))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Request(ctx, k.modify(had)...)
}

func (k *Keeper) modify(had net.IP) []dhcpv4.Modifier {
	m := []dhcpv4.Modifier{
		dhcpv4.WithOption(dhcpv4.OptHostName(k.Hostname)),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionNTPServers, dhcpv4.OptionClasslessStaticRoute),
	}
	if had != nil {
		m = append(m, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(had)))
	}
	return m
}

// renew asks the server that gave the lease, from the address that it gave.
func (k *Keeper) renew(ctx context.Context, l *nclient4.Lease) (*nclient4.Lease, error) {
	server := l.ACK.ServerIdentifier()
	if server == nil {
		return nil, errors.New("the server did not say who it is")
	}
	c, err := nclient4.NewWithConn(nil, l.ACK.ClientHWAddr,
		nclient4.WithUnicast(&net.UDPAddr{IP: l.ACK.YourIPAddr, Port: nclient4.ClientPort}),
		nclient4.WithServerAddr(&net.UDPAddr{IP: server, Port: nclient4.ServerPort}),
		nclient4.WithTimeout(answerTimeout), nclient4.WithRetry(answerTries))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Renew(ctx, l, dhcpv4.WithOption(dhcpv4.OptHostName(k.Hostname)))
}

// sleep waits; false when ctx was done before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
