package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"cistern/agent/config"
	"cistern/gossip/metadata"
	"cistern/gossip/quorum"
	"cistern/segstore"
)

const siteRecoverHelp = `Recover is for a site that has lost the majority of its voters for good, so that
it can't agree on anything any more. It makes this gateway the only one that votes,
of a site with the same records and a new id. The agent must be stopped.

First look, on every gateway that is left, and choose the one that shows the
highest term and, of those, the highest log entry:

    $ cistern site recover --config cistern.toml --dry-run

There, and nowhere else:

    $ cistern site recover --config cistern.toml

It says what it will do, and which partitions have no copy here that was in sync,
and asks. On every other gateway that is left, before it is started again:

    $ cistern site forget --config cistern.toml

Never do this to get around a majority that is only out of reach: it goes on, and
there are two sites then, which keep apart (SITE_CONFLICT).
`

// quorumFolder is where a gateway's data folder has what its site agreed on.
const quorumFolder = "quorum"

// stopped is a member of a site whose agent does not run.
type stopped struct {
	config config.Config
	dir    string // of the quorum
}

// stopped opens the data folder that the flags name.
func (p *place) stopped() (*stopped, error) {
	c, err := p.existing()
	if err != nil {
		return nil, err
	}
	if c.Gateway.Name == "" {
		if c.Gateway.Name, err = os.Hostname(); err != nil {
			return nil, err
		}
	}
	n, err := segstore.Inspect(c.Gateway.Data)
	if err != nil {
		return nil, hinted(err, "name the gateway's configuration with --config")
	}
	if n.InUse {
		return nil, hinted(errors.New("an agent is running on this store"), "stop it first")
	}
	return &stopped{c, filepath.Join(c.Gateway.Data, quorumFolder)}, nil
}

// inspect reads what the gateway knows of its site.
func (s *stopped) inspect() (*quorum.Report, error) {
	r, err := quorum.Inspect(s.dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && r.LogIndex == 0 {
		return nil, hinted(fmt.Errorf("the gateway in %s is part of no site", s.config.Gateway.Data), "choose another gateway that is left")
	}
	return &r, err
}

func newSiteRecover() *cobra.Command {
	var where place
	var yes, dry bool
	c := &cobra.Command{
		Use:  "recover",
		Long: siteRecoverHelp,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := where.stopped()
			if err != nil {
				return err
			}
			r, err := s.inspect()
			if err != nil {
				return err
			}
			self, err := s.self(r)
			if err != nil {
				return err
			}
			fmt.Fprint(c.OutOrStdout(), s.plan(r, self))
			if dry {
				return nil
			}
			if err := confirm(c, s.config.Gateway.Site, yes); err != nil {
				return err
			}
			done, err := quorum.Recover(s.dir, self)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "The site has the id %s now, and %s as its only voter. Start the agent.\n", done.NewSite, self.Name)
			return err
		},
	}
	where.flags(c)
	c.Flags().BoolVar(&dry, "dry-run", false, "say what would be done, and change nothing")
	yesFlag(c, &yes)
	return c
}

// self is this gateway as a voter. Its address is the one it had: who it is
// must not change by the way.
func (s *stopped) self(r *quorum.Report) (quorum.Server, error) {
	name := s.config.Gateway.Name
	for _, x := range r.Servers {
		if x.Name == name {
			return x, nil
		}
	}
	for _, m := range r.Members {
		if m.Name == name {
			return quorum.Server{Name: name, Address: m.Address}, nil
		}
	}
	var names []string
	for _, x := range r.Servers {
		names = append(names, x.Name)
	}
	return quorum.Server{}, hinted(fmt.Errorf("the site has no gateway %q", name),
		"it has "+strings.Join(names, ", ")+"; name this gateway's configuration with --config")
}

// plan says in words what Recover will do, and at what price.
func (s *stopped) plan(r *quorum.Report, self quorum.Server) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s knows the site %s (id %s) up to log entry %d of term %d.\n", self.Name, s.config.Gateway.Site, dash(r.Site), r.LogIndex, r.Term)
	var voters []string
	for _, x := range r.Servers {
		if x.Voter {
			voters = append(voters, x.Name)
		}
	}
	fmt.Fprintf(&b, "Voters were %s; %s alone will be, of a site with a new id.\n", strings.Join(voters, ", "), self.Name)
	b.WriteString("What the site agreed on later, without this gateway, is forgotten.\n")
	lost := r.Lost([]string{self.Name})
	total := 0
	for _, st := range r.Image.Streams {
		total += len(st.Partitions)
	}
	fmt.Fprintf(&b, "\nIn sync here, and going on: %d of %s.\n", total-len(lost), plural(total, "partition"))
	if len(lost) > 0 {
		b.WriteString("These were not, and wait for one of the gateways behind them:\n\n")
		var t table
		t.left = []int{1}
		for _, id := range lost {
			t.row("    "+id.String(), strings.Join(inSync(r.Image, id), ", "))
		}
		t.write(&b)
		b.WriteString("\nIf none of those comes back, `cistern partitions elect --unclean` goes on without\nthem: what only they had is lost, although devices were told that it is safe.\n")
	}
	b.WriteString("\nOther gateways that are left need `cistern site forget` before they are started.\n\n")
	return b.String()
}

// inSync names who had everything of a partition at last.
func inSync(img *metadata.Image, id metadata.PartitionID) (names []string) {
	p := img.Partition(id)
	nodes := p.ISR
	if len(nodes) == 0 {
		nodes = p.LastISR
	}
	for _, n := range nodes {
		if m, ok := img.Members[n]; ok {
			names = append(names, m.Name)
		} else {
			names = append(names, fmt.Sprintf("removed gateway %d", n))
		}
	}
	return names
}
