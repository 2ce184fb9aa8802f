// Package parts names the modules whose files an image is made of: the kernel
// with its device trees, and the firmware of the Raspberry Pi. Nothing is
// linked; the imports keep `go mod tidy` from dropping them.
//
// Licences: the kernel is under the GPL, version 2; the firmware is Broadcom's
// and may be used on a Raspberry Pi only.
package parts

import (
	_ "github.com/gokrazy/firmware"
	_ "github.com/gokrazy/kernel.rpi"
)
