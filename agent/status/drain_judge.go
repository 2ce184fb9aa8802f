package status

import (
	"fmt"
	"time"
)

// scheduleGrace is how old a backlog may become while the uplink's hours keep it
// here.
const scheduleGrace = 24 * time.Hour

// JudgeDrain sets and clears the warnings about a drain that somebody holds back.
func JudgeDrain(h *Health, d *Document) {
	var paused []string
	for _, s := range d.Streams {
		for i := range s.Partitions {
			if p := &s.Partitions[i]; p.Paused {
				paused = append(paused, fmt.Sprintf("%s/%d", s.Name, p.Partition))
			}
		}
	}
	h.Update(DrainPaused, len(paused) > 0, "%s", list(paused))
	p := d.Uplink.Pacing
	if p == nil {
		p = &Pacing{Open: true}
	}
	backlog := d.BacklogTotal()
	h.Update(BudgetSpent, p.Spent() && backlog.Records > 0, "%d of %d bytes; %d records wait", p.BytesToday, p.DailyBytes, backlog.Records)
	old := time.Duration(backlog.OldestSeconds * float64(time.Second))
	h.Update(ScheduleClosed, !p.Open && !p.Spent() && len(p.Schedule) > 0 && old > scheduleGrace,
		"%d records wait, the oldest for %s", backlog.Records, old.Round(time.Hour))
}
