package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

const rootHelp = `Cistern keeps what devices publish over MQTT on flash, confirms it when it is
there, and drains it to a central Kafka cluster once, in order.

A gateway needs no configuration:

    $ cistern run
    $ mosquitto_pub -q 1 -t plant/line3/temp -m '{"c":71.3}'
    $ cistern tail 'plant/#' --from beginning
    $ cistern status

To make it yours, begin with the sample, which shows every key:

    $ cistern config > cistern.toml
    $ cistern config check cistern.toml
    $ cistern run --config cistern.toml

Commands:

    run         start the gateway
    status      how the running gateway is doing
    tail        show committed records as they come
    site        the gateways of a site, and orders to them
    partitions  who leads each partition, who keeps copies
    drain       how records get to the centre; pause, resume, skip
    export      write records as files, to carry them by hand
    import      give the records of an export to the gateway
    board       what this machine has beside processor and network
    config      print the sample configuration, or check a file
    user        make and remove the users of a password file
    dump        show what the journal's files hold
    check       verify every byte of a store
    update      put another version on a gateway that runs from an image
    version     say which version this is

"cistern help COMMAND" tells more about each.

What asks a running gateway of a site can be asked from any machine that reaches
its site port, with the key of its site. Whoever holds the site's key is an
operator: keep it where you would keep a root password.

    $ cistern status --gateway 10.0.0.11 --key-file site.key

Exit status: 0 done; 1 failed; 2 wrong flags, arguments or configuration; 3 no
agent is running there; 4 check found damage.
`

// help shows prose first and flags below it. A function, not one of cobra's
// templates: those keep the linker from leaving out unused methods, which is
// megabytes on flash.
func help(c *cobra.Command, _ []string) {
	out := c.OutOrStdout()
	fmt.Fprint(out, c.Long)
	if c.HasAvailableLocalFlags() {
		fmt.Fprintf(out, "\nFlags:\n\n%s", c.LocalFlags().FlagUsages())
	}
}

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, s streams) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	return report(s.err, root.ExecuteContext(ctx))
}

// buildTagged are commands that only a build with tags of its own has.
var buildTagged []func() *cobra.Command

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:               "cistern",
		Long:              rootHelp,
		Version:           fullVersion(),
		Args:              cobra.ArbitraryArgs, // so that unknown commands come to unknownCommand
		RunE:              unknownCommand,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetHelpFunc(help)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage("see `"+c.CommandPath()+" --help`", "%w", err)
	})
	root.AddCommand(newRun(), newConfig(), newStatus(), newTail(), newSite(), newPartitions(),
		newDrain(), newExport(), newImport(), newUser(), newDump(), newCheck(), newUpdate(), newBoard(), newVersion())
	for _, more := range buildTagged {
		root.AddCommand(more())
	}
	return root
}

// unknownCommand answers a bare `cistern` with the help, and a misspelled
// command with the one that was meant.
func unknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	hint := "see `cistern help`"
	c.SuggestionsMinimumDistance = 2
	if s := c.SuggestionsFor(args[0]); len(s) > 0 {
		hint = "did you mean `cistern " + s[0] + "`?"
	}
	return usage(hint, "unknown command %q", args[0])
}

// arguments holds a command to between low and high arguments.
func arguments(low, high int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) >= low && len(args) <= high {
			return nil
		}
		return usage("see `"+c.CommandPath()+" --help`", "%s takes %s", c.CommandPath(), what)
	}
}
