package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cistern/agent/status"
)

const statusHelp = `Status says how the running gateway is doing: what needs attention, every
partition with its offsets and backlog, the uplink, flash, and devices.

    $ cistern status
    $ cistern status --data /var/lib/cistern

The backlog of a partition is what was confirmed and has not reached the centre.
For scripts --json prints everything; fields are added to it, never renamed:

    $ cistern status --json | jq '[.streams[].backlog.records] | add'
`

func newStatus() *cobra.Command {
	var where place
	var asJSON bool
	c := &cobra.Command{
		Use:  "status",
		Long: statusHelp,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := where.ask(c)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(c.OutOrStdout(), d)
			}
			return showStatus(c.OutOrStdout(), d)
		},
	}
	where.agentFlags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	return c
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// showStatus prints a status for people.
func showStatus(w io.Writer, d *status.Document) error {
	var b strings.Builder
	p := newPaint(w)
	g := d.Gateway
	fmt.Fprintf(&b, "%s  site %s, cistern %s, up %s\n", p.bold(g.Name), g.Site, g.Version, humanSeconds(g.UptimeSeconds))
	showHealth(&b, p, d.Health)
	b.WriteByte('\n')
	showStreams(&b, d)
	b.WriteByte('\n')
	var t pairs
	if d.Site != nil {
		t.add("site", quorumLine(d.Site))
		t.add("parked", parkedLine(d.ParkedTotal()))
	}
	t.add("backlog", backlogLine(d.BacklogTotal()))
	t.add("uplink", uplinkLine(&d.Uplink))
	t.add("flash", flashLine(&d.Storage))
	t.add("mqtt", mqttLine(&d.MQTT))
	for _, s := range d.Sources {
		t.add("source", sourceLine(&s))
	}
	t.add("agent", fmt.Sprintf("pid %d, %s of memory, %.1f s of CPU", d.Process.PID, humanBytes(d.Process.RSSBytes), d.Process.CPUSeconds))
	t.add("data", g.Data)
	boardLines(&t, d.Board)
	if d.Machine != nil {
		t.add("image", imageLine(d.Machine))
	}
	t.write(&b, p)
	_, err := io.WriteString(w, b.String())
	return err
}

func showHealth(b *strings.Builder, p paint, active []status.Active) {
	for _, a := range active {
		mark := map[status.Severity]string{
			status.Failing: p.red("error:"), status.Warn: p.yellow("warning:"), status.Info: "note:",
		}[a.Severity]
		fmt.Fprintf(b, "\n%s %s (%s, since %s)\n", mark, p.bold(a.Title), a.Code, humanAge(time.Since(a.Since)))
		if a.Detail != "" {
			fmt.Fprintf(b, "    %s\n", printable(a.Detail))
		}
		for _, line := range wrap(a.Advice, 76) {
			fmt.Fprintf(b, "    %s\n", p.dim(line))
		}
	}
}

func showStreams(b *strings.Builder, d *status.Document) {
	var t table
	t.row("PARTITION", "FROM", "TO", "DRAINED", "BACKLOG", "SIZE", "OLDEST", "DROPPED", "STATE")
	for _, s := range d.Streams {
		for i := range s.Partitions {
			p, name := &s.Partitions[i], fmt.Sprintf("%s/%d", s.Name, s.Partitions[i].Partition)
			if d.Site != nil && p.Role == "" { // no copy here: nothing is known of its offsets
				t.row(name, "-", "-", "-", "-", "-", "-", "-", partitionState(d, p))
				continue
			}
			drained := "-"
			if p.Drained >= 0 {
				drained = humanCount(p.Drained)
			}
			t.row(name, humanCount(p.StartOffset), humanCount(p.HighWatermark),
				drained, humanCount(p.Backlog.Records), humanBytes(p.Backlog.Bytes),
				humanSeconds(p.Backlog.OldestSeconds), humanCount(p.Dropped), partitionState(d, p))
		}
	}
	t.write(b)
}

