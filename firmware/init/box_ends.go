package main

import (
	"fmt"

	"cistern/firmware/init/trial"
	"cistern/firmware/slot"
)

// Reboot implements orders.
func (b *box) Reboot(try bool) error {
	if !b.writing.TryLock() {
		return fmt.Errorf("%w: an update is being written; wait for its end", errBusy)
	}
	defer b.writing.Unlock()
	if !try {
		b.noteWhy("it was asked to reboot before it was called good")
		return b.stop(ending{why: "asked to reboot"})
	}
	if b.run.Slot == 0 {
		return errUnknownSlot
	}
	other := b.run.Slot.Other()
	r, err := slot.ReadRelease(other.On(b.card))
	if err != nil {
		return fmt.Errorf("slot %s holds nothing that could be tried: %w", other, err)
	}
	if r.Board != b.board {
		return fmt.Errorf("slot %s is for the board %q, this is %q", other, r.Board, b.board)
	}
	b.mu.Lock()
	onTrial := b.trial
	b.mu.Unlock()
	if onTrial {
		return fmt.Errorf("%w: this gateway is on trial; a plain reboot goes back to slot %s", errBusy, other)
	}
	if err := b.flagTry(r); err != nil {
		return err
	}
	return b.stop(ending{try: true, why: "asked to try " + r.Version + " in slot " + other.String()})
}

// flagTry notes the trial before anything can boot it: the other way round, a
// power cut would leave a trial that nobody knows of.
func (b *box) flagTry(r slot.Release) error {
	// A try is of the slot that autoboot.txt does not name.
	if err := b.mayWrite(); err != nil {
		return err
	}
	if err := b.note(trial.Try(r.Version, r.Build, b.run.Slot.Other(), b.now())); err != nil {
		return err
	}
	if b.board == slot.BoardQemu {
		return slot.SetTry(b.card, true)
	}
	return nil // a Pi is told with the reboot itself
}

// Poweroff implements orders.
func (b *box) Poweroff() error {
	if !b.writing.TryLock() {
		return fmt.Errorf("%w: an update is being written; wait for its end", errBusy)
	}
	defer b.writing.Unlock()
	b.noteWhy("it was asked to power off before it was called good")
	return b.stop(ending{off: true, why: "asked to power off"})
}

// stop begins the end, once.
func (b *box) stop(how ending) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ending {
		return errEnding
	}
	b.ending = true
	b.end <- how
	return nil
}

// Good implements orders: from now on this slot boots.
func (b *box) Good() error {
	b.mu.Lock()
	onTrial, ending := b.trial, b.ending
	b.mu.Unlock()
	if !onTrial {
		return nil
	}
	if ending {
		return errEnding
	}
	if err := slot.SetDefault(b.card, b.run.Slot); err != nil {
		return fmt.Errorf("the card does not take that slot %s is to boot: %w", b.run.Slot, err)
	}
	b.mu.Lock()
	b.trial = false
	record := b.record
	b.mu.Unlock()
	b.say("update: %s is good; slot %s boots from now on", b.run.Version, b.run.Slot)
	return b.note(trial.Called(record, b.now()))
}

// giveUp ends a trial that is still on: with the reason noted, the machine
// boots, and that is the old slot.
func (b *box) giveUp(why string) {
	if !b.noteWhy(why) {
		return
	}
	b.say("update: giving up the trial of %s: %s", b.run.Version, why)
	_ = b.stop(ending{why: "the trial failed"}) // it may be stopping already, which ends the trial as well
}

// noteWhy notes for the boot after this one why a trial ends, if there is one.
func (b *box) noteWhy(why string) bool {
	b.mu.Lock()
	on, record := b.trial, b.record
	b.mu.Unlock()
	if !on {
		return false
	}
	if err := b.note(trial.GivenUp(record, why)); err != nil {
		b.say("update: %v", err)
	}
	return true
}
