// Package board knows what a gateway's board has beside processor and network:
// a line that says that the power is going, a button, an LED, sensors, and the
// card that everything is kept on. It acts on nothing: it tells, and shows.
//
// Everything is optional. A board without any of it is a board, a driver that
// fails is a Problem to warn about and never a reason to stop, and what was
// looked for and not found is told with the reason (Look).
//
// # Lines
//
// GPIO goes through the kernel's character device, by periph.io's gpioioctl
// alone: chips are named by their label ("pinctrl-rp1", which stays) or device
// ("gpiochip0", which may change with a kernel), lines by their offset. Pin
// names of boards are not used: they need a table per board, and lie when the
// board is a newer one.
//
// A level is believed when it has held still for Settle. Lines are watched by
// edge, and looked at every second all the same: an edge that was lost in the
// kernel's queue must not cost a clean stop.
//
// # LEDs
//
// The table of patterns is in pattern.go; Patterns returns it for people. They
// are made to be told apart by somebody who sees one of them for ten seconds,
// from across a hall, and has never seen another.
//
// # Goroutines
//
// Run keeps to its caller's goroutine and starts one per line that is watched
// and one for the LED, which end with its context.
package board
