package porttest

import (
	"net"
	"runtime"
	"testing"
)

func TestReserve(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("a claim needs Linux")
	}
	given := map[string]bool{}
	for range 50 {
		addr := Reserve(t)
		if given[addr] {
			t.Fatalf("%s was given twice", addr)
		}
		given[addr] = true
	}
	for addr := range given {
		tcp, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer tcp.Close()
	}
}

func TestClaimIsHeld(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("a claim needs Linux")
	}
	port, release, err := Claim()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := claim(port); err == nil {
		t.Errorf("port %d was given twice", port)
	}
	release()
	// Another process may have just claimed it, but hardly three times.
	for try := 1; ; try++ {
		if _, release, err = claim(port); err == nil {
			release()
			return
		}
		if try == 3 {
			t.Fatalf("port %d after its release: %v", port, err)
		}
		if port, release, err = Claim(); err != nil {
			t.Fatal(err)
		}
		release()
	}
}

func TestBoundIsNotGiven(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("a claim needs Linux")
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	if _, _, err := claim(udp.LocalAddr().(*net.UDPAddr).Port); err == nil {
		t.Error("a port was given that is bound")
	}
}
