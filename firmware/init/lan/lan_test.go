package lan

import (
	"net"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"cistern/firmware/machine"
)

// ack makes a server's answer.
func ack(t testing.TB, address string, m ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	a, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(dhcpv4.MessageTypeAck),
		dhcpv4.WithYourIP(net.ParseIP(address)),
		dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithLeaseTime(3600),
	}, m...)...)
	if err != nil {
		t.Fatal(err)
	}
	// As it comes from the wire.
	b, err := dhcpv4.FromBytes(a.ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func ip(s string) net.IP { return net.ParseIP(s) }

func TestFromDHCPTakesWhatTheServerSays(t *testing.T) {
	a := ack(t, "10.0.2.15",
		dhcpv4.WithRouter(ip("10.0.2.2"), ip("10.0.2.9")), dhcpv4.WithDNS(ip("10.0.2.3"), ip("0.0.0.0"), ip("10.0.2.3")),
		dhcpv4.WithOption(dhcpv4.OptNTPServers(ip("10.0.2.4"))), dhcpv4.WithOption(dhcpv4.OptDomainName("plant.example")))
	got, err := FromDHCP(a, machine.Config{})
	want := Settings{
		Address: netip.MustParsePrefix("10.0.2.15/24"),
		Routes:  []Route{{everywhere, netip.MustParseAddr("10.0.2.2")}},
		DNS:     []netip.Addr{netip.MustParseAddr("10.0.2.3")},
		NTP:     []string{"10.0.2.4"},
		Domain:  "plant.example",
		Times:   Times{30 * time.Minute, 52*time.Minute + 30*time.Second, time.Hour},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}

	own := machine.Config{DNS: []netip.Addr{netip.MustParseAddr("9.9.9.9")}, NTP: []string{"ntp.plant.example"}}
	if got, _ := FromDHCP(a, own); !reflect.DeepEqual(got.DNS, own.DNS) || !reflect.DeepEqual(got.NTP, own.NTP) {
		t.Errorf("the operator's servers do not go first: %+v", got)
	}
}

func TestClasslessRoutesGoBeforeTheRouter(t *testing.T) {
	_, far, _ := net.ParseCIDR("172.16.0.0/12")
	_, all, _ := net.ParseCIDR("0.0.0.0/0")
	a := ack(t, "10.0.2.15", dhcpv4.WithRouter(ip("10.0.2.2")),
		dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(&dhcpv4.Route{Dest: far, Router: ip("10.0.2.7")}, &dhcpv4.Route{Dest: all, Router: ip("10.0.2.8")})))
	got, err := FromDHCP(a, machine.Config{})
	want := []Route{{netip.MustParsePrefix("172.16.0.0/12"), netip.MustParseAddr("10.0.2.7")}, {everywhere, netip.MustParseAddr("10.0.2.8")}}
	if err != nil || !reflect.DeepEqual(got.Routes, want) {
		t.Errorf("got %+v, %v", got.Routes, err)
	}
}

func TestFromDHCPRefusesWhatNoMachineCanHave(t *testing.T) {
	for _, address := range []string{"0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"} {
		if s, err := FromDHCP(ack(t, address), machine.Config{}); err == nil {
			t.Errorf("%s was taken: %+v", address, s)
		}
	}
	bare, err := dhcpv4.New(dhcpv4.WithYourIP(ip("192.168.7.4"))) // neither mask nor times
	if err != nil {
		t.Fatal(err)
	}
	s, err := FromDHCP(bare, machine.Config{})
	if err != nil || s.Address.Bits() != 24 || s.Times.End != time.Hour {
		t.Errorf("an answer that says only the address: %+v, %v", s, err)
	}
}

func TestTimesAreInOrder(t *testing.T) {
	for _, c := range []struct {
		options []dhcpv4.Modifier
		end     time.Duration
	}{
		{[]dhcpv4.Modifier{dhcpv4.WithLeaseTime(0)}, leaseMin},
		{[]dhcpv4.Modifier{dhcpv4.WithLeaseTime(0xffffffff)}, leaseMax},
		{[]dhcpv4.Modifier{dhcpv4.WithLeaseTime(600), dhcpv4.WithGeneric(dhcpv4.OptionRenewTimeValue, []byte{0, 1, 0, 0})}, 600 * time.Second},
		{[]dhcpv4.Modifier{dhcpv4.WithLeaseTime(600), dhcpv4.WithGeneric(dhcpv4.OptionRebindingTimeValue, []byte{0, 0, 0, 1})}, 600 * time.Second},
	} {
		got := times(ack(t, "10.0.0.5", c.options...))
		if got.End != c.end || got.Renew <= 0 || got.Renew >= got.Rebind || got.Rebind >= got.End {
			t.Errorf("%v: %+v", c.options, got)
		}
	}
}

