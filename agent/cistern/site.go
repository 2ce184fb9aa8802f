package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cistern/agent/status"
)

const siteHelp = `Site shows the gateways of the site as the running gateway here sees them: who
is alive, what each leads and keeps, and whether they can agree.

    $ cistern site
    $ cistern site --json | jq '.members[] | select(.state != "alive") | .name'

A site begins with a key, which "site init" makes. The rest is for maintenance:

    $ cistern site init --key /etc/cistern/site.key
    $ cistern site drain-node gateway-2
    $ cistern site drain-node gateway-2 --undo
    $ cistern site remove gateway-2
    $ cistern site apply
    $ cistern site update cistern-1.3-pi.update --gateway 10.0.0.11 --key-file site.key
    $ cistern site recover --config cistern.toml

States: alive; suspect did not answer and may be dead; dead; left has stopped on
purpose; unknown was not seen since the gateway here started. Fenced leads nothing
and nobody waits for its copies; draining leads nothing on an operator's word.
`

func newSite() *cobra.Command {
	var where place
	var asJSON bool
	c := &cobra.Command{
		Use:  "site",
		Long: siteHelp,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("allowed are init, drain-node, remove, apply, update, recover, forget", "unknown command %q", "site "+args[0])
			}
			d, err := where.ask(c)
			if err != nil {
				return err
			}
			if d.Site == nil {
				return status.ErrAlone
			}
			if asJSON {
				return writeJSON(c.OutOrStdout(), d.Site)
			}
			return showSite(c.OutOrStdout(), d)
		},
	}
	where.agentFlags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	c.AddCommand(newSiteInit(), newSiteDrain(), newSiteRemove(), newSiteApply(), newSiteUpdate(), newSiteRecover(), newSiteForget())
	return c
}

func showSite(w io.Writer, d *status.Document) error {
	var b strings.Builder
	s, p := d.Site, newPaint(w)
	fmt.Fprintf(&b, "%s  %s\n", p.bold(s.Name), quorumLine(s))
	showHealth(&b, p, d.Health)
	t := table{left: []int{1, 5, 6, 9}}
	t.row("GATEWAY", "STATE", "FOR", "LEADS", "COPIES", "ZONE", "UPLINK", "FREE", "VERSION", "")
	for i := range s.Members {
		m := &s.Members[i]
		since := "-"
		if !m.Since.IsZero() {
			since = humanAge(time.Since(m.Since))
		}
		t.row(m.Name, m.State, since, humanCount(int64(m.Leads)), humanCount(int64(m.Replicas)),
			dash(printable(m.Zone)), dash(printable(m.Uplink)), freeFlash(m), dash(printable(m.Version)), strings.Join(memberNotes(m), ", "))
	}
	b.WriteByte('\n')
	t.write(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func freeFlash(m *status.Member) string {
	switch {
	case m.FlashLatched:
		return "failed"
	case m.Version == "": // it has told nothing yet
		return "-"
	}
	return humanBytes(m.FlashFree)
}

func memberNotes(m *status.Member) []string {
	var notes []string
	for _, n := range []struct {
		holds bool
		what  string
	}{
		{m.Self, "this gateway"}, {m.Fenced, "fenced"}, {m.Draining, "draining"},
		{m.QuorumLeader, "leads the quorum"}, {m.Voter && !m.QuorumLeader, "votes"}, {m.ID == 0, "not registered"},
	} {
		if n.holds {
			notes = append(notes, n.what)
		}
	}
	return notes
}

// quorumLine says in one line who is there and whether they agree.
func quorumLine(s *status.Site) string {
	alive, voters := 0, 0
	for _, m := range s.Members {
		if m.State == status.MemberAlive {
			alive++
			if slices.Contains(s.Quorum.Voters, m.Name) {
				voters++
			}
		}
	}
	line := fmt.Sprintf("%d of %d gateways alive", alive, len(s.Members))
	switch {
	case !s.Formed:
		return line + ", not formed yet"
	case s.Quorum.HasQuorum && s.Quorum.Leader != "":
		return line + fmt.Sprintf(", quorum led by %s (term %d)", s.Quorum.Leader, s.Quorum.Term)
	case 2*voters <= len(s.Quorum.Voters):
		return line + fmt.Sprintf(", no majority: %d of %d voters (%s)", voters, len(s.Quorum.Voters), strings.Join(s.Quorum.Voters, ", "))
	}
	return line + ", electing a quorum leader"
}
