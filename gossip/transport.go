package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

// Limits of what strangers can make this gateway hold. A packet or a stream
// shows only once it has been read whole that it is of this site.
const (
	packetBytesMax    = 64 << 10  // read at a time; most are below 1400
	streamBytesMax    = 256 << 10 // of one stream; a full site says 60 KiB
	streamsMax        = 32        // taken at once
	streamsPerHostMax = 8
	bindAttempts      = 16 // to find a port that is free for both TCP and UDP
	acceptPause       = 50 * time.Millisecond
)

// transport carries memberlist's packets (UDP) and streams (TCP). memberlist's
// own would do as well, but for three things: it takes any number of streams,
// allocates 64 KiB for every packet, and can't tell which members it reached.
type transport struct {
	udp       *net.UDPConn
	tcp       *net.TCPListener
	advertise netip.AddrPort
	// reached is told whether a member that was called by TCP has answered.
	reached func(name string, ok bool)

	packets chan *memberlist.Packet
	streams chan net.Conn
	ctx     context.Context // ends with Shutdown
	cancel  context.CancelFunc
	loops   sync.WaitGroup

	mu      sync.Mutex
	inbound map[*stream]netip.Addr

	sent, received atomic.Int64 // packets
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

// newTransport binds TCP and UDP to the same port. It serves once started.
func newTransport(bind netip.AddrPort) (*transport, error) {
	t := &transport{packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), inbound: map[*stream]netip.Addr{}}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	var err error
	for range bindAttempts {
		if err = t.bind(bind); err == nil || bind.Port() != 0 || !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return t, err
}

func (t *transport) bind(addr netip.AddrPort) error {
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		return err
	}
	port := uint16(tcp.Addr().(*net.TCPAddr).Port)
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr.Addr(), port)))
	if err != nil {
		tcp.Close()
		return err
	}
	t.tcp, t.udp = tcp, udp
	return nil
}

func (t *transport) port() uint16 { return uint16(t.tcp.Addr().(*net.TCPAddr).Port) }

func (t *transport) start() {
	t.loops.Go(t.readPackets)
	t.loops.Go(t.acceptStreams)
}

// Shutdown closes everything and waits for the loops. memberlist calls it.
func (t *transport) Shutdown() error {
	t.cancel()
	err := errors.Join(t.tcp.Close(), t.udp.Close())
	t.mu.Lock()
	open := make([]*stream, 0, len(t.inbound))
	for s := range t.inbound {
		open = append(open, s)
	}
	t.mu.Unlock()
	for _, s := range open {
		s.Close()
	}
	t.loops.Wait()
	if errors.Is(err, net.ErrClosed) { // a second time
		return nil
	}
	return err
}

// FinalAdvertiseAddr says where others reach this gateway.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.advertise.Addr().AsSlice(), int(t.advertise.Port()), nil
}

// PacketCh and StreamCh are where memberlist takes what came in.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *transport) StreamCh() <-chan net.Conn           { return t.streams }

// WriteTo sends a packet.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("gossip: %w", err)
	}
	_, err = t.udp.WriteToUDPAddrPort(b, to)
	t.sent.Add(1)
	return time.Now(), err
}

// WriteToAddress sends a packet; the member's name does not matter to it.
func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

func (t *transport) readPackets() {
	buf := make([]byte, packetBytesMax)
	for {
		n, from, err := t.udp.ReadFromUDPAddrPort(buf)
		if t.ctx.Err() != nil {
			return
		}
		if err != nil || n == 0 {
			if err != nil && t.pause() != nil {
				return
			}
			continue
		}
		t.received.Add(1)
		p := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), Timestamp: time.Now(),
			From: net.UDPAddrFromAddrPort(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))}
		select {
		case t.packets <- p:
		case <-t.ctx.Done():
			return
		}
	}
}

func (t *transport) acceptStreams() {
	for {
		raw, err := t.tcp.AcceptTCP()
		if t.ctx.Err() != nil {
			if err == nil {
				raw.Close()
			}
			return
		}
		if err != nil {
			if t.pause() != nil {
				return
			}
			continue
		}
		s := t.admit(raw)
		if s == nil {
			continue
		}
		select {
		case t.streams <- s:
		case <-t.ctx.Done():
			s.Close()
			return
		}
	}
}

func (t *transport) pause() error {
	timer := time.NewTimer(acceptPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-t.ctx.Done():
		return t.ctx.Err()
	}
}