func TestNextRenewsThenRebindsThenEnds(t *testing.T) {
	l := Times{Renew: 30 * time.Minute, Rebind: 52 * time.Minute, End: time.Hour}
	minute := time.Minute
	for _, c := range []struct {
		age, asked time.Duration
		step       Step
		wait       time.Duration
	}{
		{0, -1, Wait, 30 * minute},
		{30 * minute, -1, Renew, 0},
		{30*minute + 7*time.Second, 30 * minute, Wait, 11*minute - 7*time.Second}, // half of the way to rebinding
		{41 * minute, 30 * minute, Renew, 0},
		{51*minute + 30*time.Second, 51*minute + 30*time.Second, Wait, 30 * time.Second},
		{52 * minute, 51*minute + 30*time.Second, Rebind, 0},
		{53 * minute, 52 * minute, Wait, 3 * minute},
		{59*minute + 30*time.Second, 59 * minute, Wait, 30 * time.Second},
		{60 * minute, 59 * minute, Ended, 0},
		{70 * minute, -1, Ended, 0},
	} {
		if step, wait := l.Next(c.age, c.asked); step != c.step || wait != c.wait {
			t.Errorf("at %s, asked at %s: got %d, %s, want %d, %s", c.age, c.asked, step, wait, c.step, c.wait)
		}
	}
}

// A lease that nobody renews is asked about a bounded number of times.
func TestNextNeverSpins(t *testing.T) {
	for _, end := range []time.Duration{leaseMin, time.Hour, leaseMax} {
		l, asked, questions := Times{end / 2, end * 7 / 8, end}, time.Duration(-1), 0
		for age := time.Duration(0); ; {
			step, wait := l.Next(age, asked)
			if step == Ended {
				break
			}
			if step != Wait {
				asked = age
				age += time.Second // an answer did not come
				questions++
				continue
			}
			if wait <= 0 {
				t.Fatalf("a lease of %s waits %s at %s", end, wait, age)
			}
			age += wait
		}
		if questions < 2 || questions > 40 {
			t.Errorf("a lease of %s was asked about %d times", end, questions)
		}
	}
}

func TestFiles(t *testing.T) {
	s := Settings{DNS: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}, Domain: "plant.example"}
	want := "# Written by Cistern's init with every change of the network.\nsearch plant.example\nnameserver 10.0.0.1\nnameserver fd00::1\n"
	if got := string(ResolvConf(s)); got != want {
		t.Errorf("resolv.conf: %q", got)
	}
	if got := string(Hosts("press-7")); got != "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 press-7\n" {
		t.Errorf("hosts: %q", got)
	}
}

// Anybody in the network can answer.
func FuzzFromDHCP(f *testing.F) {
	f.Add(ack(f, "10.0.2.15", dhcpv4.WithRouter(ip("10.0.2.2")), dhcpv4.WithDNS(ip("10.0.2.3"))).ToBytes())
	_, all, _ := net.ParseCIDR("0.0.0.0/0")
	f.Add(ack(f, "10.0.2.15", dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(&dhcpv4.Route{Dest: all, Router: ip("10.0.2.8")}))).ToBytes())
	f.Fuzz(func(t *testing.T, packet []byte) {
		a, err := dhcpv4.FromBytes(packet)
		if err != nil {
			return
		}
		s, err := FromDHCP(a, machine.Config{})
		if err != nil {
			return
		}
		if !s.Address.Addr().Is4() || s.Address.Bits() < 1 || len(s.Routes) > routesMax || len(s.DNS) > serversMax || len(s.NTP) > serversMax {
			t.Errorf("%+v", s)
		}
		if s.Times.Renew <= 0 || s.Times.Renew >= s.Times.Rebind || s.Times.Rebind >= s.Times.End {
			t.Errorf("times %+v", s.Times)
		}
		ResolvConf(s)
	})
}
