package rig

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
)

// logBytesMax bounds what is kept of a process's output, newest last.
const logBytesMax = 64 << 10

// Process is a child process that is ended by its owner, or by the kernel when
// its owner dies first.
type Process struct {
	cmd    *exec.Cmd
	output *tail
	exited chan struct{}
	err    error // of Wait; valid once exited is closed
}

// Start runs a program. When first is not nil it gets the first line the
// program prints on stdout, or is closed when there never was one.
func Start(first chan<- string, name string, args ...string) (*Process, error) {
	p := &Process{
		cmd:    exec.Command(name, args...),
		output: &tail{max: logBytesMax},
		exited: make(chan struct{}),
	}
	p.cmd.Stderr = p.output
	p.cmd.SysProcAttr = ChildAttributes()
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go p.wait(stdout, first)
	return p, nil
}

func (p *Process) wait(stdout io.Reader, first chan<- string) {
	lines := bufio.NewReader(stdout)
	if first != nil {
		if line, err := lines.ReadString('\n'); err == nil {
			first <- line[:len(line)-1]
		}
		close(first)
	}
	_, _ = io.Copy(p.output, lines) // ends with the process
	p.err = p.cmd.Wait()
	close(p.exited)
}

// Kill ends the process with SIGKILL and returns when it is gone.
func (p *Process) Kill() { p.end(syscall.SIGKILL) }

// Interrupt asks the process to stop, as Ctrl-C does, and waits for it. A
// process that exits with a status other than 0 is an error with its last words.
func (p *Process) Interrupt() error { return p.Stop(os.Interrupt) }

// Stop sends a signal and waits for a clean exit.
func (p *Process) Stop(sig os.Signal) error {
	p.end(sig)
	if p.err != nil {
		return fmt.Errorf("%s after %v: %w\n%s", p.cmd.Path, sig, p.err, p.Output())
	}
	return nil
}

func (p *Process) end(sig os.Signal) {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		_ = p.cmd.Process.Kill()
	}
	<-p.exited
}

// Exited is closed when the process is gone.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output returns the end of what the process has said.
func (p *Process) Output() string { return p.output.String() }

// command runs a program to its end and returns what it printed.
func command(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// tail is a writer that remembers the last max bytes.
type tail struct {
	mu  sync.Mutex
	max int
	buf []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - t.max; over > 0 {
		t.buf = t.buf[:copy(t.buf, t.buf[over:])]
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
