package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"cistern/agent/status"
	"cistern/firmware/board"
	"cistern/gossip/quorum"
)

// What a stop may take when the power goes: a UPS HAT may have seconds left, a
// capacitor one. These are for what hangs: where nothing does, all is done after
// tens of milliseconds.
const (
	powerPartMax   = 200 * time.Millisecond // for one part to end; then it is left behind
	powerCommitMax = 1500 * time.Millisecond
	powerSayMax    = 300 * time.Millisecond // for what the site is told, together
	powerStoreMax  = 3 * time.Second
	powerSyncMax   = 2 * time.Second
)

// orders are what reaches an agent from its board.
type orders struct {
	power, button context.Context // done when it was given
	fail, press   context.CancelCauseFunc
}

func newOrders() (o orders) {
	o.power, o.fail = context.WithCancelCause(context.Background())
	o.button, o.press = context.WithCancelCause(context.Background())
	return o
}

// powerLost is the cause of orders.power.
type powerLost struct{ at time.Time }

func (powerLost) Error() string { return "there is no power from outside" }

var errButton = errors.New("the button was held")

// powerFails makes the agent stop at once. The line told at that time.
func (a *Agent) powerFails(at time.Time) { a.orders.fail(powerLost{at}) }

// buttonHeld makes the agent hand over what it leads, and stop.
func (a *Agent) buttonHeld() { a.orders.press(errButton) }

// rests says whether the agent stopped, or stops, on an order of the board: the
// process goes on.
func (a *Agent) rests() bool { return a.orders.power.Err() != nil || a.orders.button.Err() != nil }

// obey returns a context that ends with ctx and with each order of the board.
func (o *orders) obey(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stopPower, stopButton := context.AfterFunc(o.power, cancel), context.AfterFunc(o.button, cancel)
	return ctx, func() {
		stopPower()
		stopButton()
		cancel()
	}
}

// stopNow is stop when the power goes. Whatever writes to flash or waits for it
// comes first, each part with little time; what says goodbye to others is left for
// when nothing can be spoiled any more. It fails when the journal did not close.
func (a *Agent) stopNow(c *crew) error {
	var lost powerLost
	errors.As(context.Cause(a.orders.power), &lost)
	a.alive.enter(stopping)
	c.ask("mqtt", "external brokers")        // nothing more comes in,
	within(powerCommitMax, a.ingest.Close)   // and what did is committed without waiting for company,
	c.stop(powerPartMax, "external brokers") // answered,
	c.stop(powerPartMax, "mqtt")             // and told to devices
	if a.site != nil {
		a.handOverNow(c)
	}
	c.stop(powerPartMax, "updates", "pulse", "board", "watch", "drain", "clock", "forwarder", "peer server", "replicas", "journal")
	err := a.closeStore(powerStoreMax)
	p := status.PowerFail{At: lost.at, Clean: err == nil, CleanSeconds: time.Since(lost.at).Seconds()}
	a.keep(&p)
	if !within(powerSyncMax, a.sync) {
		a.log.Warn("the file system was not synced in time; the journal was, by its own flushes")
	}
	if err == nil {
		a.life.show(board.SafeToCut)
	}
	a.log.Info("stopped for want of power", "clean", err == nil,
		"ms_to_clean", time.Duration(p.CleanSeconds*float64(time.Second)).Milliseconds(), "ms_to_synced", time.Since(lost.at).Milliseconds())
	c.stop(powerPartMax)
	if a.site != nil {
		within(powerPartMax, func() { _ = a.site.close() })
	}
	a.left = c.left
	return err
}

// handOverNow tells the site where the drains are, and that this gateway goes.
// What can't be said in time is found out by the others, and costs them a moment.
func (a *Agent) handOverNow(c *crew) {
	c.stop(powerPartMax, "drain follows leaders", "drain")
	ctx, cancel := context.WithTimeout(context.Background(), powerSayMax)
	defer cancel()
	if a.site.cursors != nil {
		within(powerSayMax, func() { a.site.cursors.tellLast(ctx) })
	}
	c.stop(powerPartMax, "site")
	a.site.leave(ctx)
}

// within calls f and waits for it, for so long.
func within(limit time.Duration, f func()) (done bool) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f()
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ended:
		return true
	case <-timer.C:
		return false
	}
}

// sync has the file system write down what the journal's own flushes are not
// about.
func (a *Agent) sync() {
	if err := syncFileSystem(a.config.Gateway.Data); err != nil {
		a.log.Warn("the file system was not synced", "error", err)
	}
}

// settled returns when the parts have ended that a hurried stop left behind. It fails
// when another agent could not start beside what is left.
func (a *Agent) settled(ctx context.Context) error {
	timer := time.NewTimer(settledMax)
	defer timer.Stop()
	for _, p := range a.left {
		select {
		case <-p.done:
		case <-ctx.Done():
			return nil
		case <-timer.C:
			return errors.New(p.name + " does not end: a new process has to start")
		}
	}
	if a.site != nil && a.site.raftStays.Load() {
		return fmt.Errorf("%w: a new process has to start", quorum.ErrNotEnded)
	}
	return nil
}

// powerFile is where the last power failure stands in the data folder: the journal
// is closed by then.
const powerFile = "power-fail.json"

// powerFileMax bounds what is read of it.
const powerFileMax = 4 << 10

// keep writes down how the stop went, for the next status.
func (a *Agent) keep(p *status.PowerFail) {
	text, err := json.Marshal(p)
	path := filepath.Join(a.config.Gateway.Data, powerFile)
	if err == nil {
		err = os.WriteFile(path+".tmp", text, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		a.log.Warn("how the stop went is not kept", "error", err)
	}
}

// lastPowerFail reads what keep wrote, nil when there is nothing: a file that the
// cut itself spoiled is as good as none.
func lastPowerFail(data string) *status.PowerFail {
	f, err := os.Open(filepath.Join(data, powerFile))
	if err != nil {
		return nil
	}
	defer f.Close()
	text := make([]byte, powerFileMax)
	n, _ := f.Read(text)
	p := new(status.PowerFail)
	if json.Unmarshal(text[:n], p) != nil {
		return nil
	}
	return p
}
