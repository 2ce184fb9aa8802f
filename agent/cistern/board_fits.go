package main

import (
	"fmt"
	"slices"
	"strings"

	"cistern/firmware/board"
)

// boardFits writes the part of a configuration that would use what was found:
// what can be known stands as it is, what depends on how somebody has wired it is
// an example in comments. It is "" for a machine with nothing to use.
func boardFits(r *board.Report) string {
	var b strings.Builder
	if slices.ContainsFunc(r.Watchdogs, func(w board.Watchdog) bool { return !w.Active }) {
		b.WriteString("[board]\n# Nobody feeds the watchdog. With systemd, RuntimeWatchdogSec=15 in\n# /etc/systemd/system.conf is the better way.\nwatchdog = \"/dev/watchdog\"\n\n")
	}
	if led := statusLED(r.LEDs); led != "" {
		fmt.Fprintf(&b, "[board.led]\nname = %q\n\n", led)
	}
	if chip := headerChip(r.Chips); chip != "" {
		fmt.Fprintf(&b, `# The lines depend on what is wired to which; 17 and 27 are examples.
# [board.power_fail]
# chip = %[1]q
# line = 17
# active = "low"
# pull = "up"

# [board.button]
# chip = %[1]q
# line = 27
# active = "low"
# pull = "up"
`, chip)
	}
	return strings.TrimRight(b.String(), "\n")
}

// statusLED chooses the LED that is there to tell how the machine does: the one
// that blinks with the card on a Raspberry Pi, the first user LED of others. Who
// has another in mind sees them all above.
func statusLED(leds []board.LEDFound) string {
	for _, want := range []string{"act", "led0", "status", "usr0", "user"} {
		for _, l := range leds {
			if !l.Virtual && strings.Contains(strings.ToLower(l.Name), want) {
				return l.Name
			}
		}
	}
	return ""
}

// headerChip chooses the chip whose lines come out at a header: on a Raspberry Pi
// the one that is called pinctrl-something, of others the first. By its label,
// which stays when a kernel numbers its chips anew, if that is told and its own.
func headerChip(chips []board.Chip) string {
	if len(chips) == 0 {
		return ""
	}
	i := max(0, slices.IndexFunc(chips, func(c board.Chip) bool { return strings.HasPrefix(c.Label, "pinctrl-") }))
	label, same := chips[i].Label, 0
	for _, c := range chips {
		if c.Label == label {
			same++
		}
	}
	if label == "" || same > 1 {
		return chips[i].Device
	}
	return label
}
