package main

import (
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// allChildren is one for the process, as there is one init: each takes all ends.
var allChildren = sync.OnceValue(newChildren)

// shell starts a script, and waits until it has written a line.
func shell(t *testing.T, c *children, script string) (pid int, end <-chan unix.WaitStatus) {
	t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	pid, end, err = c.start("/bin/sh", []string{"-c", script}, []string{"PATH=/bin:/usr/bin"}, []*os.File{in, in, in}, &unix.SysProcAttr{Setpgid: true})
	in.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { killGroup(pid, unix.SIGKILL) })
	if _, err := out.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	return pid, end
}

func TestEveryEndIsTaken(t *testing.T) {
	c := allChildren()
	_, good := shell(t, c, "echo up; exit 0")
	_, bad := shell(t, c, "echo up; exit 7")
	// Its child becomes an orphan, whose end must disturb nobody.
	_, orphan := shell(t, c, "sleep 0 & echo up; exec sleep 0")
	if s := <-bad; s.ExitStatus() != 7 || describe(s) != "exit status 7" {
		t.Errorf("got %s", describe(s))
	}
	if s := <-good; s.ExitStatus() != 0 {
		t.Errorf("got %s", describe(s))
	}
	<-orphan
	if _, _, err := c.start("/bin/none", nil, nil, nil, nil); err == nil || !strings.Contains(err.Error(), "/bin/none") {
		t.Errorf("a program that is not there: %v", err)
	}
}

func TestFinishAsksAndThenDoesNot(t *testing.T) {
	c := allChildren()
	pid, end := shell(t, c, "echo up; exec sleep 1000")
	if s := finish(pid, unix.SIGTERM, time.Minute, end); s.Signal() != unix.SIGTERM {
		t.Errorf("one that listens: %s", describe(s))
	}
	pid, end = shell(t, c, "trap '' TERM; echo up; while :; do sleep 1000; done")
	if s := finish(pid, unix.SIGTERM, time.Millisecond, end); s.Signal() != unix.SIGKILL {
		t.Errorf("one that does not: %s", describe(s))
	}
	if err := unix.Kill(-pid, 0); err == nil {
		// The script's own child gets the signal with it; its end takes a moment.
		deadline := time.After(10 * time.Second)
		for unix.Kill(-pid, 0) == nil {
			select {
			case <-deadline:
				t.Fatal("a child of it lives on")
			default:
			}
		}
	}
}

func TestDescribeSaysWhatToDo(t *testing.T) {
	if got := describe(unix.WaitStatus(9)); !strings.Contains(got, "signal 9") {
		t.Errorf("killed: %s", got)
	}
	if got := describe(unix.WaitStatus(2 << 8)); !strings.Contains(got, "CISTERN") {
		t.Errorf("exit 2 does not say what to do: %s", got)
	}
}
