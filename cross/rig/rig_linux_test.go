package rig

import (
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"
)

// What nobody remembers is closed by the garbage collector, and a claim with it.
func TestAFreePortStaysOurs(t *testing.T) {
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		runtime.GC()
		time.Sleep(10 * time.Millisecond) // finalizers have a goroutine of their own
	}
	if l, err := net.Listen("unix", fmt.Sprintf("@cistern-port-%d", port)); err == nil {
		l.Close()
		t.Errorf("somebody else could claim port %d", port)
	}
}
