package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cistern/agent/status"
	"cistern/firmware/machine"
)

const siteUpdateHelp = `Update brings every gateway of the site to the version in FILE, one at a time.

    $ cistern site update cistern-1.3-pi.update --gateway 10.0.0.11 --key-file site.key --dry-run
    $ cistern site update cistern-1.3-pi.update --gateway 10.0.0.11 --key-file site.key

It goes zone by zone, and the gateway that it talks through comes last. Before each
one all gateways have to be there and every copy in sync, so that never two are
out, of a zone or of the site. Each one gets the update, hands over what it leads,
boots on trial, and has to be good and in sync again before the next one begins.

At the first one that goes wrong it stops. The same command goes on where it
stopped: gateways that run the version already are left out, as are those of
another board and those that run from no image. With --dry-run it shows the order,
and exits with 1 if something is in the way. What may be over in a moment is waited
for: up to 30 s before it begins, and longer on the way.

It asks every gateway itself, by its site port: this machine has to reach them all.
`

func newSiteUpdate() *cobra.Command {
	var where place
	var dry bool
	c := &cobra.Command{
		Use:  "update FILE",
		Long: siteUpdateHelp,
		Args: arguments(1, 1, "one FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			file, err := readUpdate(args[0])
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), file)
			w := &walk{file: file, progress: newProgress(c)}
			dialer, err := where.dialer()
			if err != nil {
				return err
			}
			here, err := where.agent()
			if err != nil {
				return err
			}
			if err := w.plan(c.Context(), here, dialer.Dial, planMax); err != nil {
				return err
			}
			if err := w.show(c.OutOrStdout()); err != nil {
				return err
			}
			if w.trouble != "" {
				return hinted(fmt.Errorf("not now: %s", w.trouble), "nothing was changed; every gateway has to be there and every copy in sync: `cistern site`, `cistern partitions`")
			}
			if dry {
				return nil
			}
			return w.run(c.Context())
		},
	}
	where.agentFlags(c)
	c.Flags().BoolVar(&dry, "dry-run", false, "show the order, and change nothing")
	return c
}

// stop is a gateway on the way.
type stop struct {
	name    string
	zone    string
	version string
	drained bool // before we came, on an operator's word
	agent   *status.Client
	skip    string // why it is left out; "" is not
}

// dial reaches a gateway's site port.
type dial = func(ctx context.Context, address, protocol string) (net.Conn, error)

// plan asks every gateway of the site what it runs, and puts them in order. What may be
// over in a moment (somebody is suspected, a copy is a batch behind) is waited for.
func (w *walk) plan(ctx context.Context, here *status.Client, to dial, waitMax time.Duration) error {
	deadline := time.Now().Add(waitMax)
	for said := false; ; said = true {
		lasts, err := w.planNow(ctx, here, to)
		if err != nil || w.trouble == "" || lasts || !time.Now().Before(deadline) {
			return err
		}
		if !said {
			w.progress.say("waiting up to %s: %s", humanAge(waitMax), w.trouble)
		}
		if pause(ctx, askEvery) != nil {
			return fmt.Errorf("broken off while waiting for the site: %s", w.trouble)
		}
	}
}

// planNow is plan by one look. What is in the way lasts when a moment does not end it.
func (w *walk) planNow(ctx context.Context, here *status.Client, to dial) (lasts bool, err error) {
	d, err := here.Status(ctx)
	if err != nil {
		return false, err
	}
	if d.Site == nil {
		return false, hinted(status.ErrAlone, "`cistern update apply` updates a single gateway")
	}
	w.stops, w.trouble = nil, siteTrouble(d, nil)
	lasts = !d.Site.Formed || slices.ContainsFunc(d.Site.Members, func(m status.Member) bool {
		return m.State == status.MemberDead || m.State == status.MemberLeft
	})
	for _, m := range inOrder(d.Site.Members) {
		s := &stop{name: m.Name, zone: m.Zone, drained: m.Draining, agent: here}
		if !m.Self {
			s.agent = status.NewRemoteClient(m.Address, to)
		}
		if err := w.look(ctx, s, m.State); err != nil {
			return false, err
		}
		w.stops = append(w.stops, s)
	}
	return lasts, nil
}

