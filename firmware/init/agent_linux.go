package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cistern/firmware/init/keep"
	"cistern/firmware/init/notify"
	"cistern/firmware/machine"
)

// agent runs the agent, again and again, as a user that may nothing.
type agent struct {
	children *children
	console  *console
	watch    *watch
	log      *tee
	args     []string

	mu      sync.Mutex
	pid     int
	ready   bool
	starts  int
	lastEnd string
}

func (a *agent) environment() []string {
	return []string{
		"PATH=/bin:/sbin", "HOME=" + agentData, "TMPDIR=" + agentTemp,
		"NOTIFY_SOCKET=" + notifySocket,
		"WATCHDOG_USEC=" + strconv.FormatInt(keep.Beat.Microseconds(), 10),
		machine.Env + "=" + machineSocket,
		"SSL_CERT_FILE=" + certificates,
	}
}

// run keeps the agent running until ctx is done, and then ends it.
func (a *agent) run(ctx context.Context) {
	var backoff keep.Backoff
	for ctx.Err() == nil {
		began := sinceBoot()
		how := a.once(ctx)
		if ctx.Err() != nil {
			return
		}
		ran := sinceBoot() - began
		pause := backoff.Next(ran)
		a.console.say("agent: %s after %s; starting it again in %s", how, ran.Round(time.Second), pause)
		a.watch.allow(pause + keep.Beat)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// once starts the agent and waits for its end, which it tells.
func (a *agent) once(ctx context.Context) string {
	give()
	out, in, err := os.Pipe()
	if err != nil {
		return a.ended(err.Error())
	}
	defer out.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		in.Close()
		return a.ended(err.Error())
	}
	defer null.Close()
	sys := &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: agentUser, Gid: agentUser}, // no groups, and with the user go all capabilities
		Setpgid:    true,
	}
	pid, end, err := a.children.start(agentProgram, a.args, a.environment(), []*os.File{null, in, in}, sys)
	in.Close()
	if err != nil {
		return a.ended(err.Error())
	}
	// The kernel must never choose something else than the agent, which comes
	// back; init's own score, which it has inherited, forbids it.
	if err := os.WriteFile(filepath.Join("/proc", strconv.Itoa(pid), "oom_score_adj"), []byte("0"), 0); err != nil {
		a.console.say("agent: %v", err)
	}
	a.began(pid)
	read := make(chan struct{})
	go func() { a.log.read(out, ""); close(read) }()
	status := a.await(ctx, pid, end)
	killGroup(pid, unix.SIGKILL)                          // what it may have left behind
	_ = out.SetReadDeadline(time.Now().Add(lastWordsMax)) // whoever may still hold the other end
	<-read
	return a.ended(describe(status))
}

func (a *agent) began(pid int) {
	a.mu.Lock()
	a.pid, a.ready = pid, false
	a.starts++
	a.mu.Unlock()
	a.watch.started()
}

func (a *agent) ended(how string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pid, a.ready, a.lastEnd = 0, false, how
	return how
}

// await waits for the end of the agent's process, which it brings about when the
// agent hangs or ctx is done.
func (a *agent) await(ctx context.Context, pid int, end <-chan unix.WaitStatus) unix.WaitStatus {
	select {
	case status := <-end:
		return status
	case <-a.watch.hung:
		// SIGABRT writes every goroutine into the log.
		a.console.say("agent: hangs; ending it")
		return finish(pid, unix.SIGABRT, traceMax, end)
	case <-ctx.Done():
		return finish(pid, unix.SIGTERM, keep.StopMax, end)
	}
}

// lastWordsMax is for the output of an agent that has ended.
const lastWordsMax = 2 * time.Second

// traceMax is how long a hung agent has to write down where it hangs.
const traceMax = 5 * time.Second

// finish asks with a signal, waits, and then does not ask.
func finish(pid int, ask unix.Signal, atMost time.Duration, end <-chan unix.WaitStatus) unix.WaitStatus {
	_ = unix.Kill(pid, ask) // it may have ended
	select {
	case status := <-end:
		return status
	case <-time.After(atMost):
		killGroup(pid, unix.SIGKILL)
		return <-end // if this never comes, the hardware's watchdog does
	}
}

func killGroup(pid int, s unix.Signal) { _ = unix.Kill(-pid, s) } // nobody left is what is wanted

func describe(s unix.WaitStatus) string {
	if s.Signaled() {
		return fmt.Sprintf("ended by signal %d (%s)", s.Signal(), s.Signal())
	}
	if s.ExitStatus() == 2 {
		// A panic of Go's ends so too.
		return "exit status 2: its configuration is wrong, or it has a bug; see the lines above, and put the configuration right on the card's partition CISTERN"
	}
	return fmt.Sprintf("exit status %d", s.ExitStatus())
}

// hear takes what the agent says over the notify socket.
func (a *agent) hear(pid int, m notify.Message) {
	a.mu.Lock()
	ours := pid == a.pid
	news := ours && m.Ready && !a.ready
	a.ready = a.ready || news
	a.mu.Unlock()
	if !ours {
		return
	}
	if news {
		a.console.say("agent: running")
	}
	switch {
	case m.Stopping:
		a.watch.stopping()
	case m.Ready || m.Alive:
		a.watch.beaten()
	}
}

// story tells how the agent is, for the reason of a trial that is given up.
func (a *agent) story() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := "the agent was started"
	switch {
	case a.starts > 1:
		s = fmt.Sprintf("the agent was started %d times, ended at last by %s", a.starts, a.lastEnd)
	case a.ready:
		s = "the agent runs"
	}
	if last := a.log.lastLine(); last != "" {
		s += "; it said at last: " + last
	}
	return s
}
