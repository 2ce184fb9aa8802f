package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"cistern/gossip/quorum"
)

const siteForgetHelp = `Forget lets a gateway leave the site it knows: it joins the next one that it
finds as a gateway that knows nothing. Its records stay. It is needed on the
gateways that remain after "site recover" was run on one of them, and on one that
was removed and shall join again. The agent must be stopped.

    $ cistern site forget --config cistern.toml
`

func newSiteForget() *cobra.Command {
	var where place
	var yes bool
	c := &cobra.Command{
		Use:  "forget",
		Long: siteForgetHelp,
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
			fmt.Fprintf(c.OutOrStdout(), "%s will leave the site %s (id %s) and join the next one it finds. Its records stay.\n",
				s.config.Gateway.Name, s.config.Gateway.Site, dash(r.Site))
			if err := confirm(c, s.config.Gateway.Name, yes); err != nil {
				return err
			}
			if err := quorum.Forget(s.dir); err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), "Done. Start the agent.")
			return err
		},
	}
	where.flags(c)
	yesFlag(c, &yes)
	return c
}
