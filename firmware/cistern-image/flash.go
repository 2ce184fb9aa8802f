package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"cistern/firmware/flash"
	"cistern/firmware/image"
	"cistern/firmware/slot"
)

const flashHelp = `Flash writes an image to a card or a stick and reads it back. Without an IMAGE it is
the newest in build.

    $ sudo cistern-image flash build/cistern-v1.2.0-pi.img /dev/sdX --gateway hall-1.toml

It shows what is on the device, and asks. With --gateway that file goes onto the card
as gateway.toml: one image for a site, one small file per gateway.

What is mounted or otherwise in use is refused, and so is a partition. What is not
removable, or larger than cards are, is refused unless --force-device names it again.
`

type flashOptions struct {
	check   checking
	gateway string
	force   string
	toFile  bool
	yes     bool
}

func newFlash() *cobra.Command {
	o := flashOptions{}
	c := &cobra.Command{
		Use:  "flash [IMAGE] DEVICE",
		Long: flashHelp,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error { return o.run(c, args) },
	}
	o.check.flags(c)
	c.Flags().StringVar(&o.gateway, "gateway", "", "put this `FILE` onto the card as gateway.toml")
	c.Flags().StringVar(&o.force, "force-device", "", "write to this `DEVICE` though it does not look like a card")
	c.Flags().BoolVar(&o.toFile, "to-file", false, "write to a regular file")
	c.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	return c
}

func (o *flashOptions) run(c *cobra.Command, args []string) error {
	device := args[len(args)-1]
	if device == "" {
		return errors.New("which device? \"lsblk\" lists them; make flash DEV=/dev/sdX")
	}
	img := ""
	if len(args) == 2 {
		img = args[0]
	} else {
		var err error
		if img, err = newest(c); err != nil {
			return err
		}
	}
	bytes, err := checkImage(img)
	if err != nil {
		return err
	}
	to, err := o.open(c, img, bytes, device)
	if err != nil {
		return err
	}
	defer to.Close()
	if o.gateway != "" {
		made, err := withGateway(c, &o.check, img, o.gateway)
		if err != nil {
			return err
		}
		defer os.Remove(made)
		img = made
	}
	if err := o.write(c, img, bytes, to); err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	if o.toFile {
		return nil
	}
	if err := errors.Join(to.Close(), flash.Reread(device)); err != nil {
		fmt.Fprintf(c.ErrOrStderr(), "The system did not look at the new partitions (%v): take the card out and put it in again.\n", err)
	}
	return nil
}

// open finds out whether the device may be written to, and asks.
func (o *flashOptions) open(c *cobra.Command, img string, bytes int64, device string) (*slot.File, error) {
	if st, err := os.Stat(device); err == nil && st.Mode().IsRegular() || o.toFile && errors.Is(err, fs.ErrNotExist) {
		if !o.toFile {
			return nil, fmt.Errorf("%s is a regular file, not a card; --to-file writes to it all the same", device)
		}
		f, err := os.OpenFile(device, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		return slot.NewFile(f), nil
	}
	name, err := flash.Find(device)
	if err != nil {
		return nil, err
	}
	d, err := flash.Look("/", name)
	if err != nil {
		return nil, err
	}
	out := c.OutOrStdout()
	fmt.Fprint(out, d.Describe())
	if err := o.refuse(d, bytes); err != nil {
		return nil, err
	}
	if len(d.Data(slot.DataLabel)) > 0 || isCard(device) {
		fmt.Fprintf(out, "/dev/%s is a gateway's card: records on it that it has not drained yet will be lost.\n", name)
	}
	fmt.Fprintf(out, "Everything on /dev/%s will be erased, and %s written.\n", name, img)
	if !o.yes {
		if err := ask(c.InOrStdin(), out, name); err != nil {
			return nil, err
		}
	}
	to, err := flash.Open(device, d)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w; writing to a card needs root: run the same with sudo", err)
	}
	return to, err
}

