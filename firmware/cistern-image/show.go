package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"cistern/firmware/flash"
	"cistern/firmware/image"
	"cistern/firmware/slot"
)

const showHelp = `Show says what an image, a card or an update holds.

    $ cistern-image show build/cistern-v1.2.0-pi.img
    $ cistern-image show build/cistern-v1.2.0-pi.update --key plant-7/update.pub

With --key an update's signature is checked.
`

func newShow() *cobra.Command {
	key := ""
	c := &cobra.Command{
		Use:  "show IMAGE|DEVICE|UPDATE",
		Long: showHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return show(c.OutOrStdout(), args[0], key) },
	}
	c.Flags().StringVar(&key, "key", "", "check the update's signature with this update.pub `FILE`")
	return c
}

func show(w io.Writer, path, key string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := slot.ReadTable(f); !errors.Is(err, slot.ErrNotOurs) && !errors.Is(err, io.EOF) {
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return showCard(w, f)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	err = showUpdate(w, f, key)
	if errors.Is(err, slot.ErrNotUpdate) {
		err = errors.New("neither a card or image of Cistern, nor an update")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// showCard goes on where something can't be read: then one wants to see the
// rest all the more.
func showCard(w io.Writer, card io.ReaderAt) error {
	t, err := slot.ReadTable(card)
	if err != nil {
		return err
	}
	which, err := slot.Default(card)
	fmt.Fprintf(w, "boots      slot %s%s\n", which, because(err))
	if try, err := slot.Try(card); err != nil || try {
		fmt.Fprintf(w, "tries      slot %s next%s\n", which.Other(), because(err))
	}
	for _, s := range []slot.Slot{slot.A, slot.B} {
		r, err := slot.ReadRelease(io.NewSectionReader(card, s.Start(), slot.SlotBytes))
		if err != nil {
			fmt.Fprintf(w, "slot %s     no system: %v\n", s, err)
			continue
		}
		fmt.Fprintf(w, "slot %s     version %s, board %s, build %.12s\n", s, r.Version, r.Board, r.Build)
	}
	fmt.Fprintf(w, "data       %s\n", flash.Size(t.Data().Bytes))
	names, err := image.BootNames(card)
	fmt.Fprintf(w, "%s/   %s%s\n", image.BootFolder, strings.Join(names, ", "), because(err))
	return nil
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return " (" + err.Error() + ")"
}

func showUpdate(w io.Writer, r io.Reader, key string) error {
	signed := "not checked: no --key"
	var m slot.Manifest
	var err error
	if key == "" {
		m, err = slot.ReadHead(r, nil)
	} else {
		pub, keyErr := image.ReadPublic(key)
		if keyErr != nil {
			return keyErr
		}
		signed = "good"
		m, err = slot.ReadHead(r, pub)
	}
	if err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "update     version %s, board %s, build %.12s\n", m.Version, m.Board, m.Build)
	fmt.Fprintf(&b, "commit     %s\n", m.Commit)
	fmt.Fprintf(&b, "bytes      %d packed, %d in the slot\n", m.PackedBytes, m.Bytes)
	fmt.Fprintf(&b, "signature  %s\n", signed)
	_, err = b.WriteTo(w)
	return err
}