func partitionState(d *status.Document, p *status.Partition) string {
	switch {
	case p.Error != "":
		return printable(p.Error)
	case d.Site != nil && p.Leader == "":
		return "no leader"
	case d.Site != nil && p.Role == status.RoleFollower:
		return "follows " + p.Leader
	case d.Site != nil && p.Role == "":
		return "at " + p.Leader
	case p.Drain != "":
		return p.Drain
	}
	return "buffering"
}

func parkedLine(p status.Parked) string {
	if p.Records == 0 && p.Batches == 0 {
		return "none"
	}
	line := fmt.Sprintf("%s records, %s, oldest %s", humanCount(p.Records), humanBytes(p.Bytes), humanSeconds(p.OldestSeconds))
	if p.Held > 0 {
		line += fmt.Sprintf("; devices wait for %s of them", humanCount(p.Held))
	}
	if p.Reason != "" {
		line += "; " + printable(p.Reason)
	}
	return line
}

func backlogLine(b status.Backlog) string {
	if b.Records == 0 {
		return "none"
	}
	return fmt.Sprintf("%s records, %s, oldest %s", humanCount(b.Records), humanBytes(b.Bytes), humanSeconds(b.OldestSeconds))
}

func uplinkLine(u *status.Uplink) string {
	if u.State == "none" {
		return "none configured: buffering"
	}
	line := u.State
	if !u.Since.IsZero() {
		line += " for " + humanAge(time.Since(u.Since))
	}
	line += fmt.Sprintf(", %s; %s records drained, %s", strings.Join(u.Brokers, ", "), humanCount(u.Records), humanBytes(u.Bytes))
	if u.Error != "" && u.State != "down" { // a warning says it
		line += "; " + printable(u.Error)
	}
	return line
}

func flashLine(s *status.Storage) string {
	line := fmt.Sprintf("%s of %s used, %s free on the file system; %s written in %s commits since start",
		humanBytes(s.UsedBytes), humanBytes(s.MaxBytes), humanBytes(s.FreeBytes), humanBytes(s.WrittenBytes), humanCount(s.Commits))
	if s.DailyWriteBudget > 0 {
		line += fmt.Sprintf(", budget %s a day", humanBytes(s.DailyWriteBudget))
	}
	return line
}

func mqttLine(m *status.MQTT) string {
	var where []string
	for _, l := range m.Listeners {
		where = append(where, l.Address)
	}
	return fmt.Sprintf("%s; %s clients, %s messages received, %s confirmed, %s refused",
		strings.Join(where, ", "), humanCount(m.Clients), humanCount(m.Received), humanCount(m.Confirmed), humanCount(m.Refused))
}

func sourceLine(s *status.Source) string {
	state := "connected"
	if !s.Connected {
		state = "not connected"
	}
	line := fmt.Sprintf("%s %s, %s messages", s.URL, state, humanCount(s.Messages))
	if s.Reader != "" {
		line += ", read by " + s.Reader
	}
	for _, n := range []struct {
		count int64
		what  string
	}{
		{s.SkippedRetained, "retained skipped"}, {s.Rejected, "rejected"},
		{s.DroppedQoS0, "of QoS 0 dropped"}, {s.SessionsLost, "sessions lost"},
	} {
		if n.count > 0 {
			line += fmt.Sprintf(", %s %s", humanCount(n.count), n.what)
		}
	}
	if s.Error != "" {
		line += "; " + printable(s.Error)
	}
	for _, f := range s.Subscriptions {
		if f.Error != "" {
			line += "; " + printable(f.Filter+": "+f.Error)
		}
	}
	return line
}

// pairs are lines of a word and what there is to say about it.
type pairs struct{ lines [][2]string }

func (t *pairs) add(word, text string) { t.lines = append(t.lines, [2]string{word, text}) }

func (t *pairs) write(b *strings.Builder, p paint) {
	for _, l := range t.lines {
		fmt.Fprintf(b, "%s%s%s\n", p.dim(l[0]), strings.Repeat(" ", 9-len(l[0])), l[1])
	}
}

// wrap breaks a sentence into lines of at most width characters.
func wrap(s string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
