package rig

import (
	"io"
	"net"
	"sync"
)

// Uplink is the way to the central cluster: a TCP proxy that can be cut and
// mended. Cut as a modem is cut: what is under way is lost, and who calls
// gets no answer but a closed connection.
type Uplink struct {
	listener net.Listener

	mu     sync.Mutex
	target string
	up     bool
	open   map[net.Conn]struct{}

	running sync.WaitGroup
}

// NewUplink listens on a free loopback port. It is down until Mend.
func NewUplink() (*Uplink, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return NewUplinkOn(l), nil
}

// NewUplinkOn is an uplink that listens elsewhere. The listener is its own.
func NewUplinkOn(l net.Listener) *Uplink {
	u := &Uplink{listener: l, open: make(map[net.Conn]struct{})}
	u.running.Go(u.accept)
	return u
}

// Address is where the gateway finds the uplink.
func (u *Uplink) Address() string { return u.listener.Addr().String() }

// Mend lets connections through to target.
func (u *Uplink) Mend(target string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.target, u.up = target, true
}

// Cut closes every connection and refuses new ones.
func (u *Uplink) Cut() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.up = false
	for c := range u.open {
		_ = c.Close()
	}
}

// Close cuts the uplink for good and returns when nothing of it runs.
func (u *Uplink) Close() {
	_ = u.listener.Close()
	u.Cut()
	u.running.Wait()
}

func (u *Uplink) accept() {
	for {
		c, err := u.listener.Accept()
		if err != nil {
			return // closed
		}
		u.running.Go(func() { u.carry(c) })
	}
}

// carry copies between the gateway and the target until either side ends.
func (u *Uplink) carry(near net.Conn) {
	defer near.Close()
	u.mu.Lock()
	target, up := u.target, u.up
	u.mu.Unlock()
	if !up {
		return
	}
	far, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer far.Close()
	if !u.enter(near, far) {
		return
	}
	defer u.leave(near, far)

	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(near, far)
		_ = near.Close()
	})
	_, _ = io.Copy(far, near)
	_ = far.Close()
	back.Wait()
}

// enter registers both ends of a connection, unless the uplink was cut while
// it was being made.
func (u *Uplink) enter(conns ...net.Conn) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.up {
		return false
	}
	for _, c := range conns {
		u.open[c] = struct{}{}
	}
	return true
}

func (u *Uplink) leave(conns ...net.Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, c := range conns {
		delete(u.open, c)
	}
}
