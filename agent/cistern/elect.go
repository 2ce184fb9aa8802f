package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"cistern/agent/status"
	"cistern/gossip/metadata"
)

const electHelp = `Elect makes another gateway lead a partition: the one that --to names, else the
one that is best. It has to be in sync, so that nothing is lost.

    $ cistern partitions elect mqtt/3 --to gateway-2

When every gateway that was in sync is gone for good, --unclean lets one lead that
does not have everything. What only the others had is given up, although devices
were told that it is safe; the command says which offsets those are, and asks. If
one of the others might come back, wait for it instead.

    $ cistern partitions elect mqtt/3 --unclean
`

func newElect() *cobra.Command {
	var where place
	var o status.ElectOrder
	var yes bool
	c := &cobra.Command{
		Use:  "elect STREAM/PARTITION",
		Long: electHelp,
		Args: arguments(1, 1, "one STREAM/PARTITION"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parsePartition(args[0])
			if err != nil {
				return err
			}
			agent, err := where.agent()
			if err != nil {
				return err
			}
			o.Stream, o.Partition = id.Stream, id.Partition
			return elect(c, agent, id, o, yes)
		},
	}
	where.agentFlags(c)
	c.Flags().StringVar(&o.To, "to", "", "the gateway `NAME` that shall lead")
	c.Flags().BoolVar(&o.Unclean, "unclean", false, "give up what the gateways in sync had alone")
	yesFlag(c, &yes)
	return c
}

// elect asks what an unclean election would cost before it orders one, and
// orders a clean one where that is possible after all.
func elect(c *cobra.Command, agent *status.Client, id metadata.PartitionID, o status.ElectOrder, yes bool) error {
	if o.Unclean {
		would := o
		would.Try = true
		a, err := agent.Elect(c.Context(), would)
		if err != nil {
			return err
		}
		if a.GivenUp == "" {
			o.Unclean = false
		} else {
			who := a.Leader
			if who == "" {
				who = "the best that is left"
			}
			fmt.Fprintf(c.ErrOrStderr(), "%s will lead %s. Given up for good: %s.\n", who, id, printable(a.GivenUp))
			if err := confirm(c, id.String(), yes); err != nil {
				return err
			}
			o.To = a.Leader // the one whose price was shown
		}
	}
	a, err := agent.Elect(c.Context(), o)
	if err != nil {
		return err
	}
	line := fmt.Sprintf("%s leads %s now", a.Leader, id)
	if a.GivenUp != "" {
		line += "; given up: " + printable(a.GivenUp)
	}
	_, err = fmt.Fprintln(c.OutOrStdout(), line)
	return err
}