// inOrder goes zone by zone: copies of a partition lie in different zones, so the
// gateway that is out and the one that was out before it share few. The gateway
// that we talk through comes last, and with it its zone.
func inOrder(members []status.Member) []status.Member {
	all := slices.Clone(members)
	last := ""
	for _, m := range all {
		if m.Self {
			last = m.Zone
		}
	}
	after := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(all, func(a, b status.Member) int {
		return cmp.Or(cmp.Compare(after(a.Zone == last), after(b.Zone == last)), cmp.Compare(a.Zone, b.Zone),
			cmp.Compare(after(a.Self), after(b.Self)), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// look finds out whether a gateway is to be updated. One that does not answer is
// trouble, which site trouble names if the site knows.
func (w *walk) look(ctx context.Context, s *stop, state string) error {
	m, err := s.agent.Machine(ctx)
	switch {
	case errors.Is(err, machine.ErrNoMachine):
		s.skip = "runs from no image: update its package"
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil && state == status.MemberAlive:
		return hinted(fmt.Errorf("%s can't be asked: %w", s.name, err), "this machine has to reach every gateway's site port; nothing was changed")
	case err != nil: // it is missing, and nothing begins before it is back
	case m.Board != w.file.Board:
		s.skip = "is a " + printable(m.Board) + ": it needs the file for its board"
	case w.file.runsOn(m) && !m.Trial:
		s.skip = "runs it already"
	}
	if m != nil {
		s.version = m.Version
		if m.Trial && !w.file.runsOn(m) { // it may go back any moment, whoever is out then
			w.trouble = cmp.Or(w.trouble, s.name+" has version "+printable(m.Version)+" on trial")
		}
	}
	return nil
}

// show prints the order.
func (w *walk) show(out io.Writer) error {
	var b strings.Builder
	t := table{left: []int{1, 2, 3}}
	t.row("", "GATEWAY", "ZONE", "RUNS", "")
	turn := 0
	for _, s := range w.stops {
		number, note := "-", s.skip
		if s.skip == "" {
			turn++
			number = fmt.Sprint(turn)
		}
		if s.drained {
			note = strings.TrimPrefix(note+"; leads nothing on an operator's word, which stands", "; ")
		}
		t.row(number, s.name, dash(printable(s.zone)), dash(printable(s.version)), note)
	}
	t.left = append(t.left, 4)
	t.write(&b)
	_, err := io.WriteString(out, b.String())
	return err
}

// siteTrouble says in a few words why no gateway may be taken out of a site now;
// "" is nothing. Every one of names has to be a member.
func siteTrouble(d *status.Document, names []string) string {
	s := d.Site
	if s == nil || !s.Formed {
		return "the site is not formed"
	}
	if !s.Quorum.HasQuorum {
		return "the site has no majority"
	}
	for _, name := range names {
		if s.Member(name) == nil {
			return name + " is gone from the site"
		}
	}
	for i := range s.Members {
		switch m := &s.Members[i]; {
		case m.State != status.MemberAlive:
			return m.Name + " is " + m.State
		case m.ID == 0:
			return m.Name + " is not registered"
		case m.Fenced:
			return m.Name + " is fenced"
		}
	}
	for _, st := range d.Streams {
		for i := range st.Partitions {
			p := &st.Partitions[i]
			switch {
			case p.Leader == "":
				return fmt.Sprintf("%s/%d has no leader", st.Name, p.Partition)
			case len(p.ISR) < len(p.Replicas):
				return fmt.Sprintf("%s/%d has %d of %d copies in sync", st.Name, p.Partition, len(p.ISR), len(p.Replicas))
			}
		}
	}
	return ""
}
