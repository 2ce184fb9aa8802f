package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"cistern/agent/status"
	"cistern/bridge/drain"
)

const (
	watchInterval = 5 * time.Second
	// nearlyFull is the share of max_bytes that the backlog may take before
	// somebody should know.
	nearlyFull = 0.8
)

// watch looks after the warnings while nobody asks for a status, so that they
// are logged when they begin.
func (a *Agent) watch(ctx context.Context) error {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		a.gate.Look()
		a.light.is(a.life, patternOf(a.Status()))
		a.alive.beat(partWatch)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// judge sets and clears the warnings that a status shows the need for.
func (a *Agent) judge(d *status.Document) {
	h, s := a.health, &d.Storage
	h.Update(status.StoreLatched, s.Latched, "see the log for the file and the cause")
	h.Update(status.DiskFullRefusing, s.Full, "%d of %d bytes", s.UsedBytes, s.MaxBytes)
	h.Update(status.DiskNearlyFull, !s.Full && backlogShare(d) > nearlyFull,
		"what is not drained takes %.0f %% of %d bytes", 100*backlogShare(d), s.MaxBytes)
	h.Update(status.ClockUnset, d.Gateway.Clock == clockUnset, "it shows %s", time.Now().UTC().Format(time.DateTime))
	h.Update(status.ClockUnsynced, d.Gateway.Clock == clockUnsynced, "")
	neighbour := d.Site != nil && d.Site.HasUplink() // it drains what this one can't
	h.Update(status.UplinkDown, d.Uplink.State == drain.UplinkDown && !neighbour, "%s", d.Uplink.Error)
	h.Update(status.NoUplinkConfigured, d.Uplink.State == "none" && !neighbour, "")
	a.judgePartitions(d)
	a.siteJudge.Judge(h, d)
	down := ""
	for _, src := range d.Sources {
		if !src.Connected && src.Error != "" {
			down = src.Error
		}
	}
	h.Update(status.SourceDown, down != "", "%s", down)
}

func (a *Agent) judgePartitions(d *status.Document) {
	var dropped, quarantined int64
	stopped := ""
	for _, s := range d.Streams {
		dropped += s.Dropped
		quarantined += s.Quarantined
		for _, p := range s.Partitions {
			if p.Drain == drain.StateStopped {
				stopped = fmt.Sprintf("%s/%d: %s", s.Name, p.Partition, p.Error)
			}
		}
	}
	a.health.Update(status.DrainStopped, stopped != "", "%s", stopped)
	now := time.Now()
	a.health.Update(status.RecordsDropped, a.dropped.grew(dropped, now), "%d records ever", dropped)
	a.health.Update(status.Quarantined, a.quarantined.grew(quarantined, now), "%d records ever", quarantined)
}

// newsLasts is how long a loss stays a warning: the counters never go back, and
// a warning that never ends is one that nobody reads.
const newsLasts = 24 * time.Hour

// news tells whether a counter has grown lately. What it had when the agent
// started was told by the run before.
type news struct {
	mu    sync.Mutex
	known bool
	count int64
	grown time.Time
}

func (n *news) grew(count int64, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known && count > n.count {
		n.grown = now
	}
	n.known, n.count = true, max(count, n.count)
	return !n.grown.IsZero() && now.Sub(n.grown) < newsLasts
}

// backlogShare estimates how much of the flash allowed is taken by what is not
// drained; the rest would give way.
func backlogShare(d *status.Document) float64 {
	var stored, waiting int64
	for _, s := range d.Streams {
		for _, p := range s.Partitions {
			stored += p.HighWatermark - p.StartOffset
			waiting += p.Backlog.Records
		}
	}
	if stored == 0 || d.Storage.MaxBytes == 0 {
		return 0
	}
	return float64(waiting) / float64(stored) * float64(d.Storage.UsedBytes) / float64(d.Storage.MaxBytes)
}
