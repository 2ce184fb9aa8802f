package clock

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beevik/ntp"
	"golang.org/x/sys/unix"
)

// Limits of one round of questions.
const (
	serversMax    = 4 // addresses asked
	lookupTimeout = 10 * time.Second
	queryTimeout  = 5 * time.Second
	// distanceMax: a server that is less sure of its time is not believed.
	distanceMax = 1500 * time.Millisecond
)

// Keeper keeps the clock.
type Keeper struct {
	say     func(format string, args ...any)
	stepped func()
	// What tests replace: the clock, the servers, the kernel's flag.
	set     func(time.Time) error
	query   func(address string) (time.Duration, error)
	confirm func(Action, time.Duration) error

	servers atomic.Pointer[[]string]
	changed chan struct{} // the network did

	mu     sync.Mutex // held while the clock is set
	synced atomic.Bool
}

// New returns a keeper without servers. It calls stepped when servers have
// confirmed the clock for the first time.
func New(say func(string, ...any), stepped func()) *Keeper {
	return &Keeper{say: say, stepped: stepped, set: setTime, query: query, confirm: confirm, changed: make(chan struct{}, 1)}
}

// Raise sets a clock that shows an earlier time than both, see Floor. What a
// time server has said it leaves alone, however early that is.
func (k *Keeper) Raise(built, kept time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	to, behind := Floor(time.Now(), built, kept)
	if !behind || k.synced.Load() {
		return
	}
	if err := k.set(to); err != nil {
		k.say("clock: %v", err)
		return
	}
	k.say("clock: not set; it begins at %s, the earliest it can be", to.UTC().Format(time.RFC3339))
}

// Use says who is to be asked from now on.
func (k *Keeper) Use(servers []string) {
	if len(servers) == 0 {
		servers = DefaultServers
	}
	k.servers.Store(&servers)
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// Synced says whether the clock was confirmed by a time server since the boot.
func (k *Keeper) Synced() bool { return k.synced.Load() }

// Run keeps the clock until ctx is done.
func (k *Keeper) Run(ctx context.Context) {
	select {
	case <-k.changed: // nobody can be asked before
	case <-ctx.Done():
		return
	}
	said := ""
	for failures := 0; ; {
		why := k.round(ctx)
		switch {
		case why == "":
			failures = 0
		case why != said:
			k.say("clock: %s", why)
			fallthrough
		default:
			failures++
		}
		said = why
		wait := time.NewTimer(Next(failures))
		select {
		case <-wait.C:
		case <-k.changed:
			failures = 0
		case <-ctx.Done():
			wait.Stop()
			return
		}
		wait.Stop()
	}
}

// round asks once and does what follows. It says why nothing did.
func (k *Keeper) round(ctx context.Context) (why string) {
	offsets, answer := k.ask(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	action, offset, why := Decide(offsets, k.synced.Load())
	if action == Leave {
		if answer != nil && len(offsets) == 0 {
			why += ": " + answer.Error()
		}
		return why
	}
	if action == Step {
		if err := k.set(time.Now().Add(offset)); err != nil {
			return "can't be set: " + err.Error()
		}
		k.say("clock: set by %s to %s", offset.Round(time.Millisecond), time.Now().UTC().Format(time.RFC3339))
	}
	if err := k.confirm(action, offset); err != nil {
		return "can't be confirmed to the kernel: " + err.Error()
	}
	if !k.synced.Swap(true) {
		if action == Slew {
			k.say("clock: confirmed, off by %s", offset.Round(time.Millisecond))
		}
		k.stepped()
	}
	return ""
}

// ask asks every server at once; the error is one of those that did not answer.
func (k *Keeper) ask(ctx context.Context) (offsets []time.Duration, problem error) {
	addresses, problem := k.resolve(ctx)
	type answer struct {
		offset time.Duration
		err    error
	}
	answers := make(chan answer, len(addresses))
	for _, a := range addresses {
		go func() {
			offset, err := k.query(a)
			answers <- answer{offset, err}
		}()
	}
	for range addresses {
		if a := <-answers; a.err == nil {
			offsets = append(offsets, a.offset)
		} else {
			problem = a.err
		}
	}
	return offsets, problem
}

func query(address string) (time.Duration, error) {
	r, err := ntp.QueryWithOptions(address, ntp.QueryOptions{Timeout: queryTimeout})
	if err == nil {
		err = r.Validate()
	}
	if err != nil {
		return 0, &net.OpError{Op: "ntp", Net: address, Err: err}
	}
	if r.RootDistance > distanceMax {
		return 0, &net.OpError{Op: "ntp", Net: address, Err: ntp.ErrInvalidDispersion}
	}
	return r.ClockOffset, nil
}

// resolve turns names into addresses, taking turns between the servers' so that
// one name does not fill the list.
func (k *Keeper) resolve(ctx context.Context) (addresses []string, problem error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	var lists [][]string
	for _, server := range *k.servers.Load() {
		found, err := net.DefaultResolver.LookupHost(ctx, server)
		if err != nil {
			problem = err
			continue
		}
		lists = append(lists, found)
	}
	for i := 0; len(addresses) < serversMax; i++ {
		more := false
		for _, l := range lists {
			if i < len(l) && len(addresses) < serversMax {
				addresses, more = append(addresses, l[i]), true
			}
		}
		if !more {
			break
		}
	}
	return addresses, problem
}

// setTime steps the clock.
func setTime(t time.Time) error {
	tv := unix.NsecToTimeval(t.UnixNano())
	return unix.Settimeofday(&tv)
}

// confirm tells the kernel that its clock is right to within the error given,
// and what it is still off by. The kernel counts the error up, and withdraws its
// word after nine hours without us.
func confirm(action Action, offset time.Duration) error {
	if action == Slew {
		t := unix.Timex{Modes: unix.ADJ_OFFSET_SINGLESHOT}
		setMicros(&t.Offset, offset)
		if _, err := unix.Adjtimex(&t); err != nil {
			return err
		}
	}
	t := unix.Timex{Modes: unix.ADJ_STATUS | unix.ADJ_MAXERROR | unix.ADJ_ESTERROR}
	if action == Slew {
		setMicros(&t.Maxerror, offset.Abs())
		setMicros(&t.Esterror, offset.Abs())
	}
	_, err := unix.Adjtimex(&t)
	return err
}

// setMicros assigns to a field that is 32 bits wide on some boards. Durations
// here are below believeMax.
func setMicros[T int32 | int64](field *T, d time.Duration) { *field = T(d.Microseconds()) }
