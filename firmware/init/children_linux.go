package main

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// children starts processes and takes the ends of all there are: the first
// process inherits every orphan, so it waits for any, and hands the ends of its
// own to who started them.
type children struct {
	mu   sync.Mutex
	ends map[int]chan unix.WaitStatus
}

func newChildren() *children {
	c := &children{ends: map[int]chan unix.WaitStatus{}}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCHLD)
	go func() {
		for range signals {
			c.reap()
		}
	}()
	return c
}

// start runs a program; its end comes on the channel.
func (c *children) start(path string, args, env []string, files []*os.File, sys *syscall.SysProcAttr) (pid int, end <-chan unix.WaitStatus, err error) {
	attr := &syscall.ProcAttr{Env: env, Sys: sys, Dir: "/"}
	for _, f := range files {
		attr.Files = append(attr.Files, f.Fd())
	}
	// Held over the start: an end must not be taken before it is waited for.
	c.mu.Lock()
	defer c.mu.Unlock()
	pid, err = syscall.ForkExec(path, append([]string{path}, args...), attr)
	if err != nil {
		return 0, nil, &os.PathError{Op: "start", Path: path, Err: err}
	}
	ended := make(chan unix.WaitStatus, 1)
	c.ends[pid] = ended
	return pid, ended, nil
}

// reap takes every end there is: signals of several may have become one.
func (c *children) reap() {
	for {
		c.mu.Lock()
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if err == unix.EINTR {
			c.mu.Unlock()
			continue
		}
		if err != nil || pid <= 0 {
			c.mu.Unlock()
			return
		}
		if ended, ours := c.ends[pid]; ours && (status.Exited() || status.Signaled()) {
			ended <- status
			delete(c.ends, pid)
		}
		c.mu.Unlock()
	}
}
