// Package flash answers one question: may this image be written over that
// device, and did the device keep it?
//
// The wrong device is somebody's disk. So what is in use is refused, whoever
// says otherwise; what does not look like a card is refused unless its name is
// given again; and the kernel is asked to refuse too, by opening the device
// exclusively. What was written is read back from the device itself.
//
// Everything known about a device comes from below one folder, which tests
// replace: /sys, /proc and udev's notes in /run.
package flash
