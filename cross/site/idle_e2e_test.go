//go:build e2e

package site

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"cistern/bridge/drain"
)

// What an idle site may cost each gateway.
const (
	idleCPUMax     = 0.03  // of a core: the goal
	idlePacketsMax = 200.0 // a second: heartbeats of gossip and raft, generously
)

// lateWrites is how long after the last record something may still be written:
// drains tell the site how far they are when they have been quiet for 10 s.
const lateWrites = 30 * time.Second

// spansMax is how many spans may be measured. Somebody may be elected to lead the
// quorum when the machine has other things to do, and who votes writes that down.
const spansMax = 4

// voteMax is how long a busy disk may take to write a vote. The new term is told only
// when it lies there: it has been seen to take 3 s.
const voteMax = 5 * time.Second

// Nobody publishes: nothing is written to flash, next to nothing is calculated or
// sent. (75 s, beside others until it is measured)
func TestIdle(t *testing.T) {
	t.Parallel() // without a turn until it is measured: it waits
	s := startSite(t, 3, Stream(3, 2))
	ctx := within(t, 15*time.Minute)
	f := s.StartFleet(ctx, 3, interval, false, s.Gateways...)
	must(t, s.Ledger.AwaitConfirmed(ctx, 100)) // it has worked
	must(t, f.Stop())
	stopped := time.Now()
	atRest(t, s)
	drained := time.Now()
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
	var before, after []cost
	for spans := 1; ; spans++ {
		pastDoubt(stopped, drained, span)
		was := term(ctx, t, s)
		before = look()
		time.Sleep(span) // what is measured is time in which nothing happens
		after = look()
		time.Sleep(voteMax)
		now := term(ctx, t, s)
		if now == was {
			break
		}
		t.Logf("the quorum's term went from %d to %d in span %d", was, now, spans)
		if spans == spansMax {
			t.Fatalf("an election of the quorum in each of %d spans of %s in which nothing happened", spans, span)
		}
	}
	for i, now := range after {
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

// pastDoubt waits where that is needed for a span that is free of what a drain says once
// when it has been quiet for long: that nothing which it sent is in doubt any more.
func pastDoubt(stopped, drained time.Time, span time.Duration) {
	from, to := stopped.Add(drain.SettleAfter), drained.Add(drain.SettleAfter+lateWrites)
	if now := time.Now(); now.Add(span).After(from) && now.Before(to) {
		time.Sleep(to.Sub(now))
	}
}

// term is the newest one of the quorum that a gateway knows.
func term(ctx context.Context, t *testing.T, s *Site) (newest uint64) {
	t.Helper()
	for _, g := range s.Gateways {
		d, err := g.seen(ctx)
		must(t, err)
		newest = max(newest, d.Site.Quorum.Term)
	}
	return newest
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
