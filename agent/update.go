package agent

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"cistern/agent/status"
	"cistern/firmware/machine"
)

const (
	machineInterval = 5 * time.Second // between two looks at the machine
	trialInterval   = time.Second     // while an update is on trial
	// trialSettle is how long all has to be well before an update is called good:
	// a process that soon falls over is not.
	trialSettle = 5 * time.Second
)

// updates is the agent's part in updates of the image that it runs from: it hands
// them to the machine, and on trial it says when the new version is good.
type updates struct {
	a       *Agent
	machine *machine.Client
	settle  time.Duration

	mu   sync.Mutex
	last *status.Machine // nil: the machine has not answered yet
}

// openUpdates finds out whether this gateway runs from an image.
func (a *Agent) openUpdates() error {
	client, err := machine.New()
	if errors.Is(err, machine.ErrNoMachine) {
		return nil
	}
	if err != nil {
		return err
	}
	a.updates = &updates{a: a, machine: client, settle: trialSettle}
	return nil
}

// Machine implements status.MachineAdmin.
func (u *updates) Machine(ctx context.Context) (*status.Machine, error) {
	s, err := u.machine.State(ctx)
	if err != nil {
		return nil, err
	}
	m := &status.Machine{State: *s}
	if s.Trial {
		m.Missing = u.a.trial().missing()
	}
	u.mu.Lock()
	u.last = m
	u.mu.Unlock()
	return m, nil
}

// Update implements status.MachineAdmin.
func (u *updates) Update(ctx context.Context, file io.Reader) (machine.WrittenUpdate, error) {
	u.a.log.Info("an update is being written to the other slot")
	w, err := u.machine.Update(ctx, file)
	if err != nil {
		u.a.log.Warn("the update was not written; this version goes on", "error", err)
		return w, err
	}
	u.a.log.Info("the update is written and verified", "version", w.Version, "build", w.Build, "slot", w.Slot)
	return w, nil
}

// Reboot implements status.MachineAdmin.
func (u *updates) Reboot(ctx context.Context, try bool) error {
	u.a.log.Info("the machine is told to start again", "other_slot", try)
	return u.machine.Reboot(ctx, try)
}

// known is the machine as it was seen last, nil before.
func (u *updates) known() *status.Machine {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.last == nil {
		return nil
	}
	m := *u.last
	return &m
}

// run looks at the machine, and calls an update good when it is.
func (u *updates) run(ctx context.Context) error {
	var t trialWatch
	for {
		wait := machineInterval
		m, err := u.Machine(ctx)
		if t.heard(u.a.log, err) && m.Trial {
			wait = trialInterval
			if t.good(u.a.log, m, u.settle) {
				u.sayGood(ctx, m)
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// sayGood ends the trial. If the machine does not hear it, the next look finds
// the trial still on, and it is said again.
func (u *updates) sayGood(ctx context.Context, m *status.Machine) {
	if err := u.machine.Good(ctx); err != nil {
		u.a.log.Warn("the update is good, and the machine can't be told; trying on", "error", err)
		return
	}
	u.a.log.Info("the update is good and stays", "version", m.Version, "slot", m.Slot)
	_, _ = u.Machine(ctx) // for the next status; if it fails, the next look tells
}
