package vm

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"cistern/cross/rig"
)

// Machines the emulator knows.
const (
	Virt = "virt"    // a generic board: virtio, a watchdog on PCI
	Pi3  = "raspi3b" // a Raspberry Pi 3: SD card, network by USB
)

// Config is one machine and what it starts with.
type Config struct {
	Machine     string // Virt or Pi3
	CPUs        int    // 0: two. A Pi 3 has four
	Memory      int    // MiB; 0: 512. A Pi 3 has 1024
	Kernel      string
	Initrd      string
	DeviceTree  string // a Pi 3 needs one
	CommandLine string

	// Disk is a raw image's file, or the address of an NBD server.
	Disk string
	// Forward names ports of the machine and where they are to be found on
	// this computer: see FreePorts.
	Forward map[int]string
	// Watchdog puts a hardware watchdog into a Virt machine, an i6300esb.
	Watchdog bool
	// Console gets all that the serial console prints, as it comes; may be nil.
	Console io.Writer
}

// Host is this computer as a machine sees it: what listens on loopback here
// answers there under this address.
const Host = "10.0.2.2"

// FreePorts finds an address on loopback for each of a machine's ports, which are
// this process's until it ends.
func FreePorts(ports ...int) (map[int]string, error) {
	forward := make(map[int]string)
	for _, port := range ports {
		address, err := rig.FreeAddress()
		if err != nil {
			return nil, fmt.Errorf("vm: a free port for the machine's %d: %w", port, err)
		}
		forward[port] = address
	}
	return forward, nil
}

func (c *Config) complete() error {
	switch c.Machine {
	case Virt:
		c.CPUs, c.Memory = positive(c.CPUs, 2), positive(c.Memory, 512)
	case Pi3:
		c.CPUs, c.Memory = 4, 1024
		if c.DeviceTree == "" {
			return errors.New("vm: a Raspberry Pi 3 needs a device tree")
		}
		if c.Watchdog {
			return errors.New("vm: the emulated Raspberry Pi 3 takes no further watchdog, and its own resets it at once: use " + Virt)
		}
	default:
		return fmt.Errorf("vm: no machine %q: there are %s and %s", c.Machine, Virt, Pi3)
	}
	if c.Kernel == "" {
		return errors.New("vm: a machine needs a kernel")
	}
	for _, f := range []string{c.Kernel, c.Initrd, c.DeviceTree, c.Disk} {
		if strings.Contains(f, ",") {
			return fmt.Errorf("vm: %q: the emulator takes a comma for the next option", f)
		}
	}
	return nil
}

func positive(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// arguments is the emulator's command line. -no-reboot: a reset is an end, and
// the boot loader has its say in what comes then.
func (c *Config) arguments() []string {
	a := []string{
		"-no-reboot", "-nodefaults", "-no-user-config", "-display", "none",
		"-smp", fmt.Sprint(c.CPUs), "-m", fmt.Sprint(c.Memory),
		"-qmp", "stdio", "-serial", "file:/dev/fd/3",
		"-kernel", c.Kernel, "-append", c.CommandLine,
	}
	if c.Initrd != "" {
		a = append(a, "-initrd", c.Initrd)
	}
	if c.DeviceTree != "" {
		a = append(a, "-dtb", c.DeviceTree)
	}
	switch c.Machine {
	case Virt:
		a = append(a, "-machine", "virt", "-cpu", "cortex-a72", "-device", "virtio-net-device,netdev=net")
		if c.Watchdog {
			a = append(a, "-device", "i6300esb", "-watchdog-action", "reset")
		}
	case Pi3:
		a = append(a, "-machine", "raspi3b", "-device", "usb-net,netdev=net")
	}
	a = append(a, "-netdev", c.network())
	if c.Disk != "" {
		a = append(a, "-drive", c.drive())
	}
	return a
}

func (c *Config) network() string {
	n := "user,id=net"
	for _, port := range slices.Sorted(maps.Keys(c.Forward)) {
		n += fmt.Sprintf(",hostfwd=tcp:%s-:%d", c.Forward[port], port)
	}
	return n
}

// drive is writeback: the guest sees a disk with a cache, and flushes it.
func (c *Config) drive() string {
	d := "format=raw,cache=writeback,file=" + c.Disk
	if c.Machine == Pi3 {
		return d + ",if=sd"
	}
	return d + ",if=virtio"
}
