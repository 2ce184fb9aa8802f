package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"cistern/agent/status"
)

const updateApplyHelp = `Apply writes an update to the slot of a gateway that does not run, boots it on
trial, and waits until it is good or was rolled back.

    $ cistern update apply cistern-1.3-pi.update --gateway 10.0.0.11 --key-file site.key

The gateway checks the signature before it writes, and all of it after. It goes on
working until it is booted; then devices call it in vain for about half a minute,
and on a site the others lead. For a whole site use "cistern site update".

Ctrl-C while it is written leaves everything as it was. After that the gateway goes
on by itself; "cistern update status" tells how it ended.
`

// Limits of waiting for a gateway that was told to boot an update.
const (
	updatePoll = 500 * time.Millisecond
	// tryMax is for the agent's stop, two boots with a check of the data, and the
	// trial between them.
	tryMax = 20 * time.Minute
)

func newUpdateApply() *cobra.Command {
	var where place
	c := &cobra.Command{
		Use:  "apply FILE",
		Long: updateApplyHelp,
		Args: arguments(1, 1, "one FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			file, err := readUpdate(args[0])
			if err != nil {
				return err
			}
			agent, err := where.agent()
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), file)
			m, err := agent.Machine(c.Context())
			if err != nil {
				return err
			}
			up := &updater{name: cmp.Or(printable(m.Hostname), "the gateway"), agent: agent, file: file, progress: newProgress(c)}
			return up.apply(c.Context(), m)
		},
	}
	where.agentFlags(c)
	return c
}

// updater takes one gateway from the version it runs to that of a file.
type updater struct {
	name     string
	agent    *status.Client
	file     *updateFile
	progress *progress
	// handOver is called when the update is written, before the gateway stops; nil:
	// the gateway hands over what it leads as it stops.
	handOver func(context.Context) error
}

// apply goes on from where an earlier one was broken off.
func (u *updater) apply(ctx context.Context, m *status.Machine) error {
	switch {
	case m.Board != u.file.Board:
		return hinted(fmt.Errorf("%s is a %s; the update is for %s", u.name, printable(m.Board), u.file.Board), "there is a file for each board")
	case u.file.runsOn(m) && !m.Trial:
		u.progress.say("%s runs this version already", u.name)
		return nil
	case u.file.runsOn(m):
		return u.await(ctx, "")
	case m.Trial:
		return hinted(fmt.Errorf("%s has version %s on trial", u.name, printable(m.Version)), "wait until it is good or was rolled back: `cistern update status`")
	}
	u.progress.say("%s runs version %s from slot %s", u.name, printable(m.Version), m.Slot)
	if err := u.write(ctx, m); err != nil {
		return err
	}
	if u.handOver != nil {
		if err := u.handOver(ctx); err != nil {
			return err
		}
	}
	// The answer may be lost, since the agent stops on it.
	if err := u.agent.Reboot(ctx, true); err != nil && !errors.Is(err, status.ErrHungUp) {
		return u.brokenOff(ctx, err)
	}
	return u.await(ctx, m.BootID)
}

func (u *updater) write(ctx context.Context, m *status.Machine) error {
	meter := &sending{progress: u.progress, name: u.name, all: u.file.size}
	w, err := u.file.send(ctx, u.agent, meter.sent)
	meter.end()
	switch {
	case ctx.Err() != nil:
		return hinted(fmt.Errorf("broken off while %s was being written to", u.name),
			"nothing was changed: it goes on with version "+printable(m.Version)+", and its other slot holds nothing that boots until the command is run again")
	case err != nil:
		return hinted(fmt.Errorf("%s: %w", u.name, err), "nothing was changed: it goes on with version "+printable(m.Version))
	}
	u.progress.say("%s: written to slot %s and verified", u.name, w.Slot)
	return nil
}

// await returns when the gateway has come back from a boot of the update, good or
// not. before is the boot it was told in; "" when it is on trial already.
func (u *updater) await(called context.Context, before string) error {
	ctx, cancel := context.WithTimeout(called, tryMax)
	defer cancel()
	u.progress.say("%s: booting version %s on trial", u.name, u.file.Version)
	tick := time.NewTicker(updatePoll)
	defer tick.Stop()
	said := ""
	for {
		m, err := u.agent.Machine(ctx)
		switch {
		case err != nil || m.BootID == before: // it stops, or starts
		case u.file.runsOn(m) && m.Trial:
			if line := trialLine(m); line != said {
				said = line
				u.progress.say("%s: on trial; %s", u.name, line)
			}
		case u.file.runsOn(m):
			u.progress.say("%s: good: it runs version %s from slot %s", u.name, printable(m.Version), m.Slot)
			return nil
		case !m.Trial:
			return hinted(fmt.Errorf("%s went back to version %s: %s", u.name, printable(m.Version), lastUpdateLine(m.LastUpdate)),
				"the gateway is as it was before; its log and console say more")
		}
		select {
		case <-ctx.Done():
			return u.unknown(called, err)
		case <-tick.C:
		}
	}
}

// unknown is how a wait ends that saw neither.
func (u *updater) unknown(called context.Context, last error) error {
	if called.Err() != nil {
		return u.brokenOff(called, called.Err())
	}
	err := fmt.Errorf("%s is neither good nor rolled back after %s", u.name, humanAge(tryMax))
	if last != nil {
		err = fmt.Errorf("%w: %w", err, last)
	}
	return hinted(err, "has it come back with another address? Its console says what it does")
}

// brokenOff says what becomes of a gateway that was told to boot an update, or may
// have been.
func (u *updater) brokenOff(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return hinted(fmt.Errorf("%s: %w", u.name, err), "the update is written and was not booted; the same command begins again")
	}
	return hinted(fmt.Errorf("broken off while %s tries version %s", u.name, u.file.Version),
		"it goes on by itself, and either keeps the version or rolls it back; `cistern update status` tells which")
}
