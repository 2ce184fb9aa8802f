// Package board tries firmware/board and firmware/watchdog on a real kernel's
// devices, in an emulator: a GPIO chip with a button that is pressed from
// outside, an LED with a trigger, a watchdog that bites. Its tests have the build
// tag image, since they need qemu; `make test-image` runs them.
//
// What no emulator shows is the electricity: how long a UPS really lasts, which
// resistor a line needs, whether the LED of a board can be taken.
package board
