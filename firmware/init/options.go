package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"cistern/firmware/slot"
)

// options are what the kernel's command line says to us.
type options struct {
	board    string
	slot     slot.Slot // 0: not said; on a Pi its firmware tells
	try      bool
	trial    time.Duration // how long a trial may take
	watchdog bool
}

// A trial's length, unless cistern.trial says another.
const (
	trialDefault = 300 * time.Second
	trialMin     = 10 * time.Second
	trialMax     = time.Hour
)

// parseOptions reads /proc/cmdline. What is wrong keeps its default, and is
// told: there must be a system whatever somebody wrote into cmdline.txt.
func parseOptions(cmdline string) (options, []error) {
	o := options{board: slot.BoardPi, trial: trialDefault, watchdog: true}
	var wrong []error
	for _, word := range strings.Fields(cmdline) {
		key, value, _ := strings.Cut(word, "=")
		name, ours := strings.CutPrefix(key, "cistern.")
		if !ours {
			continue
		}
		if err := o.set(name, value); err != nil {
			wrong = append(wrong, fmt.Errorf("kernel command line: %.80s: %w", word, err))
		}
	}
	return o, wrong
}

func (o *options) set(name, value string) (err error) {
	switch name {
	case "board":
		if value != slot.BoardPi && value != slot.BoardQemu {
			return fmt.Errorf("allowed are %s, %s", slot.BoardPi, slot.BoardQemu)
		}
		o.board = value
	case "slot":
		o.slot, err = slot.Parse(value)
	case "try":
		o.try = value == "1"
	case "trial":
		n, err := strconv.Atoi(value)
		d := time.Duration(n) * time.Second
		if err != nil || n > int(trialMax/time.Second) || d < trialMin {
			return fmt.Errorf("allowed are %d to %d (seconds)", int(trialMin.Seconds()), int(trialMax.Seconds()))
		}
		o.trial = d
	case "watchdog":
		if value != "on" && value != "off" {
			return fmt.Errorf("allowed are on, off")
		}
		o.watchdog = value == "on"
	default:
		return fmt.Errorf("unknown; known are board, slot, try, trial, watchdog")
	}
	return err
}
