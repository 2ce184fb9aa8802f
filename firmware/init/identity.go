package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"cistern/firmware/init/trial"
	"cistern/firmware/machine"
	"cistern/firmware/slot"
)

// What the board says about itself, below a root folder.
const (
	serialFile     = "proc/device-tree/serial-number"
	bootloaderDir  = "proc/device-tree/chosen/bootloader"
	bootIDFile     = "proc/sys/kernel/random/boot_id"
	netDir         = "sys/class/net"
	serialLetters  = 8 // of the serial, in the hostname
	smallFileBytes = 4096
)

// small reads a file of the kernel's, without the zero and line ends around it.
func small(root, name string) string {
	f, err := os.Open(filepath.Join(root, name))
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, smallFileBytes)
	n, _ := f.Read(b) // a file that can't be read says nothing
	return strings.Trim(string(b[:n]), "\x00\r\n\t ")
}

// hostname is what the operator says, else made from the board's serial number,
// else from its network interface: the same at every boot.
func hostname(root string, c machine.Config) string {
	if c.Hostname != "" {
		return c.Hostname
	}
	for _, s := range []string{small(root, serialFile), mac(root)} {
		if s = letters(s); s != "" {
			return "cistern-" + s[max(0, len(s)-serialLetters):]
		}
	}
	return "cistern"
}

// letters keeps what can stand in a hostname.
func letters(s string) string {
	return strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' {
			return c
		}
		return -1
	}, strings.ToLower(s))
}

// mac is the address of the first interface that is a device.
func mac(root string) string {
	names, _ := filepath.Glob(filepath.Join(root, netDir, "*", "device")) // sorted; the pattern is fine
	for _, name := range names {
		if a := small(filepath.Dir(name), "address"); a != "" {
			return a
		}
	}
	return ""
}

// booted says which slot runs and whether it was to be tried: from the Pi's
// firmware, or from who plays it on the kernel's command line. Without either it
// is the slot that autoboot.txt names; the error then says so.
func booted(root string, o options, byDefault slot.Slot) (running slot.Slot, try bool, err error) {
	if o.slot != 0 {
		return o.slot, o.try, nil
	}
	partition, ok := treeNumber(root, "partition")
	if !ok {
		return byDefault, false, errors.New("the firmware does not say which slot it booted")
	}
	running, err = slot.ByPartition(int(partition))
	if err != nil {
		return byDefault, false, err
	}
	tried, ok := treeNumber(root, "tryboot")
	if !ok { // what autoboot.txt does not name is booted as a try only
		return running, byDefault != 0 && running != byDefault, nil
	}
	return running, tried != 0, nil
}

// treeNumber reads a number of the device tree: four bytes, the high one first.
func treeNumber(root, name string) (uint32, bool) {
	b, err := os.ReadFile(filepath.Join(root, bootloaderDir, name))
	if err != nil || len(b) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b), true
}

// holding is the slot that alone holds the system that runs: 0 if both do, or
// neither.
func holding(card slot.Disk, r slot.Release) (found slot.Slot) {
	for _, s := range []slot.Slot{slot.A, slot.B} {
		held, err := slot.ReadRelease(s.On(card))
		switch {
		case err != nil || held.Build != r.Build:
		case found != 0:
			return 0
		default:
			found = s
		}
	}
	return found
}

// running puts together what this boot is.
func running(root string, o options, card slot.Disk, r slot.Release) (trial.Running, error) {
	byDefault, err := slot.Default(card)
	if err != nil {
		// Nothing can be switched until somebody puts the file right, but what
		// runs, runs.
		err = errors.Join(errors.New("which slot boots is not known"), err)
	}
	is, try, from := booted(root, o, byDefault)
	if from != nil {
		// A trial that was taken for the slot before it would never be called good.
		if held := holding(card, r); held != 0 {
			is, try = held, byDefault != 0 && held != byDefault
		}
		from = fmt.Errorf("%w; taken for slot %s, by what they hold and %s names", from, is, slot.AutobootFile)
	}
	if byDefault == 0 {
		byDefault = is
	}
	if is == 0 { // nobody knows; a wrong guess could write over what runs
		return trial.Running{Version: r.Version, Build: r.Build}, errors.Join(err, from)
	}
	return trial.Running{Slot: is, Default: byDefault, Trial: try, Version: r.Version, Build: r.Build}, errors.Join(err, from)
}
