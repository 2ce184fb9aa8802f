package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"cistern/firmware/board"
)

const boardHelp = `Board shows what this machine has beside processor and network: sensors, cards and
their wear, a watchdog, LEDs, GPIO chips; why the rest was not found; and what of it
would stand in a configuration. A gateway needs none of it.

    $ cistern board
    $ cistern board --json | jq '.disks[] | select(.pre_eol != "normal")'

It looks and changes nothing, takes no line, and needs no running gateway. Some of it
only root may read. What a card was written over boots, and in the last day, only a
running gateway knows: ` + "`cistern status`" + ` tells. --root looks at a copy of another machine's /sys and /proc:

    $ cistern board --root copy
`

// boardJSON is the output of --json; fields are added to it, never renamed.
type boardJSON struct {
	*board.Report
	Data boardData `json:"data"`
	Fits string    `json:"fits"` // what of it would stand in a configuration
}

// boardData tells where the gateway keeps its records.
type boardData struct {
	Folder string `json:"folder"`
	Disk   string `json:"disk,omitempty"`
	Budget int64  `json:"daily_write_budget"`
	Why    string `json:"why_not,omitempty"`
}

func newBoard() *cobra.Command {
	var where place
	var root string
	var asJSON bool
	c := &cobra.Command{
		Use:  "board",
		Long: boardHelp,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := where.load()
			if err != nil {
				return err
			}
			if info, err := os.Stat(root); root != "" && (err != nil || !info.IsDir()) {
				return usage("name a folder that holds sys and proc", "--root %s is no folder", root)
			}
			r := board.Look(root)
			all := boardJSON{r, findData(root, conf.Gateway.Data), boardFits(r)}
			all.Data.Budget = conf.Storage.DailyWriteBudget
			if asJSON {
				return writeJSON(c.OutOrStdout(), all)
			}
			return showBoard(c.OutOrStdout(), &all)
		},
	}
	where.flags(c)
	c.Flags().StringVar(&root, "root", "", "look at the copy of a machine's sys and proc in this `FOLDER`")
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	return c
}

// findData tells which disk the data folder lies on, or will when it is made.
func findData(root, folder string) boardData {
	path, err := filepath.Abs(folder)
	d := boardData{Folder: path}
	if err == nil && root == "" {
		path, err = realPath(path)
	}
	if err == nil {
		d.Disk, err = board.HolderOf(root, path)
	}
	if err != nil {
		d.Why = err.Error()
	}
	return d
}

// realPath follows the symbolic links of a path, or of as much of it as there is.
func realPath(path string) (string, error) {
	for {
		real, err := filepath.EvalSymlinks(path)
		if !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
			return real, err
		}
		path = filepath.Dir(path)
	}
}

