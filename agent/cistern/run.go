package main

import (
	"errors"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"cistern/agent"
	"cistern/agent/config"
)

const runHelp = `Run starts the gateway and keeps it running until it is told to stop (Ctrl-C,
SIGTERM); it then confirms what is on its way to flash and saves where it was. A
second signal ends it at once, which loses nothing that was confirmed.

    $ cistern run

Without a configuration it listens for MQTT on 127.0.0.1:1883, keeps its data in
./cistern-data and has no uplink: it buffers. With one:

    $ cistern run --config /etc/cistern/cistern.toml

Many gateways can share one configuration. What is one gateway's own, such as its
name or its zone, stands in a small second file whose keys win over the first's:

    $ cistern run --config cistern.toml --overlay gateway.toml

The log goes to stderr. As a systemd service use Type=notify.
`

func newRun() *cobra.Command {
	var where place
	c := &cobra.Command{
		Use:  "run",
		Long: runHelp,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := where.load()
			if err != nil {
				return err
			}
			err = agent.Run(c.Context(), conf, fullVersion(), newLog(c.ErrOrStderr(), conf.Log))
			if errors.Is(err, agent.ErrInUse) {
				return hinted(err, "`cistern status` shows it; to run a second one give it its own --data and its own addresses")
			}
			return err
		},
	}
	where.flags(c)
	return c
}

// newLog writes the log as the configuration says, which has been checked.
func newLog(w io.Writer, c config.Log) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level))
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
