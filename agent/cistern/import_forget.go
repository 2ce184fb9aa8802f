package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"cistern/bridge/export"
)

// forgetFlags are those of an import that shall be forgotten.
type forgetFlags struct{ this, all, yes bool }

func (f *forgetFlags) flags(c *cobra.Command) {
	c.Flags().BoolVar(&f.this, "forget", false, "have the gateway forget what it took of DIR")
	c.Flags().BoolVar(&f.all, "forget-all", false, "have the gateway forget what it took of all exports")
	c.MarkFlagsMutuallyExclusive("forget", "forget-all")
	yesFlag(c, &f.yes)
}

// forget has the gateway forget one export, or all.
func (f *forgetFlags) forget(c *cobra.Command, where *place, args []string) error {
	id, what := "", "any export that was imported here"
	if f.this {
		m, err := export.ReadManifest(args[0])
		if err != nil {
			return err
		}
		id, what = m.ID, args[0]
	}
	agent, err := where.agent()
	if err != nil {
		return err
	}
	fmt.Fprintf(c.ErrOrStderr(), "The gateway will not know that it took %s: imported again, the records would be stored and drained a second time.\n", what)
	if err := confirm(c, "forget", f.yes); err != nil {
		return err
	}
	n, err := agent.Forget(c.Context(), id)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "forgotten: imports of %s\n", plural(n, "partition"))
	return err
}
