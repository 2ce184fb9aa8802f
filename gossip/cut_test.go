package gossip

import (
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// relay is the cable to a gateway: others know the gateway by the relay's
// address, and it can be cut. What the gateway itself sends passes by.
type relay struct {
	cut atomic.Bool
	tcp net.Listener
	udp net.PacketConn
	to  string
}

func newRelay(t *testing.T) *relay {
	t.Helper()
	m, err := newTransport(netip.MustParseAddrPort("127.0.0.1:0")) // for one port with both
	if err != nil {
		t.Fatal(err)
	}
	return &relay{tcp: m.tcp, udp: m.udp}
}

// run relays to the address until the test ends.
func (r *relay) run(t *testing.T, to string) {
	var loops sync.WaitGroup
	t.Cleanup(func() { r.tcp.Close(); r.udp.Close(); loops.Wait() })
	r.to = to
	loops.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, _, err := r.udp.ReadFrom(buf)
			if err != nil {
				return
			}
			if addr, err := net.ResolveUDPAddr("udp", to); err == nil && !r.cut.Load() {
				r.udp.WriteTo(buf[:n], addr)
			}
		}
	})
	loops.Go(func() {
		for {
			c, err := r.tcp.Accept()
			if err != nil {
				return
			}
			loops.Go(func() { r.join(c) })
		}
	})
}

func (r *relay) join(c net.Conn) {
	defer c.Close()
	if r.cut.Load() {
		return
	}
	to, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer to.Close()
	go func() { io.Copy(to, c); to.(*net.TCPConn).CloseWrite() }()
	io.Copy(c, to)
}

// Scenario 19 as gossip sees it: two halves that gave each other up find
// together again, although only one of them was ever told an address, and that
// one of a gateway that is not there any more.
func TestHealedCut(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	seed := start(t, Config{Name: "seed", Key: k})
	cables := []*relay{newRelay(t), newRelay(t)}
	var halves []*gateway
	for i, name := range []string{"a", "b"} {
		g := start(t, Config{Name: name, Key: k, Advertise: cables[i].tcp.Addr().String(), Join: []string{seed.Addr()}})
		cables[i].run(t, net.JoinHostPort("127.0.0.1", strconv.Itoa(int(g.transport.port()))))
		halves = append(halves, g)
	}
	a, b := halves[0], halves[1]
	a.seesState("b", Alive)
	b.seesState("a", Alive)
	seed.stop()
	a.seesState("seed", Left)

	for _, c := range cables {
		c.cut.Store(true)
	}
	a.seesState("b", Dead)
	b.seesState("a", Dead)
	for _, c := range cables {
		c.cut.Store(false)
	}
	a.seesState("b", Alive)
	b.seesState("a", Alive)
}