// isCard says whether there is a card of ours already; not every system has
// noted the labels of what was put in.
func isCard(device string) bool {
	f, err := os.Open(device)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = slot.ReadTable(f)
	return err == nil
}

func (o *flashOptions) refuse(d flash.Device, bytes int64) error {
	var why []string
	forced := o.force != "" && filepath.Base(o.force) == d.Name
	if o.force != "" && !forced {
		why = append(why, fmt.Sprintf("--force-device names %s, the device is /dev/%s", o.force, d.Name))
	}
	for _, r := range d.Refuse(bytes) {
		switch {
		case r.Force && forced:
		case r.Force:
			why = append(why, r.Why+fmt.Sprintf("; if you are sure: --force-device /dev/%s", d.Name))
		default:
			why = append(why, r.Why)
		}
	}
	if len(why) == 0 {
		return nil
	}
	return errors.New("refused, nothing was written: " + strings.Join(why, "; "))
}

// ask has the device's name typed, which is harder to do by mistake than y.
func ask(in io.Reader, out io.Writer, name string) error {
	fmt.Fprintf(out, "Type %s to go on: ", name)
	line, err := bufio.NewReader(io.LimitReader(in, 256)).ReadString('\n')
	if err != nil && err != io.EOF {
		return err
	}
	if got := strings.TrimPrefix(strings.TrimSpace(line), "/dev/"); got != name {
		return fmt.Errorf("%q is not %s: nothing was written", got, name)
	}
	return nil
}

func (o *flashOptions) write(c *cobra.Command, img string, bytes int64, to *slot.File) error {
	f, err := os.Open(img)
	if err != nil {
		return err
	}
	defer f.Close()
	m := newMeter(c.ErrOrStderr())
	sum, err := flash.Write(c.Context(), f, bytes, to, m.show)
	m.end()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "written and read back: %s, sha256 %s\n", flash.Size(bytes), sum)
	return err
}

// checkImage holds that a file is an image of ours, and gives its size.
func checkImage(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if _, err := slot.ReadTable(f); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if st.Size() != slot.ImageBytes {
		return 0, fmt.Errorf("%s: has %d bytes, an image has %d: it was not copied to its end", path, st.Size(), int64(slot.ImageBytes))
	}
	return st.Size(), nil
}

// newest finds the image that was built last.
func newest(c *cobra.Command) (string, error) {
	root, err := image.FindRoot(".")
	if err != nil {
		return "", err
	}
	all, err := filepath.Glob(filepath.Join(root, "build", "cistern-*-"+slot.BoardPi+".img"))
	if err != nil {
		return "", err
	}
	best := ""
	var at int64
	for _, p := range all {
		if st, err := os.Stat(p); err == nil && st.ModTime().UnixNano() > at {
			best, at = p, st.ModTime().UnixNano()
		}
	}
	if best == "" {
		return "", fmt.Errorf("there is no image in %s; \"make image\" makes one", filepath.Join(root, "build"))
	}
	return best, nil
}

// withGateway makes a copy of the image with one gateway's file in it.
func withGateway(c *cobra.Command, check *checking, img, gateway string) (string, error) {
	b, err := os.ReadFile(gateway)
	if err != nil {
		return "", err
	}
	copied, err := copySparse(c.Context(), img)
	if err != nil {
		return "", err
	}
	if err := addFiles(c, check, copied, map[string][]byte{image.GatewayFile: b}); err != nil {
		os.Remove(copied)
		return "", fmt.Errorf("%s: %w", gateway, err)
	}
	return copied, nil
}

// copySparse copies an image to a temporary file, without its holes.
func copySparse(ctx context.Context, path string) (string, error) {
	from, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer from.Close()
	to, err := os.CreateTemp("", "cistern-*.img")
	if err != nil {
		return "", err
	}
	err = image.CopySparse(ctx, from, slot.NewFile(to), slot.ImageBytes)
	if err = errors.Join(err, to.Truncate(slot.ImageBytes), to.Close()); err != nil {
		os.Remove(to.Name())
		return "", err
	}
	return to.Name(), nil
}
