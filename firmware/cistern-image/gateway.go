package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"cistern/firmware/flash"
	"cistern/firmware/image"
	"cistern/firmware/slot"
)

const gatewayHelp = `Gateway puts one gateway's file onto a card, or into an image, as gateway.toml, and
any other files beside it under their own names.

    $ sudo cistern-image gateway /dev/sdX hall-1.toml
    $ cistern-image gateway hall-1.img hall-1.toml

The agent checks the configuration that the card has then. You can do the same by hand:
the card's first partition is a folder on any computer, and gateway.toml is in its
folder cistern.
`

// filesMax bounds what is put onto a card one by one.
const filesMax = 100

func newGateway() *cobra.Command {
	check := checking{}
	c := &cobra.Command{
		Use:  "gateway IMAGE|DEVICE FILE...",
		Long: gatewayHelp,
		Args: cobra.RangeArgs(2, filesMax),
		RunE: func(c *cobra.Command, args []string) error { return putGateway(c, &check, args[0], args[1:]) },
	}
	check.flags(c)
	return c
}

func putGateway(c *cobra.Command, check *checking, to string, paths []string) error {
	add := make(map[string][]byte)
	for i, p := range paths {
		name := filepath.Base(p)
		if i == 0 {
			name = image.GatewayFile
		}
		if _, twice := add[name]; twice {
			return fmt.Errorf("%s: there would be two files %s on the card", p, name)
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if slot.HoldsPrivate(b) {
			return fmt.Errorf("%s: %w", p, image.ErrPrivate)
		}
		add[name] = b
	}
	if err := unused(to); err != nil {
		return err
	}
	if err := addFiles(c, check, to, add); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w; a card needs root: run the same with sudo", err)
		}
		return err
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%s: %s has %s\n", to, image.BootFolder, strings.Join(paths, ", "))
	return err
}

// unused refuses a card that is mounted: two would write to one FAT.
func unused(path string) error {
	name, err := flash.Find(path)
	if errors.Is(err, flash.ErrNoDevice) {
		return nil // an image file
	}
	if err != nil {
		return err
	}
	d, err := flash.Look("/", name)
	if err != nil {
		return err
	}
	if d.Disk != "" {
		return fmt.Errorf("%s is a partition; name the whole card, /dev/%s", path, d.Disk)
	}
	if len(d.Uses) > 0 {
		return fmt.Errorf("%s; unmount it, or edit the file there", strings.Join(d.Uses, "; "))
	}
	return nil
}

// checking is how the agent is asked whether it would take a configuration.
type checking struct {
	checker string
	skip    bool
}

func (k *checking) flags(c *cobra.Command) {
	c.Flags().StringVar(&k.checker, "checker", "", "check the configuration with this cistern `PROGRAM` (default: the source tree's)")
	c.Flags().BoolVar(&k.skip, "unchecked", false, "take the configuration as it is")
}

// find gives a cistern that runs here.
func (k *checking) find(c *cobra.Command) (string, error) {
	if k.checker != "" {
		return k.checker, nil
	}
	t := tree{}
	source, err := t.find(c)
	if err == nil {
		if _, missing := exec.LookPath("go"); missing == nil {
			return source.Checker(c.Context(), t.cache)
		}
		// As root, after sudo, there may be no Go: but what it made is there.
		if p := filepath.Join(t.cache, image.CheckerFile); exists(p) {
			return p, nil
		}
	}
	if p, err := exec.LookPath("cistern"); err == nil {
		return p, nil
	}
	return "", errors.New("no cistern to check the configuration with: run this in Cistern's source tree, or name one with --checker, or say --unchecked")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// addFiles puts files onto a card or into an image, after the agent has seen
// what the card's folder would be with them.
func addFiles(c *cobra.Command, check *checking, to string, add map[string][]byte) error {
	if !check.skip {
		if err := check.with(c, to, add); err != nil {
			return err
		}
	}
	source, err := image.FindSource(c.Context(), ".", "")
	if err != nil {
		return err
	}
	return image.AddToCard(c.Context(), to, add, source.Seconds)
}

// with checks a copy of the card's folder with other files laid over it.
func (k *checking) with(c *cobra.Command, card string, add map[string][]byte) error {
	checker, err := k.find(c)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "cistern-check-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	f, err := os.Open(card)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := image.Extract(f, dir); err != nil {
		return fmt.Errorf("%s: %w", card, err)
	}
	for name, b := range add {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	return checkFolder(c.Context(), checker, dir)
}

func checkFolder(ctx context.Context, checker, dir string) error {
	overlay := filepath.Join(dir, image.GatewayFile)
	if !exists(overlay) {
		overlay = ""
	}
	return image.CheckConfig(ctx, checker, filepath.Join(dir, image.ConfigFile), overlay)
}
