package main

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cistern/firmware/init/trial"
	"cistern/firmware/machine"
	"cistern/firmware/slot"
)

// world is a card with its data, over several boots.
type world struct {
	t      testing.TB
	disk   *cutDisk
	record *machine.Update
	key    ed25519.PublicKey
	update []byte            // of v2
	images map[string][]byte // by build
	said   []string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, key: pub, images: map[string][]byte{}}
	one, first := systemImage(t, "v1")
	two, second := systemImage(t, "v2")
	w.images[one.Build], w.images[two.Build] = first, second
	w.disk = freshCard(t, first)
	var file bytes.Buffer
	if _, err := slot.WriteUpdate(&file, key, two, second); err != nil {
		t.Fatal(err)
	}
	w.update = file.Bytes()
	return w
}

// The record survives a cut as a file that is replaced does: old or new.
func (w *world) read() (*machine.Update, error) { return w.record, nil }
func (w *world) write(u *machine.Update) error {
	if err := w.disk.step(); err != nil {
		return err
	}
	w.record = u
	return nil
}

// boot is what the loader does: autoboot.txt, boot.txt, and into a whole slot. It
// is nil when the power was cut in the loader.
func (w *world) boot() (*box, chan ending) {
	w.t.Helper()
	byDefault, err := slot.Default(w.disk)
	if err != nil {
		w.t.Fatal("the loader: ", err)
	}
	try, err := slot.Try(w.disk)
	if err != nil {
		w.t.Fatal("the loader: ", err)
	}
	is := byDefault
	if try {
		is = byDefault.Other()
		if w.cut(slot.SetTry(w.disk, false)) {
			return nil, nil
		}
	}
	r, err := slot.ReadRelease(is.On(w.disk))
	if err != nil {
		w.t.Fatalf("booted slot %s: %v", is, err)
	}
	image := make([]byte, len(w.images[r.Build]))
	if _, err := is.On(w.disk).ReadAt(image, 0); err != nil || !bytes.Equal(image, w.images[r.Build]) {
		w.t.Fatalf("booted slot %s, which holds half of %s (%v)", is, r.Version, err)
	}
	ends := make(chan ending, 1)
	b := &box{
		card: w.disk, release: r, board: slot.BoardQemu, key: w.key, records: w, end: ends,
		run:  trial.Running{Slot: is, Default: byDefault, Trial: try, Version: r.Version, Build: r.Build},
		now:  func() time.Time { return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) },
		say:  func(f string, a ...any) { w.said = append(w.said, fmt.Sprintf(f, a...)) },
		fill: func(*machine.State) {},
	}
	w.cut(b.boot(time.Minute))
	return b, ends
}

// cut fails on every error but the one that was made.
func (w *world) cut(err error) bool {
	w.t.Helper()
	if err != nil && !errors.Is(err, errCut) {
		w.t.Fatal(err)
	}
	return err != nil
}

// story is one way an update can go, up to where the power is cut. It returns
// whether it came to its end.
func (w *world) story(good bool) bool {
	w.t.Helper()
	b, ends := w.boot()
	if _, err := b.Update(w.t.Context(), bytes.NewReader(w.update)); w.cut(err) {
		return false
	}
	if w.cut(b.Reboot(true)) || w.cut(w.dead()) {
		return false
	}
	if how := <-ends; !how.try {
		w.t.Fatalf("asked to try: %+v", how)
	}
	b, ends = w.boot()
	if b == nil || w.dead() != nil {
		return false
	}
	if !b.State().Trial {
		w.t.Fatal("not on trial")
	}
	if good {
		return !w.cut(b.Good()) && w.dead() == nil
	}
	b.giveUp("it hung")
	if w.dead() != nil {
		return false
	}
	<-ends
	w.boot()
	return true
}

func (w *world) dead() error {
	if w.disk.cutAt > 0 && w.disk.steps >= w.disk.cutAt {
		return errCut
	}
	return nil
}

