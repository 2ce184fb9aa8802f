package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cistern/firmware/init/keep"
	"cistern/firmware/init/notify"
	"cistern/firmware/init/trial"
	"cistern/firmware/machine"
	"cistern/firmware/slot"
)

// makeBox puts together what the machine's socket serves.
func (s *system) makeBox(disk *slot.File, run trial.Running) {
	s.box = &box{
		card: disk, run: run, release: s.release, board: s.options.board, records: folderRecords(machineData),
		now: time.Now, say: s.console.say, fill: s.fillState, end: s.ends,
	}
	text, err := os.ReadFile(publicFile)
	if err == nil {
		s.box.key, err = slot.ParsePublic(string(text))
	}
	if err != nil {
		s.box.key = nil
		s.console.say("update: none is taken: %v", err)
	}
	if err := s.box.boot(s.options.trial); err != nil {
		s.console.say("update: %v", err)
	}
}

// fillState adds what the box does not know.
func (s *system) fillState(m *machine.State) {
	m.BootID = small("/", bootIDFile)
	m.Serial = small("/", serialFile)
	m.Hostname = s.hostname
	m.ClockSynced = s.clock.Synced()
	m.Data = s.data.Data
	if a := s.lan.Load().Address; a.IsValid() {
		m.Addresses = []string{a.String()}
	}
}

// serve runs the sockets and the agent until an order to end comes, and ends.
func (s *system) serve(ctx context.Context) error {
	s.agent = s.newAgent()
	if s.box.run.OnTrial() {
		time.AfterFunc(s.options.trial, func() {
			s.box.giveUp(fmt.Sprintf("it was not called good within %s: %s", s.options.trial, s.agent.story()))
		})
	}
	hear, err := notify.Listen(notifySocket, agentUser, agentUser)
	if err != nil {
		return err
	}
	go hear.Receive(ctx, s.agent.hear, func(err error) { s.console.say("notify: %v", err) })
	l, err := listen()
	if err != nil {
		return err
	}
	go func() {
		if err := server(s.box).Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.console.say("machine: its socket ended: %v", err)
		}
	}()
	go s.noteTime(ctx)
	running, stop := context.WithCancel(ctx)
	defer stop()
	var agent sync.WaitGroup
	agent.Go(func() { s.agent.run(running) })
	var how ending
	select {
	case how = <-s.ends:
	case <-s.watch.reset:
		how = s.hopeless()
	}
	s.console.say("stopping: %s", how.why)
	s.watch.allow(keep.StopMax + keep.EndMax)
	// An agent that waits for a dead card can't be ended, and the card not be
	// unmounted: where no hardware ends that, this does.
	time.AfterFunc(keep.StopMax+keep.EndMax, func() { _ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) })
	stop()
	agent.Wait()
	s.finish(how)
	return nil
}

// hopeless is when the agent hangs for the second time, or can't be killed. The
// hardware's watchdog is not fed any more; it does better than an orderly end,
// which would wait for the same card. Without one that end is tried.
func (s *system) hopeless() ending {
	const why = "the agent hangs, and starting it again did not help"
	s.box.noteWhy(why)
	if s.watch.hw != nil {
		s.console.say("%s; the hardware's watchdog resets the machine", why)
		select {
		case how := <-s.ends:
			return how
		case <-time.After(2 * s.watch.hw.Timeout()):
			s.console.say("the hardware's watchdog did not")
		}
	}
	return ending{why: why}
}

func (s *system) newAgent() *agent {
	args := []string{"run", "--data", agentData}
	if _, err := os.Stat(configFile); err == nil {
		args = append(args, "--config", configFile)
	}
	if _, err := os.Stat(overlayFile); err == nil {
		args = append(args, "--overlay", overlayFile)
	}
	log := &tee{ring: &ring{path: agentLog, half: logBytes / 2}, console: s.console, now: time.Now}
	return &agent{children: s.children, console: s.console, watch: s.watch, log: log, args: args}
}

// listen opens the machine's socket for root and the agent.
func listen() (net.Listener, error) {
	l, err := net.Listen("unix", machineSocket)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Chown(machineSocket, 0, agentUser), os.Chmod(machineSocket, 0o660)); err != nil {
		l.Close()
		return nil, err
	}
	return newLimited(l, connectionsMax), nil
}
