package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cistern/agent/status"
	"cistern/firmware/machine"
)

const updateHelp = `Update puts another version on a gateway that runs from a Cistern image. One that
was installed as a package is updated as packages are.

    $ cistern update apply cistern-1.3-pi.update --gateway 10.0.0.11 --key-file site.key
    $ cistern update status --gateway 10.0.0.11 --key-file site.key

A card has two slots. An update is written to the one that does not run, which is
then booted once, on trial. When the gateway has come back, lets devices in and is
in sync again with its site, the update is good and stays; else the machine goes
back to the slot it came from, by itself. "cistern site update" does this with
every gateway of a site, one after the other.
`

const updateStatusHelp = `Status shows which version a gateway runs from which slot, what the other one
holds, and what became of the last update.

    $ cistern update status --gateway 10.0.0.11 --key-file site.key
    $ cistern update status --json | jq .last_update
`

func newUpdate() *cobra.Command {
	c := &cobra.Command{
		Use:  "update",
		Long: updateHelp,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			return usage("allowed are apply, status", "unknown command %q", "update "+args[0])
		},
	}
	c.AddCommand(newUpdateApply(), newUpdateStatus())
	return c
}

func newUpdateStatus() *cobra.Command {
	var where place
	var asJSON bool
	c := &cobra.Command{
		Use:  "status",
		Long: updateStatusHelp,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			agent, err := where.agent()
			if err != nil {
				return err
			}
			m, err := agent.Machine(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(c.OutOrStdout(), m)
			}
			return showMachine(c.OutOrStdout(), m)
		},
	}
	where.agentFlags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	return c
}

func showMachine(w io.Writer, m *status.Machine) error {
	var b strings.Builder
	p := newPaint(w)
	var t pairs
	fmt.Fprintf(&b, "%s  version %s, from slot %s\n", p.bold(printable(m.Hostname)), printable(m.Version), m.Slot)
	if m.Trial {
		t.add("trial", trialLine(m))
	}
	t.add("other", otherLine(&m.Other))
	t.add("update", lastUpdateLine(m.LastUpdate))
	t.add("build", fmt.Sprintf("%s, commit %s, board %s", printable(m.Build), printable(m.Commit), printable(m.Board)))
	t.write(&b, p)
	_, err := io.WriteString(w, b.String())
	return err
}

// imageLine is what `cistern status` says of all this.
func imageLine(m *status.Machine) string {
	line := fmt.Sprintf("version %s for %s, from slot %s", printable(m.Version), printable(m.Board), m.Slot)
	if m.Trial {
		return line + ", on trial; " + trialLine(m)
	}
	return line
}

func trialLine(m *status.Machine) string {
	line := "nothing is missing any more"
	if len(m.Missing) > 0 {
		line = "still missing: " + printable(strings.Join(m.Missing, "; "))
	}
	if m.TrialEnds.IsZero() {
		return line
	}
	return line + "; until " + m.TrialEnds.Local().Format(time.TimeOnly)
}

func otherLine(s *machine.Slot) string {
	switch {
	case s.Problem != "":
		return fmt.Sprintf("slot %s can't be booted: %s", s.Slot, printable(s.Problem))
	case s.Version == "":
		return fmt.Sprintf("slot %s holds nothing that boots", s.Slot)
	}
	return fmt.Sprintf("slot %s holds version %s", s.Slot, printable(s.Version))
}

func lastUpdateLine(u *machine.Update) string {
	if u == nil {
		return "none yet"
	}
	line := fmt.Sprintf("version %s: %s", printable(u.Version), printable(u.Result))
	if u.Why != "" {
		line += ": " + printable(u.Why)
	}
	if !u.At.IsZero() {
		line += " (" + u.At.Local().Format(time.DateTime) + ")"
	}
	return line
}