// check is what must hold whenever a card boots after a cut.
func (w *world) check(b *box) {
	w.t.Helper()
	s := b.State()
	switch {
	case s.Trial:
		if s.LastUpdate == nil || s.LastUpdate.Result != machine.Trying || s.Version != "v2" {
			w.t.Fatalf("on trial with %+v", s.LastUpdate)
		}
	case s.Version == "v2":
		if s.LastUpdate == nil || s.LastUpdate.Result != machine.Good {
			w.t.Fatalf("v2 boots for good with %+v", s.LastUpdate)
		}
	case s.LastUpdate == nil || s.LastUpdate.Result == machine.Written:
	case s.LastUpdate.Result != machine.RolledBack || s.LastUpdate.Why == "":
		w.t.Fatalf("v1 boots with %+v", s.LastUpdate)
	}
}

// The promise of the A/B slots: whatever step the power is cut at, and whatever
// of the unsynced the card has kept, it boots a whole system and says what became
// of the update; and the same update succeeds afterwards.
func TestPowerCutAtAnyStepBootsAWholeSlot(t *testing.T) {
	for _, good := range []bool{true, false} {
		cuts := 0
		for cutAt, ended := 1, false; !ended; cutAt++ {
			for name, arrived := range losses(uint64(cutAt)) {
				w := newWorld(t)
				w.disk.cutAt = cutAt
				ended = w.story(good)
				w.disk.power(arrived)
				b, _ := w.boot()
				w.check(b)
				if b.State().Trial { // the cut was between the flag and the boot
					b.giveUp("")
					b, _ = w.boot()
					w.check(b)
				}
				if b.State().Version == "v1" && !w.story(true) {
					t.Fatalf("cut at %d, %s: the update does not succeed afterwards", cutAt, name)
				}
				b, _ = w.boot()
				if s := b.State(); s.Version != "v2" || s.LastUpdate.Result != machine.Good || s.Trial {
					t.Fatalf("cut at %d, %s: after all it is %+v", cutAt, name, s)
				}
			}
			cuts = cutAt
		}
		if cuts < 15 {
			t.Errorf("only %d steps to cut at: the model does not see them all", cuts)
		}
	}
}

func TestATrialThatIsGivenUpSaysWhy(t *testing.T) {
	w := newWorld(t)
	if !w.story(false) {
		t.Fatal("cut without a cut")
	}
	b, _ := w.boot()
	s := b.State()
	if s.Version != "v1" || s.LastUpdate.Result != machine.RolledBack || s.LastUpdate.Why != "it hung" || s.Other.Version != "v2" {
		t.Errorf("got %+v, %+v", s, s.LastUpdate)
	}
	if said := strings.Join(w.said, "\n"); !strings.Contains(said, "v2 was rolled back: it hung") {
		t.Errorf("the console: %s", said)
	}
}

