// Package trial keeps in mind what became of an update: written, tried, good or
// rolled back.
//
// What boots is never decided here: autoboot.txt, one sector on the boot
// partition, names the slot, and a try is a flag that the firmware forgets with
// the boot it was meant for. The record, /data/machine/update.json, only says how
// things came about, to the operator and to the next boot. So it may be behind by
// one step after a power cut, in either order, and [Booted] can always tell from
// the slot that runs what must have happened:
//
//	step                             cut after it: what boots    what Booted makes of it
//	write the other slot             the old slot                nothing, or Written
//	record Written                   the old slot                Written
//	record Trying                    the old slot                RolledBack
//	flag the try, reboot             the new slot, on trial      Trying
//	any end of the trial             the old slot                RolledBack, with what was noted
//	autoboot.txt names the new slot  the new slot                Good
//	record Good                      the new slot                Good
package trial

import (
	"time"

	"cistern/firmware/machine"
	"cistern/firmware/slot"
)

// Running is what a boot knows about itself.
type Running struct {
	Slot    slot.Slot
	Default slot.Slot // which slot autoboot.txt names
	Trial   bool      // booted as a try: the next boot is Default again
	Version string
	Build   string
}

// NoReason is why an update was given up when nothing could be noted.
const NoReason = "its trial ended without a reason noted: a power cut, a crash, or the watchdog"

// neverRan is why when not even its slot came up far enough to note that it ran.
const neverRan = "it never came up: a power cut before its first boot, or a system that does not boot"

// OnTrial says whether this boot has to be called good. The slot that autoboot.txt
// names is never on trial, however it was booted.
func (r Running) OnTrial() bool { return r.Trial && r.Slot != r.Default }

// Booted returns the record as it must be now that r runs. was is nil when there
// was no update yet.
func Booted(was *machine.Update, r Running, now time.Time) *machine.Update {
	if r.OnTrial() {
		// Whatever was noted: this is what is being tried.
		if was != nil && was.Result == machine.Trying && was.Build == r.Build && was.Slot == r.Slot.String() {
			return &machine.Update{Version: r.Version, Build: r.Build, Slot: was.Slot, Result: machine.Trying, Why: NoReason, At: was.At}
		}
		return &machine.Update{Version: r.Version, Build: r.Build, Slot: r.Slot.String(), Result: machine.Trying, Why: NoReason, At: now}
	}
	if was == nil || was.Result != machine.Trying && was.Result != machine.Written {
		return was
	}
	if was.Slot == r.Slot.String() && was.Build == r.Build && r.Slot == r.Default {
		return Called(was, now) // else the firmware came here by itself, past a slot that does not boot
	}
	if was.Result == machine.Written {
		return was
	}
	is := *was
	is.At = now
	is.Result = machine.RolledBack
	if is.Why == "" {
		is.Why = neverRan
	}
	return &is
}

// Written is the record of an update that lies in the other slot.
func Written(version, build string, s slot.Slot, now time.Time) *machine.Update {
	return &machine.Update{Version: version, Build: build, Slot: s.String(), Result: machine.Written, At: now}
}

// Try is the record before the reboot into the other slot.
func Try(version, build string, s slot.Slot, now time.Time) *machine.Update {
	return &machine.Update{Version: version, Build: build, Slot: s.String(), Result: machine.Trying, At: now}
}

// GivenUp notes why the trial that runs is being ended. The boot after it, of
// the old slot, makes it RolledBack.
func GivenUp(was *machine.Update, why string) *machine.Update {
	is := *was
	is.Why = why
	return &is
}

// Called is the record of a trial that was called good.
func Called(was *machine.Update, now time.Time) *machine.Update {
	is := *was
	is.Result, is.Why, is.At = machine.Good, "", now
	return &is
}
