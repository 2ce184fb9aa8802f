package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cistern/agent/status"
)

const siteDrainHelp = `Drain-node moves every leadership away from a gateway, so that stopping it keeps
no device waiting. It keeps its copies and goes on taking records for others. The
order stands until it is undone, also over restarts.

    $ cistern site drain-node gateway-2
    $ cistern site drain-node gateway-2 --undo

A leadership moves where another copy is in sync; the command waits a while for
that and exits with 1 when some could not move.
`

const siteRemoveHelp = `Remove makes the site forget a gateway for good: its copies are given to others
at once, rather than after replace_after. It has to be stopped. Started again it
stays out, and says so, until "site forget" was run there. What only it had
confirmed and the others don't have stays on its flash.

    $ cistern site remove gateway-2
`

const siteApplyHelp = `Apply makes the streams that the running agent was started with those of the
site: change them in its configuration, restart it, apply. Until then the site
keeps to what it was told first, so that a gateway with an old file can't undo a
change. The number of partitions stays as it is, since the order of a device's
records would break; so do streams that the file does not name.

    $ cistern config check /etc/cistern/cistern.toml
    $ systemctl restart cistern
    $ cistern site apply
`

// drainWait is how long leaderships are given to move.
const (
	drainWait = 15 * time.Second
	drainPoll = 100 * time.Millisecond
)

func newSiteDrain() *cobra.Command {
	var where place
	var undo bool
	c := &cobra.Command{
		Use:  "drain-node NAME",
		Long: siteDrainHelp,
		Args: arguments(1, 1, "one NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			agent, _, err := where.member(c, args[0])
			if err != nil {
				return err
			}
			if err := agent.DrainNode(c.Context(), args[0], !undo); err != nil {
				return err
			}
			if undo {
				_, err = fmt.Fprintf(c.OutOrStdout(), "%s may lead again\n", args[0])
				return err
			}
			if err := waitDrained(c.Context(), agent, args[0], ledBy(args[0])); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s leads nothing now and can be stopped\n", args[0])
			return err
		},
	}
	where.agentFlags(c)
	c.Flags().BoolVar(&undo, "undo", false, "let it lead again")
	return c
}

// ledBy counts what a gateway leads.
func ledBy(name string) func(*status.Document) int {
	return func(d *status.Document) int {
		if d.Site == nil || d.Site.Member(name) == nil {
			return 0
		}
		return d.Site.Member(name).Leads
	}
}

// leadsForOthers counts the partitions that a gateway leads and another has in full:
// what it keeps alone has to wait for it.
func leadsForOthers(d *status.Document, name string) (n int) {
	if d.Site == nil {
		return 0
	}
	for _, st := range d.Streams {
		for i := range st.Partitions {
			p := &st.Partitions[i]
			if p.Leader == name && slices.ContainsFunc(p.ISR, func(other string) bool {
				m := d.Site.Member(other)
				return other != name && m != nil && !m.Fenced && !m.Draining
			}) {
				n++
			}
		}
	}
	return n
}

// waitDrained returns when a gateway leads nothing any more of what count counts.
func waitDrained(called context.Context, agent *status.Client, name string, count func(*status.Document) int) error {
	ctx, cancel := context.WithTimeout(called, drainWait)
	defer cancel()
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	for leads := 0; ; {
		d, err := agent.Status(ctx)
		switch {
		case ctx.Err() == nil && err != nil:
			return err
		case err == nil:
			if leads = count(d); leads == 0 {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			if called.Err() != nil {
				return hinted(fmt.Errorf("%s still leads %s", name, plural(leads, "partition")), "the order stands; --undo takes it back")
			}
			return hinted(fmt.Errorf("%s still leads %s that nobody else is in sync with", name, plural(leads, "partition")),
				"they move as soon as another copy is; `cistern partitions` shows them")
		case <-tick.C:
		}
	}
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

func newSiteRemove() *cobra.Command {
	var where place
	c := &cobra.Command{
		Use:  "remove NAME",
		Long: siteRemoveHelp,
		Args: arguments(1, 1, "one NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			agent, m, err := where.member(c, args[0])
			if err != nil {
				return err
			}
			if m.State == status.MemberAlive {
				return hinted(fmt.Errorf("%s is alive and would join again", m.Name), "stop its agent first")
			}
			if err := agent.RemoveMember(c.Context(), args[0]); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s is removed; its copies are given to others\n", args[0])
			return err
		},
	}
	where.agentFlags(c)
	return c
}

// member returns the running agent, and what it knows of that gateway.
func (p *place) member(c *cobra.Command, name string) (*status.Client, *status.Member, error) {
	agent, err := p.agent()
	if err != nil {
		return nil, nil, err
	}
	d, err := agent.Status(c.Context())
	switch {
	case err != nil:
		return nil, nil, err
	case d.Site == nil:
		return nil, nil, status.ErrAlone
	}
	if m := d.Site.Member(name); m != nil {
		return agent, m, nil
	}
	var names []string
	for _, m := range d.Site.Members {
		names = append(names, m.Name)
	}
	return nil, nil, hinted(fmt.Errorf("the site has no gateway %q", name), "it has "+strings.Join(names, ", "))
}

func newSiteApply() *cobra.Command {
	var where place
	c := &cobra.Command{
		Use:  "apply",
		Long: siteApplyHelp,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			agent, err := where.agent()
			if err != nil {
				return err
			}
			streams, err := agent.ApplyStreams(c.Context())
			if err != nil {
				return err
			}
			line := "the site has it all already"
			if len(streams) > 0 {
				line = "changed: " + strings.Join(streams, ", ")
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), line)
			return err
		},
	}
	where.agentFlags(c)
	return c
}
