package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"cistern/firmware/init/trial"
	"cistern/firmware/machine"
	"cistern/firmware/slot"
)

// ending is how the machine is to end.
type ending struct {
	off bool
	try bool // reboot into the other slot, once
	why string
}

// records keeps what became of the last update, over power cuts.
type records interface {
	read() (*machine.Update, error)
	write(*machine.Update) error
}

// folderRecords is where they are kept.
type folderRecords string

func (f folderRecords) read() (*machine.Update, error) { return trial.Read(string(f)) }
func (f folderRecords) write(u *machine.Update) error  { return trial.Write(string(f), u) }

// box is the machine as its socket sees it: the two slots, which of them boots,
// and what is known of the last update. It touches the card and the record,
// nothing else.
type box struct {
	card    slot.Disk
	run     trial.Running
	release slot.Release
	board   string
	key     ed25519.PublicKey // nil: takes no updates
	records records
	now     func() time.Time
	say     func(format string, args ...any)
	fill    func(*machine.State) // what others know
	end     chan<- ending        // with room for one

	writing sync.Mutex  // held while the other slot is written, or an end is decided
	partial atomic.Bool // the other slot holds half an update

	mu     sync.Mutex
	record *machine.Update
	trial  bool // still to be called good
	ends   time.Time
	ending bool
}

var errNoKey = errors.New("this image has no key for updates (etc/cistern/" + slot.PublicFile + "), so it takes none; write its card anew with an image that has one")

// boot takes note of what this boot means for the last update.
func (b *box) boot(trialTime time.Duration) error {
	was, err := b.records.read()
	if err != nil {
		b.say("update: %v; what became of the last update is not known", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.record = trial.Booted(was, b.run, b.now())
	if b.trial = b.run.OnTrial(); b.trial {
		b.ends = b.now().Add(trialTime)
		b.say("update: slot %s runs %s on trial; it has %s to be called good, else slot %s boots again",
			b.run.Slot, b.run.Version, trialTime, b.run.Default)
	}
	if b.record == nil || was != nil && *b.record == *was {
		return nil
	}
	if b.record.Result == machine.RolledBack {
		b.say("update: %s was rolled back: %s", b.record.Version, b.record.Why)
	}
	return b.records.write(b.record)
}

// State implements orders.
func (b *box) State() *machine.State {
	s := &machine.State{
		Version: b.release.Version, Commit: b.release.Commit, Board: b.release.Board, Build: b.release.Build,
		Slot: b.run.Slot.String(), Other: b.other(),
	}
	b.mu.Lock()
	if s.Trial = b.trial; s.Trial {
		s.TrialEnds = b.ends
	}
	if b.record != nil {
		last := *b.record
		s.LastUpdate = &last
	}
	b.mu.Unlock()
	b.fill(s)
	return s
}

// other reads what the slot that does not run holds. It takes no lock: the card
// may be slow, and who only looks must keep nobody from an order.
func (b *box) other() machine.Slot {
	is := b.run.Slot.Other()
	s := machine.Slot{Slot: is.String()}
	var r slot.Release
	var err error
	if !b.partial.Load() {
		r, err = slot.ReadRelease(is.On(b.card))
	}
	if b.partial.Load() { // at the latest since it was read
		s.Problem = "an update is being written to it"
		return s
	}
	if err != nil {
		s.Problem = err.Error()
		return s
	}
	s.Version, s.Build = r.Version, r.Build
	return s
}

// Update implements orders.
func (b *box) Update(_ context.Context, file io.Reader) (machine.WrittenUpdate, error) {
	var none machine.WrittenUpdate
	if b.key == nil {
		return none, errNoKey
	}
	if b.run.Slot == 0 {
		return none, errUnknownSlot
	}
	if !b.writing.TryLock() {
		return none, fmt.Errorf("%w: another update is being written", errBusy)
	}
	defer b.writing.Unlock()
	if err := b.mayWrite(); err != nil {
		return none, err
	}
	other := b.run.Slot.Other()
	b.say("update: writing slot %s", other)
	b.partial.Store(true)
	m, err := slot.Apply(file, b.key, b.board, other.On(b.card), b.progress())
	b.partial.Store(false)
	if err != nil {
		b.say("update: %v", err)
		return none, err
	}
	b.say("update: slot %s holds %s", other, m.Version)
	err = b.note(trial.Written(m.Version, m.Build, other, b.now()))
	return machine.WrittenUpdate{Version: m.Version, Build: m.Build, Slot: other.String()}, err
}

var errUnknownSlot = errors.New("nobody knows which slot runs, so none is written over; write the card anew")

// mayWrite makes sure that the other slot is the one nobody needs: not the way
// back from a trial, and not the one that boots next.
func (b *box) mayWrite() error {
	b.mu.Lock()
	onTrial, ending := b.trial, b.ending
	b.mu.Unlock()
	if onTrial {
		return fmt.Errorf("%w: this gateway is on trial with its last update, and slot %s is its way back; wait for the trial's end", errBusy, b.run.Default)
	}
	if ending {
		return errEnding
	}
	if is, err := slot.Default(b.card); err == nil && is == b.run.Slot {
		return nil
	}
	return slot.SetDefault(b.card, b.run.Slot)
}

var errEnding = fmt.Errorf("%w: the machine is stopping", errBusy)

// progress tells the console each quarter.
func (b *box) progress() slot.Progress {
	said := ""
	return func(step string, done, total int64) {
		if now := fmt.Sprintf("%s %d %%", step, done*4/max(total, 1)*25); now != said {
			said = now
			b.say("update: %s", now)
		}
	}
}

// note keeps what became of an update, in memory also when the card does not.
func (b *box) note(u *machine.Update) error {
	b.mu.Lock()
	b.record = u
	b.mu.Unlock()
	return b.records.write(u)
}
