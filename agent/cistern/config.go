package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"cistern/agent"
	"cistern/agent/config"
)

const configHelp = `Config prints a sample configuration: every key with its meaning and its default.
What stands behind a single # is the default, so that taking the # away changes
nothing.

    $ cistern config > cistern.toml

"config check" reads a file the way "run" would, and names everything that is
wrong with it, with line and column:

    $ cistern config check cistern.toml
    cistern.toml is fine
`

const configCheckHelp = `Check reads a configuration the way "run" would, without starting anything, and
names everything that is wrong with it: line, column, key, what is allowed. The
files with secrets have to be there and be private.

    $ cistern config check /etc/cistern/cistern.toml

With --overlay it reads both files the way "run --overlay" would:

    $ cistern config check cistern.toml --overlay gateway.toml
    cistern.toml with gateway.toml is fine
`

func newConfig() *cobra.Command {
	c := &cobra.Command{
		Use:  "config",
		Long: configHelp,
		Args: arguments(0, 0, "no arguments, or: config check FILE"),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := io.WriteString(c.OutOrStdout(), config.Sample)
			return err
		},
	}
	c.AddCommand(newConfigCheck())
	return c
}

func newConfigCheck() *cobra.Command {
	overlay := ""
	c := &cobra.Command{
		Use:  "check FILE",
		Long: configCheckHelp,
		Args: arguments(1, 1, "one FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			conf, err := config.Load(args[0], overlay)
			if err != nil {
				return err
			}
			name := args[0]
			if overlay != "" {
				name += " with " + overlay
			}
			if err := agent.Check(conf); err != nil {
				return usage("", "%s: %w", name, err)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s is fine\n", name)
			return err
		},
	}
	overlayFlag(c, &overlay)
	return c
}

func overlayFlag(c *cobra.Command, overlay *string) {
	c.Flags().StringVar(overlay, "overlay", "", "lay the single keys of this `FILE` over the configuration's")
}

// place is how a command finds its gateway.
type place struct {
	config, overlay, data, socket string
	remote                        remote
}

func (p *place) flags(c *cobra.Command) {
	c.Flags().StringVar(&p.config, "config", "", "read this configuration `FILE`")
	overlayFlag(c, &p.overlay)
	c.Flags().StringVar(&p.data, "data", "", "the gateway's data `FOLDER` (default ./cistern-data)")
}

// load reads the configuration these flags name; the data folder given wins
// over the file's.
func (p *place) load() (config.Config, error) {
	c, err := config.Load(p.config, p.overlay)
	if err != nil {
		return c, err
	}
	if p.data != "" {
		c.Gateway.Data = p.data
	}
	return c, nil
}

// packagedConfig is what the service of a package runs with.
var packagedConfig = "/etc/cistern/cistern.toml"

// existing is load for commands about a gateway that is there already. When
// neither a flag nor a folder here names one, it is that of the package.
func (p *place) existing() (config.Config, error) {
	if p.config == "" && p.data == "" {
		_, hereErr := os.Stat(config.Default().Gateway.Data)
		_, packagedErr := os.Stat(packagedConfig)
		// Whoever may not even look is told so when the file is read.
		if errors.Is(hereErr, fs.ErrNotExist) && !errors.Is(packagedErr, fs.ErrNotExist) {
			p.config = packagedConfig
		}
	}
	return p.load()
}

// findSocket returns where the running agent answers.
func (p *place) findSocket() (string, error) {
	if p.socket != "" {
		return p.socket, nil
	}
	c, err := p.existing()
	if err != nil {
		return "", err
	}
	return c.SocketPath()
}
