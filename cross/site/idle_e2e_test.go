//go:build e2e

package site

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What an idle site may cost each gateway.
const (
	idleCPUMax     = 0.03  // of a core: the goal
	idlePacketsMax = 200.0 // a second: heartbeats of gossip and raft, generously
)

// lateWrites is how long after the last record something may still be written:
// drains tell the site once a minute how far they are.
const lateWrites = 70 * time.Second

// Nobody publishes: nothing is written to flash, next to nothing is calculated or
// sent. (110 s, beside others until it is measured)
func TestIdle(t *testing.T) {
	t.Parallel() // without a turn until it is measured: it waits
	s := startSite(t, 3, Stream(3, 2))
	ctx := within(t, 15*time.Minute)
	f := s.StartFleet(ctx, 3, interval, false, s.Gateways...)
	must(t, s.Ledger.AwaitConfirmed(ctx, 100)) // it has worked
	must(t, f.Stop())
	settled(t, s)
	time.Sleep(lateWrites)
	takeEveryTurn(t)
	type cost struct {
		written, packets int64
		cpu              time.Duration
	}
	look := func() (all []cost) {
		for _, g := range s.Gateways {
			u, err := g.Process().Usage()
			must(t, err)
			packets, err := g.Sent()
			must(t, err)
			written, err := writeBytes(g.Process().PID())
			must(t, err)
			all = append(all, cost{written, packets, u.CPU})
		}
		return all
	}
	span := time.Duration(often(35, 300)) * time.Second
	before := look()
	time.Sleep(span) // what is measured is time in which nothing happens
	for i, now := range look() {
		was, g := before[i], s.Gateways[i]
		cpu := (now.cpu - was.cpu).Seconds() / span.Seconds()
		packets := float64(now.packets-was.packets) / span.Seconds()
		t.Logf("%s, idle for %s: %d bytes written, %.2f %% of a core, %.1f packets/s sent", g.Gateway.Name, span, now.written-was.written, 100*cpu, packets)
		if now.written != was.written {
			t.Errorf("%s wrote %d bytes although nothing came", g.Gateway.Name, now.written-was.written)
		}
		if cpu > generous*idleCPUMax || packets > idlePacketsMax {
			t.Errorf("%s: idle costs %.2f %% of a core and %.1f packets/s", g.Gateway.Name, 100*cpu, packets)
		}
	}
	finish(t, s)
}

// writeBytes is what a process has caused to be written to devices.
func writeBytes(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if number, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			return strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc/%d/io: no write_bytes in %q", pid, text)
}
