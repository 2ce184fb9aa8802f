package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cistern/agent/status"
	"cistern/gossip/metadata"
)

const drainPauseHelp = `Pause stops the drain of partitions: all, those of a stream, or one. Records are
taken in and kept as before, and leave when the drain is resumed. The order stands
until then, also over restarts and changes of who drains.

    $ cistern drain pause
    $ cistern drain pause mqtt
    $ cistern drain pause mqtt/3

What was sent a moment ago may still be confirmed.
`

const drainResumeHelp = `Resume lets a paused drain go on: of all partitions, those of a stream, or one.

    $ cistern drain resume
    $ cistern drain resume mqtt/3
`

const drainSkipHelp = `Skip gives up records of a partition that are not drained: those below an offset,
or all that are confirmed now. They will never reach the centre from here. They stay
on flash until retention takes them, and "cistern export --from" can still carry
them out.

    $ cistern drain skip mqtt/3 --to 4711
    $ cistern drain skip mqtt/3 --to end --why 'test data of the installation'

A batch goes or stays as a whole, so that it may be a few records fewer. Skip says
which records those are, and from when, and asks.
`

func newDrainPause() *cobra.Command { return pauseCommand("pause", drainPauseHelp, true) }

func newDrainResume() *cobra.Command { return pauseCommand("resume", drainResumeHelp, false) }

func pauseCommand(name, help string, on bool) *cobra.Command {
	var where place
	c := &cobra.Command{
		Use:  name + " [STREAM[/PARTITION]]",
		Long: help,
		Args: arguments(0, 1, "one STREAM or STREAM/PARTITION at most"),
		RunE: func(c *cobra.Command, args []string) error {
			o := status.PauseOrder{Partition: status.AllPartitions, On: on}
			if err := parseSelection(args, &o); err != nil {
				return err
			}
			agent, err := where.agent()
			if err != nil {
				return err
			}
			a, err := agent.PauseDrain(c.Context(), o)
			if err != nil {
				return err
			}
			if len(a.Done) > 0 {
				if _, err := fmt.Fprintf(c.OutOrStdout(), "%sd: %s\n", name, strings.Join(a.Done, ", ")); err != nil {
					return err
				}
			}
			return notHere(a.Elsewhere, name)
		},
	}
	where.agentFlags(c)
	return c
}

func parseSelection(args []string, o *status.PauseOrder) error {
	if len(args) == 0 {
		return nil
	}
	if strings.Contains(args[0], "/") {
		id, err := parsePartition(args[0])
		o.Stream, o.Partition = id.Stream, id.Partition
		return err
	}
	if err := metadata.ValidateStreamName(args[0]); err != nil {
		return usage("`cistern drain` lists partitions", "%w", err)
	}
	o.Stream = args[0]
	return nil
}

// notHere names the gateways that have to be asked.
func notHere(others []status.DrainedAt, command string) error {
	if len(others) == 0 {
		return nil
	}
	var words []string
	for _, o := range others {
		words = append(words, o.String())
	}
	return hinted(errors.New("not here: "+strings.Join(words, ", ")), "say `cistern drain "+command+"` there")
}

func newDrainSkip() *cobra.Command {
	var where place
	var to string
	var yes bool
	o := status.SkipOrder{}
	c := &cobra.Command{
		Use:  "skip STREAM/PARTITION --to OFFSET|end",
		Long: drainSkipHelp,
		Args: arguments(1, 1, "one STREAM/PARTITION"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parsePartition(args[0])
			if err != nil {
				return err
			}
			o.Stream, o.Partition = id.Stream, id.Partition
			if o.To, err = parseSkipTo(to); err != nil {
				return err
			}
			agent, err := where.agent()
			if err != nil {
				return err
			}
			return skip(c, agent, id, o, yes)
		},
	}
	where.agentFlags(c)
	c.Flags().StringVar(&to, "to", "", "the first `OFFSET` that is drained again, or end")
	c.Flags().StringVar(&o.Why, "why", "an operator's word", "the reason, for the log: a `TEXT`")
	yesFlag(c, &yes)
	return c
}

func parseSkipTo(s string) (int64, error) {
	if s == "end" {
		return status.SkipToEnd, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, usage("--to 4711 skips what lies below offset 4711, --to end all that is confirmed now", "--to is %q; needed is an offset, or end", s)
	}
	return n, nil
}

// skip asks what would be given up before it orders that, and nothing more.
func skip(c *cobra.Command, agent *status.Client, id metadata.PartitionID, o status.SkipOrder, yes bool) error {
	would := o
	would.Try = true
	a, err := agent.SkipDrain(c.Context(), would)
	if err != nil {
		return err
	}
	if a.Records <= 0 {
		return hinted(fmt.Errorf("there is nothing to skip in %s: the drain is at offset %d", id, a.First), "`cistern drain` shows where it is")
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s: %s\nwill never reach the centre from this gateway. They stay on flash until retention takes them.\n", id, spanWords(&a))
	if err := confirm(c, id.String(), yes); err != nil {
		return err
	}
	o.To = a.Next // what was shown, even if more came meanwhile
	done, err := agent.SkipDrain(c.Context(), o)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "skipped %s of %s; the drain goes on at offset %d\n", plural64(done.Records, "record"), id, done.Next)
	return err
}

// spanWords names a range of records.
func spanWords(a *status.SkipAnswer) string {
	s := fmt.Sprintf("%s, offsets %d to %d", plural64(a.Records, "record"), a.First, a.Next-1)
	if !a.FirstTime.IsZero() {
		s += ", from " + shownTime(a.FirstTime)
	}
	if !a.LastTime.IsZero() {
		s += " to " + shownTime(a.LastTime)
	}
	return s
}

func shownTime(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

func plural64(n int64, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return humanCount(n) + " " + word + "s"
}
