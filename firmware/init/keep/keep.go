// Package keep decides when a process that must always run is started again,
// when it counts as hung, and when the hardware's watchdog may be fed. It only
// decides: no process, clock or device is touched here.
package keep

import "time"

// How the agent is kept.
const (
	// delayMin and delayMax bound the pause before a start. Nothing is gained by
	// starting what fails at once more often, and the card would wear by it.
	delayMin = time.Second
	delayMax = 30 * time.Second
	// calmAfter is how long it must have run for the pause to begin small again.
	calmAfter = time.Minute

	// Beat is how long it may be silent, WATCHDOG_USEC. It sends twice as often.
	Beat = 30 * time.Second
	// StartMax bounds the start, before the first beat: a store of a large card
	// is recovered in it.
	StartMax = 15 * time.Minute
	// StopMax is how long it has to stop by itself.
	StopMax = 40 * time.Second
	// EndMax bounds everything after that: unmounting and the reboot.
	EndMax = 60 * time.Second
	// BootMax bounds the boot up to the agent's start without the file system's
	// check, which has CheckMax.
	BootMax  = 3 * time.Minute
	CheckMax = 60 * time.Minute

	// killMax is how long a hung agent has to end when it is killed: a process
	// that waits for a card which does not answer can't be.
	killMax = 20 * time.Second
	// hangsApart: a second hang within it is no accident of the process, and
	// only a reset may help.
	hangsApart = 10 * time.Minute
)

// Backoff counts failed starts.
type Backoff struct{ delay time.Duration }

// Next returns how long to wait before the next start, when the last run took
// ran.
func (b *Backoff) Next(ran time.Duration) time.Duration {
	if ran >= calmAfter {
		b.delay = 0
	}
	b.delay = min(max(b.delay*2, delayMin), delayMax)
	return b.delay
}

// Watch knows until when the machine counts as alive. Everything that is waited
// for has a limit; who waits says for how long. Times are of the monotonic
// clock: a duration since boot.
type Watch struct {
	until  time.Duration // what is going on now must be over then
	agent  bool          // the agent's word counts
	ending bool          // a hung agent is being killed
	hung   time.Duration // when it was last found hung
	hangs  int
	doomed bool // nothing but a reset helps
}

// Allow gives what happens now so long; the agent's word does not count
// meanwhile.
func (w *Watch) Allow(now, long time.Duration) {
	w.until, w.agent, w.ending = now+long, false, false
}

// Started begins to wait for the agent's first beat.
func (w *Watch) Started(now time.Duration) {
	w.until, w.agent, w.ending = now+StartMax, true, false
}

// Beaten takes a beat of the agent.
func (w *Watch) Beaten(now time.Duration) {
	if w.agent {
		w.until = now + Beat
	}
}

// Stopping takes the agent's word that it is about to end.
func (w *Watch) Stopping(now time.Duration) {
	if w.agent {
		w.until = now + StopMax
	}
}

// Alive says whether the hardware's watchdog may be fed.
func (w *Watch) Alive(now time.Duration) bool { return !w.doomed && now <= w.until }

// What to do about an agent.
type Verdict int

const (
	Well  Verdict = iota
	Kill          // it hangs: end it, and start it again
	Reset         // it hangs again: let the hardware reset the machine
)

// Judge says what to do about the agent now. After Kill it says Well for as long
// as an end may take, and then Reset, unless the agent was started again.
func (w *Watch) Judge(now time.Duration) Verdict {
	switch {
	case w.doomed:
		return Reset
	case now <= w.until || !w.agent && !w.ending:
		return Well
	case w.ending, w.hangs > 0 && now-w.hung < hangsApart:
		w.doomed = true
		return Reset
	}
	w.hangs++
	w.hung, w.until = now, now+killMax
	w.agent, w.ending = false, true
	return Kill
}
