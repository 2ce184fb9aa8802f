package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"cistern/firmware/image"
	"cistern/firmware/slot"
)

const buildHelp = `Build makes the image of a card: two slots with the same system, a small partition
with the configuration, and room for the data, which grows to the card's size when
the gateway first starts.

    $ cistern-image build --board pi --config plant-7/cistern.toml

Everything in the folder of the configuration goes onto the card, but not update.key.
With an update.pub in it the gateways take updates that are signed with its key;
without one they take none. What pi-config.txt says is added to the Pi's config.txt.
`

type buildOptions struct {
	tree
	board, config, out string
}

func newBuild() *cobra.Command {
	o := buildOptions{}
	c := &cobra.Command{
		Use:  "build",
		Long: buildHelp,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c) },
	}
	o.tree.flags(c)
	c.Flags().StringVar(&o.board, "board", slot.BoardPi, "the `BOARD`: pi (3, 4, 5, CM3 to CM5, Zero 2 W) or qemu")
	c.Flags().StringVar(&o.config, "config", "", "the site's cistern.toml `FILE`; without it the gateway listens on itself only")
	c.Flags().StringVar(&o.out, "out", "", "write the image to this `FILE` (default build/cistern-VERSION-BOARD.img)")
	return c
}

func (o *buildOptions) options(c *cobra.Command) (image.Options, error) {
	source, err := o.find(c)
	return image.Options{
		Source: source, Board: o.board, Cache: o.cache,
		Log: func(s string) { fmt.Fprintln(c.ErrOrStderr(), s) },
	}, err
}

func (o *buildOptions) run(c *cobra.Command) error {
	ctx := c.Context()
	options, err := o.options(c)
	if err != nil {
		return err
	}
	if options.Site, err = image.ReadSite(o.config); err != nil {
		return err
	}
	if o.config != "" {
		options.Log("checking " + o.config)
		if err := options.Source.Check(ctx, o.cache, o.config, options.Site); err != nil {
			return err
		}
	}
	system, err := image.Build(ctx, options)
	if err != nil {
		return err
	}
	parts, err := image.FindParts(ctx, options.Source.Root)
	if err != nil {
		return err
	}
	if o.out == "" {
		o.out = o.path(options.Source.Root, system.Release, ".img")
	}
	if err := image.WriteCard(ctx, o.out, system, options.Site, parts, options.Source.Seconds); err != nil {
		return err
	}
	return o.tell(c.OutOrStdout(), system, options.Site)
}

func (o *buildOptions) path(root string, r slot.Release, ext string) string {
	return filepath.Join(root, "build", fmt.Sprintf("cistern-%s-%s%s", r.Version, r.Board, ext))
}

// tell says what was made, and what it lacks.
func (o *buildOptions) tell(w io.Writer, s image.System, site image.Site) error {
	sum, err := sumFile(o.out)
	if err != nil {
		return err
	}
	r := s.Release
	fmt.Fprintf(w, "%s\n  version %s, board %s, build %.12s, slot %d of %d MiB\n  sha256 %s\n",
		o.out, r.Version, r.Board, r.Build, len(s.Image)>>20, slot.SlotBytes>>20, sum)
	if site.Configured() {
		fmt.Fprintf(w, "  configuration: %s\n", strings.Join(site.Names(), ", "))
	} else {
		fmt.Fprintln(w, "  no configuration (--config): the gateway listens for MQTT on itself only, and buffers")
	}
	if site.Public() == nil {
		fmt.Fprintf(w, "  takes no updates: no %s beside the configuration (cistern-image keygen)\n", slot.PublicFile)
	}
	return nil
}

func sumFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}
