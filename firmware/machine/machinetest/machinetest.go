// Package machinetest plays the first process of a Cistern image for tests of
// what runs on one: a unix socket with two slots behind it, an update that is
// written to the other one, a reboot into it on trial, and the way back.
//
// Nothing boots here. What a reboot does to the agent is the test's to say
// (Machine.Down, Machine.Up): stop the process and start it again, or nothing.
package machinetest

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"cistern/firmware/machine"
	"cistern/firmware/slot"
)

const (
	trialDefault = 300 * time.Second
	hostname     = "cistern-test"
)

// Machine is one. Set what differs from the defaults before Start.
type Machine struct {
	Release slot.Release  // that runs at first, in slot a
	Trial   time.Duration // 0: 300 s
	// Down is called when the machine goes down, and returns when the agent is gone;
	// Up when it has booted, with what runs now. Nil: the agent does not notice.
	Down func()
	Up   func(machine.State)
	// Bad says why a version is no good, "" if it is: its trial ends at once, as of
	// one whose agent falls over. Nil: all are.
	Bad func(version string) string
	// BeforeGood, when not nil, is called before a trial ends as a good one.
	BeforeGood func()
	// Refuse, when not nil, looks at an update before it is taken.
	Refuse func(slot.Manifest) error

	dir    string
	server *http.Server
	done   chan struct{}
	boots  sync.WaitGroup

	mu     sync.Mutex
	state  machine.State
	timer  *time.Timer // of the trial
	asked  []string
	booted int
	down   bool // it boots
	ended  bool
	writes int // under way
}

// Start serves the machine until Stop.
func (m *Machine) Start() error {
	if m.Trial == 0 {
		m.Trial = trialDefault
	}
	var err error
	if m.dir, err = os.MkdirTemp("", "m"); err != nil { // short: a socket's path may have 107 bytes
		return err
	}
	l, err := net.Listen("unix", m.Socket())
	if err != nil {
		os.RemoveAll(m.dir)
		return err
	}
	r := m.Release
	m.state = machine.State{Version: r.Version, Commit: r.Commit, Board: r.Board, Build: r.Build, Slot: "a", BootID: "boot-0", ClockSynced: true, Hostname: hostname,
		Other: machine.Slot{Slot: "b", Version: r.Version, Build: r.Build}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+machine.PathMachine, func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, m.State()) })
	mux.HandleFunc("POST "+machine.PathUpdate, m.update)
	mux.HandleFunc("POST "+machine.PathReboot, m.reboot)
	mux.HandleFunc("POST "+machine.PathGood, m.good)
	m.server, m.done = &http.Server{Handler: mux}, make(chan struct{})
	go func() {
		defer close(m.done)
		_ = m.server.Serve(l)
	}()
	return nil
}

// Stop ends it, and waits for a boot that is under way.
func (m *Machine) Stop() {
	m.mu.Lock()
	m.ended = true
	m.stopTimer()
	m.mu.Unlock()
	m.server.Close()
	<-m.done
	m.boots.Wait()
	os.RemoveAll(m.dir)
}

// Socket is what CISTERN_MACHINE says on this machine.
func (m *Machine) Socket() string { return filepath.Join(m.dir, "m") }

// State is the machine as it is now.
func (m *Machine) State() machine.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state
	if s.LastUpdate != nil {
		u := *s.LastUpdate
		s.LastUpdate = &u
	}
	return s
}

// Asked returns what was asked for so far, but for looks: "update 1.3",
// "update broken off", "reboot try", "reboot", "good".
func (m *Machine) Asked() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.asked...)
}

// Writing returns how many updates are being written now.
func (m *Machine) Writing() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

// GiveUp ends a trial that is on: the time is over, or the agent can't start.
func (m *Machine) GiveUp(why string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state.Trial {
		m.boot(func() { m.giveUp(why) })
	}
}

// try boots the other slot on trial. mu is held.
func (m *Machine) try() {
	m.swap()
	if u := m.state.LastUpdate; u != nil {
		u.Result, u.At = machine.Trying, time.Now()
	}
	if m.Bad != nil {
		if why := m.Bad(m.state.Version); why != "" {
			m.giveUp(why)
			return
		}
	}
	m.state.Trial, m.state.TrialEnds = true, time.Now().Add(m.Trial)
	m.timer = time.AfterFunc(m.Trial, func() { m.GiveUp(fmt.Sprintf("not called good within %s", m.Trial)) })
}

// giveUp boots the slot that was there before. mu is held.
func (m *Machine) giveUp(why string) {
	m.swap()
	m.endTrial(machine.RolledBack, why)
}

// endTrial notes how it went. mu is held.
func (m *Machine) endTrial(result, why string) {
	m.stopTimer()
	m.state.Trial, m.state.TrialEnds = false, time.Time{}
	if u := m.state.LastUpdate; u != nil {
		u.Result, u.Why, u.At = result, why, time.Now()
	}
}

// swap makes the other slot the one that runs. mu is held.
func (m *Machine) swap() {
	s := &m.state
	was := machine.Slot{Slot: s.Slot, Version: s.Version, Build: s.Build}
	s.Slot, s.Version, s.Build, s.Other = s.Other.Slot, s.Other.Version, s.Other.Build, was
}

// boot goes down, has change decide what is booted, and comes up. While it does,
// another one asks in vain. mu is held.
func (m *Machine) boot(change func()) {
	if m.down || m.ended {
		return
	}
	m.down = true
	m.boots.Go(func() {
		if m.Down != nil {
			m.Down()
		}
		m.mu.Lock()
		change()
		m.booted++
		m.state.BootID = fmt.Sprintf("boot-%d", m.booted)
		m.down = false
		m.mu.Unlock()
		if m.Up != nil {
			m.Up(m.State())
		}
	})
}

func (m *Machine) stopTimer() {
	if m.timer != nil {
		m.timer.Stop()
	}
}