func TestWhatIsRefused(t *testing.T) {
	w := newWorld(t)
	b, _ := w.boot()
	other := b.run.Slot.Other().On(w.disk)

	b.key = nil
	if _, err := b.Update(t.Context(), bytes.NewReader(w.update)); !errors.Is(err, errNoKey) {
		t.Errorf("without a key: %v", err)
	}
	b.key = w.key
	b.board = slot.BoardPi
	if _, err := b.Update(t.Context(), bytes.NewReader(w.update)); !errors.Is(err, slot.ErrBoard) {
		t.Errorf("for another board: %v", err)
	}
	if err := b.Reboot(true); err == nil || !strings.Contains(err.Error(), "for the board") {
		t.Errorf("trying another board's slot: %v", err)
	}
	b.board = slot.BoardQemu
	if _, err := slot.ReadRelease(other); err != nil {
		t.Errorf("what was refused has changed the other slot: %v", err)
	}

	b.writing.Lock()
	if _, err := b.Update(t.Context(), bytes.NewReader(w.update)); !errors.Is(err, errBusy) {
		t.Errorf("a second update at once: %v", err)
	}
	if err := b.Reboot(false); !errors.Is(err, errBusy) {
		t.Errorf("a reboot in the middle of an update: %v", err)
	}
	if s := b.State(); s.Other.Problem != "" {
		t.Errorf("nothing was written yet: %+v", s.Other)
	}
	b.partial.Store(true)
	if s := b.State(); s.Other.Problem == "" {
		t.Error("the slot that is being written has no problem")
	}
	b.partial.Store(false)
	b.writing.Unlock()

	if _, err := b.Update(t.Context(), bytes.NewReader(w.update[:len(w.update)-1])); err == nil {
		t.Error("half an update was taken")
	}
	if err := b.Reboot(true); err == nil || !strings.Contains(err.Error(), "nothing that could be tried") {
		t.Errorf("trying half an update: %v", err)
	}

	if err := b.Reboot(false); err != nil {
		t.Fatal(err)
	}
	if err := b.Poweroff(); !errors.Is(err, errBusy) {
		t.Errorf("a second end: %v", err)
	}
}

// slowCard does not answer reads before it is told to.
type slowCard struct {
	slot.Disk
	asked, answer chan struct{}
}

func (c slowCard) ReadAt(p []byte, off int64) (int, error) {
	select {
	case c.asked <- struct{}{}:
	default:
	}
	<-c.answer
	return c.Disk.ReadAt(p, off)
}

// Who only looks, on a card that stalls, keeps nobody from looking or from
// switching off.
func TestLookingRefusesNoOrder(t *testing.T) {
	w := newWorld(t)
	b, ends := w.boot()
	slow := slowCard{b.card, make(chan struct{}, 1), make(chan struct{})} // who asks does not wait for us
	b.card = slow
	looks := make(chan *machine.State)
	for range 2 {
		go func() { looks <- b.State() }()
		<-slow.asked
	}
	if err := b.Poweroff(); err != nil {
		t.Errorf("switching off: %v", err)
	}
	close(slow.answer)
	for range 2 {
		if s := <-looks; s.Other.Version != "v1" {
			t.Errorf("looked: %+v", s.Other)
		}
	}
	if how := <-ends; !how.off {
		t.Errorf("ends with %+v", how)
	}
}

func TestATrialKeepsItsWayBack(t *testing.T) {
	w := newWorld(t)
	b, ends := w.boot()
	if _, err := b.Update(t.Context(), bytes.NewReader(w.update)); err != nil {
		t.Fatal(err)
	}
	if err := b.Reboot(true); err != nil {
		t.Fatal(err)
	}
	<-ends
	b, _ = w.boot()
	if _, err := b.Update(t.Context(), bytes.NewReader(w.update)); !errors.Is(err, errBusy) || !strings.Contains(err.Error(), "way back") {
		t.Errorf("an update over the way back: %v", err)
	}
	if err := b.Reboot(true); !errors.Is(err, errBusy) {
		t.Errorf("a trial in a trial: %v", err)
	}
	for range 2 { // a second time changes nothing
		if err := b.Good(); err != nil {
			t.Fatal(err)
		}
	}
	b.giveUp("too late")
	if is, err := slot.Default(w.disk); err != nil || is != slot.B || w.record.Result != machine.Good {
		t.Errorf("after good: slot %s, %v, %+v", is, err, w.record)
	}
}

// A slot that autoboot.txt names by somebody's hand is not written over.
func TestUpdateNamesTheRunningSlotFirst(t *testing.T) {
	w := newWorld(t)
	b, _ := w.boot()
	if err := slot.SetDefault(w.disk, slot.B); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Update(t.Context(), bytes.NewReader(w.update)); err != nil {
		t.Fatal(err)
	}
	if is, err := slot.Default(w.disk); err != nil || is != slot.A {
		t.Errorf("boots slot %s (%v) which was just written and never tried", is, err)
	}
}
