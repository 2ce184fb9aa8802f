package lan

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// server is a socket with a DHCP server at its other end, which offers one address
// and refuses every other.
type server struct {
	net.PacketConn // nil: what a client does not use
	t              *testing.T
	offers         net.IP
	asked          []*dhcpv4.DHCPv4
	answers        chan []byte
}

func (s *server) WriteTo(p []byte, _ net.Addr) (int, error) {
	m, err := dhcpv4.FromBytes(p)
	if err != nil {
		s.t.Fatal(err)
	}
	s.asked = append(s.asked, m)
	kind := dhcpv4.MessageTypeOffer
	if m.MessageType() == dhcpv4.MessageTypeRequest {
		kind = dhcpv4.MessageTypeAck
		if wants := m.RequestedIPAddress(); wants != nil && !wants.Equal(s.offers) {
			kind = dhcpv4.MessageTypeNak
		}
	}
	r, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(s.offers), dhcpv4.WithServerIP(net.IPv4(10, 0, 0, 1)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 0, 0, 1))), dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithLeaseTime(3600))
	if err != nil {
		s.t.Fatal(err)
	}
	s.answers <- r.ToBytes()
	return len(p), nil
}

func (s *server) ReadFrom(p []byte) (int, net.Addr, error) {
	b, ok := <-s.answers
	if !ok {
		return 0, nil, net.ErrClosed
	}
	return copy(p, b), &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: nclient4.ServerPort}, nil
}

func (s *server) LocalAddr() net.Addr { return &net.UDPAddr{} }
func (s *server) Close() error        { close(s.answers); return nil }

func client(t *testing.T, offers string) (*server, *nclient4.Client) {
	t.Helper()
	s := &server{t: t, offers: net.ParseIP(offers).To4(), answers: make(chan []byte, 4)}
	c, err := nclient4.NewWithConn(s, net.HardwareAddr{2, 0, 0, 0, 0, 1}, nclient4.WithTimeout(time.Minute), nclient4.WithRetry(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return s, c
}

// A network that was numbered anew has another address for us than we had.
func TestExchangeTakesWhatIsOffered(t *testing.T) {
	s, c := client(t, "10.0.0.7")
	k := &Keeper{Hostname: "press-7", held: Settings{Address: netip.MustParsePrefix("192.168.1.5/24")}}
	l, err := k.exchange(t.Context(), c)
	if err != nil || !l.ACK.YourIPAddr.Equal(s.offers) {
		t.Fatalf("got %v, %v", l, err)
	}
	if wish := s.asked[0].RequestedIPAddress(); !wish.Equal(net.IPv4(192, 168, 1, 5)) {
		t.Errorf("wished for %s, not for what there was", wish)
	}
}

// What a renewal does not ask for again is lost with it: the time servers, at
// the latest after half of the lease.
func TestRenewalAsksForTheSame(t *testing.T) {
	s, c := client(t, "10.0.0.7")
	k := &Keeper{Hostname: "press-7"}
	l, err := k.exchange(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Renew(t.Context(), l, k.options()...); err != nil {
		t.Fatal(err)
	}
	for _, m := range s.asked {
		list := m.ParameterRequestList()
		for _, o := range []dhcpv4.OptionCode{dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionNTPServers, dhcpv4.OptionClasslessStaticRoute} {
			if !slices.ContainsFunc(list, func(c dhcpv4.OptionCode) bool { return c.Code() == o.Code() }) {
				t.Errorf("%s does not ask for %s", m.MessageType(), o)
			}
		}
		if m.HostName() != "press-7" {
			t.Errorf("%s comes from %q", m.MessageType(), m.HostName())
		}
	}
}
