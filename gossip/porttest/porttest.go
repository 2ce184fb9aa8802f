// Package porttest gives a test a port that stays free until the test binds it.
//
// A port of the kernel's choice that was closed again is anybody's: the next
// listener on port 0 and every connection that goes out may get it. Those given
// here come from below what the kernel chooses from, and are claimed for as long
// as the test takes, among all tests on the machine.
package porttest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"testing"
)

// Ports are given from lowest up to, without it, highest, or the first of those
// that the kernel chooses from if that is lower.
const (
	lowest  = 12000
	highest = 30000
	fewest  = 1000 // that have to be left; otherwise the kernel's own are given as well
)

// Reserve returns an address on loopback that nobody else takes before t ends.
// Its port is free for TCP and for UDP, and on all other addresses of the machine.
func Reserve(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(Number(t)))
}

// Number is Reserve for who needs the port alone.
func Number(t testing.TB) int {
	t.Helper()
	port, release, err := Claim()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return port
}

// Claim is Number for who has no test at hand. The port is the caller's until
// release.
func Claim() (port int, release func(), err error) {
	if runtime.GOOS != "linux" { // nothing there is as good a claim
		return free(0)
	}
	below := kernelsFirst()
	if below < lowest+fewest {
		below = highest
	}
	n := min(highest, below) - lowest
	first := rand.IntN(n)
	for i := range n {
		if port, release, err = claim(lowest + (first+i)%n); err == nil {
			return port, release, nil
		}
	}
	return 0, nil, fmt.Errorf("none of the ports %d to %d is free: %w", lowest, lowest+n-1, err)
}

// claim takes a port from all who ask for one here. The claim is a name that ends
// with its process, however that ends.
func claim(port int) (int, func(), error) {
	name, err := net.Listen("unix", fmt.Sprintf("@cistern-port-%d", port))
	if err != nil {
		return 0, nil, err
	}
	if _, _, err := free(port); err != nil {
		name.Close()
		return 0, nil, err
	}
	return port, func() { name.Close() }, nil
}

// free looks whether a port can be bound; 0 looks for one.
func free(port int) (int, func(), error) {
	tcp, err := net.Listen("tcp", fmt.Sprint(":", port))
	if err != nil {
		return 0, nil, err
	}
	port = tcp.Addr().(*net.TCPAddr).Port
	udp, err := net.ListenPacket("udp", fmt.Sprint(":", port))
	if err == nil {
		err = udp.Close()
	}
	return port, func() {}, errors.Join(err, tcp.Close())
}

// kernelsFirst is the first port that the kernel may choose by itself.
func kernelsFirst() (first int) {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		_, err = fmt.Sscan(string(b), &first)
	}
	if err != nil {
		return highest
	}
	return first
}
