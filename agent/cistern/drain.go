package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cistern/agent/status"
)

const drainHelp = `Drain shows how records get from the running gateway to the centre: where each
partition goes, how far it is, what is left, and what holds it up.

    $ cistern drain
    $ cistern drain --watch
    $ cistern drain --until-empty && poweroff

With --watch it is shown again each second, with the rate and the time that is left
at that rate: "unknown" while nothing moves, or while as much comes in as goes out.
Ctrl-C ends it. With --until-empty it ends by itself, with 0, when nothing is left.
With --json each look is one line.

Orders to the drain:

    $ cistern drain pause mqtt/3
    $ cistern drain resume mqtt/3
    $ cistern drain skip mqtt/3 --to 4711

On a site each partition is drained by one gateway; others name it.
`

// watchEvery is the time between two looks.
const watchEvery = time.Second

// drainView is how `cistern drain` shows what it sees.
type drainView struct {
	json, watch, untilEmpty bool
	meter                   drainMeter
}

func newDrain() *cobra.Command {
	var where place
	v := &drainView{meter: drainMeter{now: time.Now}}
	c := &cobra.Command{
		Use:  "drain",
		Long: drainHelp,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("allowed are pause, resume, skip", "unknown command %q", "drain "+args[0])
			}
			agent, err := where.agent()
			if err != nil {
				return err
			}
			return v.run(c, agent)
		},
	}
	where.agentFlags(c)
	c.Flags().BoolVar(&v.watch, "watch", false, "show it again each second")
	c.Flags().BoolVar(&v.untilEmpty, "until-empty", false, "go on until nothing is left, then exit with 0")
	c.Flags().BoolVar(&v.json, "json", false, "print JSON, a line for each look")
	c.AddCommand(newDrainPause(), newDrainResume(), newDrainSkip())
	return c
}

func (v *drainView) run(c *cobra.Command, agent *status.Client) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	out := c.OutOrStdout()
	screen := (v.watch || v.untilEmpty) && !v.json && onTerminal(out)
	for {
		d, err := agent.Status(c.Context())
		if c.Context().Err() != nil {
			return v.ended()
		}
		if err != nil {
			return err
		}
		if d.Uplink.State == "none" && d.Site == nil {
			return status.ErrNoUplink
		}
		look := v.meter.look(d)
		if err := v.show(out, d, look, screen); err != nil {
			return err
		}
		if !v.watch && !v.untilEmpty {
			return nil
		}
		if v.untilEmpty && look.left == 0 {
			return look.elsewhere()
		}
		select {
		case <-c.Context().Done():
			return v.ended()
		case <-tick.C:
		}
	}
}

// ended is what Ctrl-C means: the end of a look, or of a wait in vain.
func (v *drainView) ended() error {
	if v.untilEmpty {
		return errors.New("broken off before everything was drained")
	}
	return nil
}

func (v *drainView) show(w io.Writer, d *status.Document, look *drainLook, screen bool) error {
	var b strings.Builder
	switch {
	case v.json:
		return writeLine(w, look.json(d))
	case screen:
		showDrain(&b, newPaint(w), d, look, true)
		return redraw(w, b.String())
	case v.watch || v.untilEmpty: // piped: a line for each look
		fmt.Fprintln(&b, look.line(d))
	default:
		showDrain(&b, newPaint(w), d, look, false)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// redraw replaces what a terminal shows, without the flicker of clearing it.
func redraw(w io.Writer, text string) error {
	lines := strings.ReplaceAll(text, "\n", "\x1b[K\n")
	_, err := io.WriteString(w, "\x1b[H"+lines+"\x1b[J")
	return err
}

// onTerminal reports whether a person looks at what is written.
func onTerminal(w io.Writer) bool {
	f, isFile := w.(*os.File)
	return isFile && os.Getenv("TERM") != "dumb" && isTerminal(f)
}
