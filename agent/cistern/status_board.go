package main

import (
	"fmt"
	"strings"
	"time"

	"cistern/agent/status"
)

// boardLines say what the gateway runs on: the board, the card that holds the
// data, and the last power failure; each only where something is known.
func boardLines(t *pairs, b *status.Board) {
	if b == nil {
		return
	}
	var about []string
	if b.Model != "" {
		about = append(about, printable(b.Model))
	}
	if celsius, known := b.Hottest(); known {
		about = append(about, fmt.Sprintf("%.0f °C", celsius))
	}
	if p := b.PowerFail; p != nil {
		how := "and the gateway was not clean in time"
		if p.Clean {
			how = fmt.Sprintf("clean after %d ms", time.Duration(p.CleanSeconds*float64(time.Second)).Milliseconds())
		}
		about = append(about, fmt.Sprintf("power failed %s ago, %s", humanAge(time.Since(p.At)), how))
	}
	if len(about) > 0 {
		t.add("board", strings.Join(about, ", "))
	}
	for i := range b.Disks {
		if d := &b.Disks[i]; d.Device == b.DataOn {
			t.add("card", cardLine(d))
		}
	}
}

func cardLine(d *status.Disk) string {
	line := d.Device
	for _, word := range []string{string(d.Kind), d.Manufacturer, d.Name, d.Date} {
		if word != "" && word != "other" {
			line += " " + printable(word)
		}
	}
	line += ", " + humanBytes(d.Bytes)
	if d.ID() != "" {
		line += fmt.Sprintf(", %s written to it as far as counted here", humanBytes(d.WrittenEver))
	}
	if l := d.Lately; l != nil && l.Seconds > 0 {
		line += fmt.Sprintf(", %s in the last %s of running (%s by the journal)", humanBytes(l.Bytes), humanSeconds(l.Seconds), humanBytes(l.Journal))
	}
	if life := d.LifeUsed(); life > 0 {
		line += fmt.Sprintf(", up to %d %% of its life used", life)
	}
	return line
}
