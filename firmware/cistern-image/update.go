package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"cistern/firmware/image"
	"cistern/firmware/slot"
)

const updateHelp = `Update makes the file that brings this version to gateways that run from an image:

    $ cistern-image update --key plant-7/update.key

It is signed, and taken by gateways whose image had the update.pub beside that key.
The new system takes the same key and the same pi-config.txt, from the key's folder;
the gateways' configuration is not part of it. Then, at any gateway:

    $ cistern site update build/cistern-VERSION-pi.update
`

func newUpdate() *cobra.Command {
	o := buildOptions{}
	key := ""
	c := &cobra.Command{
		Use:  "update",
		Long: updateHelp,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.update(c, key) },
	}
	o.tree.flags(c)
	c.Flags().StringVar(&o.board, "board", slot.BoardPi, "the `BOARD`: pi or qemu")
	c.Flags().StringVar(&key, "key", "", "sign with this update.key `FILE`")
	c.Flags().StringVar(&o.out, "out", "", "write the update to this `FILE` (default build/cistern-VERSION-BOARD.update)")
	return c
}

func (o *buildOptions) update(c *cobra.Command, keyFile string) error {
	if keyFile == "" {
		return errors.New("which key signs the update? --key FILE; \"cistern-image keygen\" makes one")
	}
	key, err := image.ReadPrivate(keyFile)
	if err != nil {
		return err
	}
	options, err := o.options(c)
	if err != nil {
		return err
	}
	if options.Site, err = image.ReadSystem(filepath.Dir(keyFile)); err != nil {
		return err
	}
	// Otherwise this would be the last update that the gateways take.
	if !key.Public().(ed25519.PublicKey).Equal(options.Site.Public()) {
		return fmt.Errorf("%s: there is no %s of this key beside it, which the new system needs to take the update after this one",
			keyFile, slot.PublicFile)
	}
	system, err := image.Build(c.Context(), options)
	if err != nil {
		return err
	}
	if o.out == "" {
		o.out = o.path(options.Source.Root, system.Release, ".update")
	}
	m, err := image.WriteUpdate(o.out, key, system)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "%s\n  version %s, board %s, build %.12s, %d MiB\n", o.out, m.Version, m.Board, m.Build, m.PackedBytes>>20)
	return err
}

const keygenHelp = `Keygen makes the pair of keys that updates are signed with, in a folder (default: here).

    $ cistern-image keygen plant-7

update.pub goes into images. update.key signs updates: keep it where no gateway and no
stranger can read it, and keep a copy, because gateways take no other.
`

func newKeygen() *cobra.Command {
	return &cobra.Command{
		Use:  "keygen [FOLDER]",
		Long: keygenHelp,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			if err := image.WriteKeys(dir); err != nil {
				if errors.Is(err, fs.ErrExist) {
					return fmt.Errorf("%w; gateways that trust its other half take no other: it was left as it is", err)
				}
				return err
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s signs updates: keep it safe, and a copy of it\n%s goes into images\n",
				filepath.Join(dir, slot.PrivateFile), filepath.Join(dir, slot.PublicFile))
			return err
		},
	}
}