// showBoard prints a report for people.
func showBoard(w io.Writer, r *boardJSON) error {
	var b strings.Builder
	p := newPaint(w)
	if title := boardTitle(r.Machine); title != "" {
		fmt.Fprintf(&b, "%s\n\n", p.bold(title))
	}
	showParts(&b, p, r)
	showDisks(&b, r)
	if len(r.Missing) > 0 {
		fmt.Fprintf(&b, "%s\n\n", p.dim("Not found, and not needed:"))
		for _, m := range r.Missing {
			fmt.Fprintf(&b, "    %s: %s\n", m.What, printable(m.Why))
		}
		b.WriteByte('\n')
	}
	if r.Fits == "" {
		b.WriteString("There is nothing here to set in [board]. A gateway runs just as well without.\n")
	} else {
		fmt.Fprintf(&b, "%s\n\n", p.dim("What of it would stand in a configuration:"))
		for line := range strings.Lines(r.Fits) {
			b.WriteString(strings.TrimRight("    "+line, " \n") + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func boardTitle(m board.Machine) string {
	if m.Serial == "" {
		return m.Model
	}
	return m.Model + ", serial number " + m.Serial
}

// showParts prints a line for each thing that is there.
func showParts(b *strings.Builder, p paint, r *boardJSON) {
	var t [][2]string
	for _, s := range r.Temperatures {
		t = append(t, [2]string{"temperature", fmt.Sprintf("%.1f °C (%s)", s.Celsius, printable(s.Type))})
	}
	if r.Supply != nil {
		t = append(t, [2]string{"supply", supplyLine(p, r.Supply)})
	}
	for i := range r.Watchdogs {
		t = append(t, [2]string{"watchdog", watchdogLine(&r.Watchdogs[i])})
	}
	for _, l := range r.LEDs {
		line := fmt.Sprintf("%s, driven by %s", l.Name, dash(l.Trigger))
		if l.Virtual {
			line += ", virtual: nothing lights"
		}
		t = append(t, [2]string{"led", line})
	}
	for _, c := range r.Chips {
		line := c.Device
		if c.Label != "" {
			line = fmt.Sprintf("%s: %s, %d lines", c.Device, c.Label, c.Lines)
		}
		t = append(t, [2]string{"gpio", line})
	}
	data := "on " + r.Data.Disk
	if r.Data.Disk == "" {
		data = printable(r.Data.Why)
	}
	t = append(t, [2]string{"data", fmt.Sprintf("%s: %s", r.Data.Folder, data)})
	for _, line := range t {
		fmt.Fprintf(b, "%s%s%s\n", p.dim(line[0]), strings.Repeat(" ", 13-len(line[0])), line[1])
	}
	b.WriteByte('\n')
}

func supplyLine(p paint, s *board.Supply) string {
	var now, once []string
	for _, c := range []struct {
		is, was bool
		what    string
	}{
		{s.UnderVoltage, s.UnderVoltageOnce, "under-voltage"}, {s.Throttled, s.ThrottledOnce, "slowed down"},
	} {
		if c.is {
			now = append(now, c.what)
		} else if c.was {
			once = append(once, c.what)
		}
	}
	line := "fine"
	if len(now) > 0 {
		line = p.red(strings.Join(now, " and "))
	}
	if len(once) > 0 {
		line += "; " + strings.Join(once, " and ") + " since boot"
	}
	if len(now)+len(once) > 0 {
		line += ": a stronger supply, a shorter cable, or more air"
	}
	return line
}

func watchdogLine(w *board.Watchdog) string {
	line := w.Device
	if w.Identity != "" {
		line += ": " + w.Identity
	}
	if w.Timeout > 0 {
		line += fmt.Sprintf(", %d s", w.Timeout)
	}
	if w.Active {
		line += ", fed by somebody"
	}
	if w.NoWayOut {
		line += ", can't be stopped once it runs"
	}
	return line
}

func showDisks(b *strings.Builder, r *boardJSON) {
	if len(r.Disks) == 0 {
		return
	}
	t := table{left: []int{1, 2, 3, 6, 7, 8}}
	t.row("DISK", "KIND", "NAME", "MADE", "SIZE", "WRITTEN SINCE BOOT", "LIFE USED", "SPARE BLOCKS", "")
	for i := range r.Disks {
		d := &r.Disks[i]
		t.row(d.Device, string(d.Kind), dash(strings.TrimSpace(d.Manufacturer+" "+d.Name)), dash(d.Date),
			humanBytes(d.Bytes), humanBytes(d.BytesWritten), lifeUsed(d), dash(d.PreEOL), diskNote(d))
	}
	t.write(b)
	for i := range r.Disks {
		if d := &r.Disks[i]; d.Device == r.Data.Disk {
			b.WriteString(dayLine(d, r.Uptime, r.Data.Budget))
		}
	}
	b.WriteByte('\n')
}

// dayMin is how long a machine runs before a day is made of what it wrote: much is
// written when it starts.
const dayMin = 6 * 60 * 60

// dayLine holds what the card with the data is written against its budget.
func dayLine(d *board.Disk, uptime float64, budget int64) string {
	if uptime < dayMin || budget <= 0 {
		return ""
	}
	perDay := float64(d.BytesWritten) / uptime * 24 * 60 * 60
	return fmt.Sprintf("%s: %s a day since boot, by everything on this machine; daily_write_budget is %s.\n", d.Device, humanBytes(int64(perDay)), humanBytes(budget))
}

// lifeUsed shows the kind of memory that is worse off.
func lifeUsed(d *board.Disk) string {
	switch n := max(d.LifeA, d.LifeB); {
	case n == 0:
		return "-"
	case n > 100:
		return "all of it"
	default:
		return fmt.Sprintf("%d to %d %%", n-10, n)
	}
}

func diskNote(d *board.Disk) string {
	switch {
	case d.WriteProtected:
		return "it refuses writes: replace it"
	case d.ReadOnly:
		return "read-only"
	}
	return ""
}
