//go:build image

package card

import (
	"path/filepath"
	"testing"

	"cistern/cross/rig"
	"cistern/firmware/slot"
)

// Proves that the image for the Pi starts on a Raspberry Pi 3, as far as the
// emulator is one: with the Pi's kernel and device tree, from an SD card, with a
// network adapter on USB, as every Pi up to the third has. It does not prove the
// Pi's own boot loader and what is only there for it (bootcode.bin, config.txt,
// autoboot.txt), which no emulator runs; and the watchdog stays off, since arming
// the emulated one resets the machine.
func TestRaspberryPi3(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pi.img")
	must(t, shared.shop.Image(t.Context(), path, slot.BoardPi, shared.site, Part{}))
	c, l := startCentre(t), rig.NewLedger()
	g := insert(t, Options{Image: path, Uplink: c.port, Append: "cistern.watchdog=off"})
	boot(t, g)
	stop := publish(t, g, l)
	must(t, l.AwaitConfirmed(within(t, bootTime), confirmedFirst))
	stop()
	c.good(t, g, l)
}
