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
	for pause := askAgainMin; ctx.Err() == nil; pause = min(pause*2, askAgainMax) {
		began := time.Now()
		l, err := k.request(ctx, name)
		if err == nil {
			var s Settings
			if s, err = FromDHCP(l.ACK, k.Config); err == nil {
				k.take(name, s)
				k.keep(ctx, name, l, s, began)
				pause = askAgainMin
				continue
			}
		}
		if ctx.Err() == nil {
			if k.held.Address.IsValid() && time.Now().After(k.until) { // of a carrier before this one
				k.giveUp(name, k.held)
			}
			k.Say("network: %s: no address by DHCP: %v; trying again in %s", name, err, pause)
			sleep(ctx, pause)
		}
	}
}

// keep renews a lease until it has ended or ctx is done.
func (k *Keeper) keep(ctx context.Context, name string, l *nclient4.Lease, s Settings, began time.Time) {
	asked := time.Duration(-1)
	for {
		k.held, k.until = s, began.Add(s.Times.End)
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
		return k.request(ctx, name)
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
	k.held = Settings{}
	k.Changed(Settings{})
}

// request asks every server. The raw socket it needs sees every packet of the
// interface, so it is open only while it is needed.
func (k *Keeper) request(ctx context.Context, name string) (*nclient4.Lease, error) {
	c, err := nclient4.New(name, nclient4.WithTimeout(answerTimeout), nclient4.WithRetry(answerTries))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return k.exchange(ctx, c)
}

// exchange wishes for the address that was there before, and takes what is
// offered: a wish in the second message too would be refused for ever by a server
// that has another address for us.
func (k *Keeper) exchange(ctx context.Context, c *nclient4.Client) (*nclient4.Lease, error) {
	wishes := k.options()
	if k.held.Address.IsValid() {
		wishes = append(wishes, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(k.held.Address.Addr().AsSlice())))
	}
	offer, err := c.DiscoverOffer(ctx, wishes...)
	if err != nil {
		return nil, err
	}
	return c.RequestFromOffer(ctx, offer, k.options()...)
}

// options are what every message says. A server that is not asked for something
// leaves it out, in a renewal as well.
func (k *Keeper) options() []dhcpv4.Modifier {
	return []dhcpv4.Modifier{
		dhcpv4.WithOption(dhcpv4.OptHostName(k.Hostname)),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionNTPServers, dhcpv4.OptionClasslessStaticRoute),
	}
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
	return c.Renew(ctx, l, k.options()...)
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
