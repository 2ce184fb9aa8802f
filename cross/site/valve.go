package site

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Valve is a listener whose connections bring in only so much at a time: an
// uplink with a backlog before it. What waits lies in the sockets' buffers, so a
// gateway that is stopped has requests that still arrive.
type Valve struct {
	net.Listener
	rate atomic.Int64 // bytes per second of each connection; 0 is no limit

	mu      sync.Mutex
	brought map[string]int64 // by the host that called
}

// Brought is how many bytes have come in from an IP address.
func (v *Valve) Brought(ip string) int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.brought[ip]
}

func (v *Valve) count(from net.Addr, n int) {
	host, _, _ := net.SplitHostPort(from.String())
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.brought == nil {
		v.brought = map[string]int64{}
	}
	v.brought[host] += int64(n)
}

// Turn sets how much each connection brings in a second.
func (v *Valve) Turn(bytesPerSecond int64) { v.rate.Store(bytesPerSecond) }

// Accept implements net.Listener.
func (v *Valve) Accept() (net.Conn, error) {
	c, err := v.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &throttled{Conn: c, valve: v}, nil
}

// throttled is read in small bites. It has no more methods than net.Conn, so
// nobody reads past it.
type throttled struct {
	net.Conn
	valve *Valve
}

// bitesPerSecond is how often a limited connection is read.
const bitesPerSecond = 50

func (t *throttled) Read(b []byte) (int, error) {
	rate := t.valve.rate.Load()
	if rate > 0 {
		b = b[:min(len(b), max(1, int(rate/bitesPerSecond)))]
	}
	n, err := t.Conn.Read(b)
	t.valve.count(t.RemoteAddr(), n)
	if rate > 0 {
		time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
	}
	return n, err
}
