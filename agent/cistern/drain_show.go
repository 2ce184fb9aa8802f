package main

import (
	"fmt"
	"strings"
	"time"

	"cistern/agent/status"
)

// showDrain prints one look for people.
func showDrain(b *strings.Builder, p paint, d *status.Document, l *drainLook, rates bool) {
	var t pairs
	t.add("uplink", uplinkLine(&d.Uplink))
	if mode := modeLine(&d.Uplink); mode != "" {
		t.add("mode", mode)
	}
	if d.Uplink.Pacing != nil {
		t.add("pacing", pacingLine(d.Uplink.Pacing, time.Now()))
	}
	left := backlogWords(l.left, l.bytes)
	if rates && l.rated {
		left += fmt.Sprintf("; %s records/s, %s/s; time left %s", humanRate(l.out), humanBytes(int64(l.flow)), humanLeft(l.eta))
	}
	t.add("left", left)
	t.write(b, p)
	b.WriteByte('\n')
	rows := table{left: []int{1, 2}}
	head := []string{"PARTITION", "TO", "STATE", "POSITION", "LEFT", "SIZE", "OLDEST"}
	if rates {
		head = append(head, "RECORDS/S", "BYTES/S", "TIME LEFT")
	}
	rows.left = append(rows.left, len(head))
	rows.row(append(head, "")...)
	for i := range l.rows {
		rows.row(drainCells(&l.rows[i], rates)...)
	}
	rows.write(b)
}

func backlogWords(records, bytes int64) string {
	if records == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%s records, %s", humanCount(records), humanBytes(bytes))
}

func drainCells(r *drainRow, rates bool) []string {
	cells := []string{r.name(), dash(printable(r.Target)), dash(r.State), "-", "-", "-", "-"}
	if !r.Here {
		cells[2] = "elsewhere"
		note := status.DrainedAt{Partition: r.name(), Gateway: r.Drainer}.String()
		if !r.Site {
			cells[2], note = "not drained", ""
		}
		if rates {
			cells = append(cells, "-", "-", "-")
		}
		return append(cells, note)
	}
	cells[3], cells[4], cells[5], cells[6] = humanCount(r.Position), humanCount(r.Left), humanBytes(r.LeftBytes), humanSeconds(r.OldestSeconds)
	if rates {
		cells = append(cells, rateCells(r)...)
	}
	return append(cells, strings.Join(drainNotes(r), "; "))
}

func rateCells(r *drainRow) []string {
	if r.Rate == nil {
		return []string{"-", "-", "-"}
	}
	left := "unknown"
	switch {
	case r.Left == 0:
		left = "-"
	case r.Paused:
		left = "paused"
	case r.SecondsLeft != nil:
		left = humanSeconds(*r.SecondsLeft)
	}
	return []string{humanRate(*r.Rate), humanBytes(int64(*r.ByteRate)), left}
}

// drainNotes says what is special about a partition.
func drainNotes(r *drainRow) []string {
	var notes []string
	if r.Paused && r.State != "paused" {
		notes = append(notes, "paused")
	}
	if len(r.Flows) > 1 {
		for _, f := range r.Flows {
			note := fmt.Sprintf("%s %s left", f.Kind, humanCount(f.Records))
			if f.Kind == status.FlowBackfill {
				note = fmt.Sprintf("%s from %s: %s left", f.Kind, humanCount(f.Position), humanCount(f.Records))
			}
			if f.State != "" && f.State != r.State {
				note += " (" + f.State + ")"
			}
			notes = append(notes, note)
		}
	}
	for _, n := range []struct {
		count int64
		what  string
	}{
		{r.Quarantined, "set aside"}, {r.Skipped, "skipped"}, {r.Missed, "missed"}, {r.Retimed, "retimed"}, {r.Abandoned, "abandoned"},
	} {
		if n.count > 0 {
			notes = append(notes, humanCount(n.count)+" "+n.what)
		}
	}
	if r.Reason != "" {
		notes = append(notes, printable(r.Reason))
	}
	return notes
}

func modeLine(u *status.Uplink) string {
	line := u.Kind
	if u.Mode != "" {
		line += ", " + u.Mode
	}
	if u.ModeWhy != "" {
		line += ": " + printable(u.ModeWhy)
	}
	return line
}

// pacingLine says when and how fast records may leave.
func pacingLine(p *status.Pacing, now time.Time) string {
	var parts []string
	if !p.Open {
		closed := "closed"
		if p.Why != "" {
			closed += ": " + p.Why
		}
		if !p.Until.IsZero() {
			closed += fmt.Sprintf(", opens in %s (%s)", humanAge(max(0, p.Until.Sub(now))), p.Until.Local().Format("Mon 15:04"))
		}
		parts = append(parts, closed)
	}
	if p.BytesPerSecond > 0 {
		limit := "at most " + humanBytes(p.BytesPerSecond) + "/s"
		if p.Ramping {
			limit += ", rising"
		}
		parts = append(parts, limit)
	}
	if len(p.Schedule) > 0 {
		parts = append(parts, "hours "+strings.Join(p.Schedule, ", "))
	}
	if p.DailyBytes > 0 {
		parts = append(parts, fmt.Sprintf("%s of %s today", humanBytes(p.BytesToday), humanBytes(p.DailyBytes)))
	}
	if p.ClockUnset {
		parts = append(parts, "the clock was never set: no hours hold, and a day is any 24")
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, "; ")
}
