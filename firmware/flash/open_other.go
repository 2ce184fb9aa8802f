//go:build !linux

package flash

import (
	"errors"

	"cistern/firmware/slot"
)

// errLinux is all that can be said elsewhere: which disks are in use is asked
// of Linux.
var errLinux = errors.New("writing to a card needs Linux; elsewhere use Raspberry Pi Imager, with the image as \"custom\"")

// Find needs Linux.
func Find(string) (string, error) { return "", errLinux }

// Open needs Linux.
func Open(string, Device) (*slot.File, error) { return nil, errLinux }

// Reread needs Linux.
func Reread(string) error { return errLinux }
