package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"cistern/firmware/slot"
)

// Files of a slot that the Pi's boot loader would read, and the most it may
// take of each.
const (
	kernelFile      = "kernel8.img"
	initramfsFile   = "initramfs.zst"
	commandLineFile = "cmdline.txt"
	deviceTreeFile  = "bcm2710-rpi-3-b.dtb"

	slotFileBytesMax = slot.SlotBytes
	lineBytesMax     = 4 << 10
)

// pi3Console is what "serial0" becomes on the emulated Pi 3 with the Pi's own
// device tree.
const pi3Console = "ttyAMA1"

// Board is a gateway's box: a machine, a card, and the boot loader between the
// two, whose part we play.
type Board struct {
	// Card is what the boot loader reads, and clears the try on.
	Card slot.Disk
	// Config is of the machine; Machine, Kernel and what follows from the slot
	// are filled in at every boot.
	Config Config
	// Append goes to the end of the kernel's command line.
	Append string
	// Dir is for what is taken out of the slot.
	Dir string
}

// Boot is what the boot loader decided.
type Boot struct {
	Slot    slot.Slot
	Try     bool
	Release slot.Release
}

func (b Boot) String() string {
	how := ""
	if b.Try {
		how = ", on trial"
	}
	return fmt.Sprintf("slot %s%s: %s (%s, build %.12s)", b.Slot, how, b.Release.Version, b.Release.Board, b.Release.Build)
}

// On switches the board on: the boot loader reads which slot it is, forgets the
// try, and starts what lies there.
func (b *Board) On(ctx context.Context) (*VM, Boot, error) {
	boot, err := b.choose()
	if err != nil {
		return nil, boot, fmt.Errorf("boot loader: %w", err)
	}
	c := b.Config
	if err := b.load(boot, &c); err != nil {
		return nil, boot, fmt.Errorf("boot loader: slot %s: %w", boot.Slot, err)
	}
	v, err := Start(ctx, c)
	return v, boot, err
}

// choose is what the Pi's firmware does with autoboot.txt. That a try is due it
// keeps in a register; without one we keep it in boot.txt.
func (b *Board) choose() (Boot, error) {
	s, err := slot.Default(b.Card)
	if err != nil {
		return Boot{}, err
	}
	try, err := slot.Try(b.Card)
	if err != nil {
		return Boot{}, err
	}
	if try {
		s = s.Other()
		if err := slot.SetTry(b.Card, false); err != nil {
			return Boot{}, err
		}
	}
	r, err := slot.ReadRelease(s.On(b.Card))
	return Boot{s, try, r}, err
}

func (b *Board) load(boot Boot, c *Config) error {
	fat, err := slot.OpenFAT(boot.Slot.On(b.Card))
	if err != nil {
		return err
	}
	take := func(name string, to *string) error {
		text, err := fat.ReadFile(name, slotFileBytesMax)
		if err != nil {
			return err
		}
		*to = filepath.Join(b.Dir, name)
		return os.WriteFile(*to, text, 0o600)
	}
	line, err := fat.ReadFile(commandLineFile, lineBytesMax)
	if err := errors.Join(err, take(kernelFile, &c.Kernel), take(initramfsFile, &c.Initrd)); err != nil {
		return err
	}
	c.CommandLine = b.commandLine(string(line), boot)
	switch boot.Release.Board {
	case slot.BoardQemu:
		c.Machine = Virt
	case slot.BoardPi:
		c.Machine = Pi3
		return take(deviceTreeFile, &c.DeviceTree)
	default:
		return fmt.Errorf("there is no machine for the board %q: %s and %s can be booted", boot.Release.Board, slot.BoardQemu, slot.BoardPi)
	}
	return nil
}

// quietKernel: what the kernel prints it prints into the middle of a line of somebody
// else's, which is then never found. A panic is still said.
const quietKernel = "loglevel=3"

// commandLine is the slot's, and what the boot loader knows: which slot it is.
// On a Pi the device tree says it, which here is a file that does not.
func (b *Board) commandLine(line string, boot Boot) string {
	line = strings.Join(strings.Fields(line), " ")
	if boot.Release.Board == slot.BoardPi {
		// A screen that nobody looks at is not to be the main console.
		line = strings.ReplaceAll(line, " console=tty1", "")
		line = strings.ReplaceAll(line, "console=serial0", "console="+pi3Console)
	}
	line += " " + quietKernel + " cistern.slot=" + boot.Slot.String()
	if boot.Try {
		line += " cistern.try=1"
	}
	if b.Append != "" {
		line += " " + b.Append
	}
	return line
}
