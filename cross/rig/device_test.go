package rig

import (
	"context"
	"fmt"
	"os/exec"
	"testing"
	"time"
)

// A device that loses its broker by SIGKILL abandons what was in flight, calls
// again, and every number it was given a PUBACK for is entered as confirmed.
func TestDeviceOutlivesItsBroker(t *testing.T) {
	if _, err := exec.LookPath("mosquitto"); err != nil {
		t.Skip("needs mosquitto as a broker to kill: ", err)
	}
	address, err := FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	start := func() *Process {
		p, err := Start(nil, "mosquitto", "-p", address[len("127.0.0.1:"):])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Kill)
		return p
	}
	broker, ledger := start(), NewLedger()
	d := &Device{
		ClientID: "d", Brokers: []string{address}, Ledger: ledger, Interval: time.Millisecond,
		Message: func(number func(string) int64) (string, int64, []byte) {
			seq := number("t")
			return "t", seq, fmt.Appendf(nil, `{"seq":%d}`, seq)
		},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()

	confirmed := func(n int64) {
		for ledger.Tally().Confirmed < n && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
	}
	confirmed(50)
	broker.Kill()
	start()
	confirmed(ledger.Tally().Confirmed + 50)
	if ctx.Err() != nil {
		t.Fatal("not enough was confirmed:", ledger.Tally())
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := ledger.Tally(); n.InFlight() != 0 {
		t.Errorf("still in flight after Run: %+v", n)
	}
}
