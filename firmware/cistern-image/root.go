package main

import (
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"cistern/firmware/image"
)

const rootHelp = `Cistern-image prepares the cards of gateways.

    $ cistern-image new plant-7                  # a site's folder: edit what is in it
    $ cistern-image build --config plant-7/cistern.toml
    $ cistern-image flash build/cistern-VERSION-pi.img /dev/sdX --gateway hall-1.toml

Later, from a newer source tree:

    $ cistern-image update --key plant-7/update.key
`

// streams are the command's standard files; tests give others.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func newRoot(s streams, args []string) *cobra.Command {
	c := &cobra.Command{
		Use:           "cistern-image",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	c.CompletionOptions.DisableDefaultCmd = true
	c.SetIn(s.in)
	c.SetOut(s.out)
	c.SetErr(s.err)
	c.SetArgs(args)
	c.AddCommand(newNew(), newBuild(), newUpdate(), newKeygen(), newGateway(), newFlash(), newShow())
	return c
}

// tree is where the source is, and what of it is built.
type tree struct{ source, cache, version string }

func (t *tree) flags(c *cobra.Command) {
	c.Flags().StringVar(&t.source, "source", "", "Cistern's source tree `FOLDER` (default: the one this runs in)")
	c.Flags().StringVar(&t.cache, "cache", "", "keep downloads and programs in this `FOLDER` (default build/image in the source tree)")
	c.Flags().StringVar(&t.version, "version", "", "the system's `VERSION` (default: what git says)")
}

func (t *tree) find(c *cobra.Command) (image.Source, error) {
	from := t.source
	if from == "" {
		var err error
		if from, err = os.Getwd(); err != nil {
			return image.Source{}, err
		}
	}
	root, err := image.FindRoot(from)
	if err != nil {
		return image.Source{}, err
	}
	if t.cache == "" {
		t.cache = filepath.Join(root, "build", "image")
	}
	if err := os.MkdirAll(t.cache, 0o755); err != nil {
		return image.Source{}, err
	}
	return image.FindSource(c.Context(), root, t.version)
}
