// Package vm runs machines in an emulator (qemu-system-aarch64), and plays the
// part of the Pi's boot loader, which the emulator does not have: it reads the
// card to see which slot starts, takes kernel and initramfs out of it, and
// starts the machine with them.
//
// A machine is a child process that is ended by its id. What it prints on its
// serial console is kept, the end of it, and awaited line by line; whether it
// reset itself, was reset by its watchdog or switched itself off, the emulator
// says. A machine that resets ends here: starting it again is a new boot, which
// the boot loader has its say in.
//
// cross/card uses it for the tests of the image; `make qemu` for a look at it.
package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"

	"cistern/cross/rig"
)

// emulator is the program; Debian's package is qemu-system-arm.
const emulator = "qemu-system-aarch64"

// VM is one machine, from power on to its end.
type VM struct {
	cmd      *exec.Cmd
	monitor  io.WriteCloser // the emulator's stdin: QMP commands
	console  *console
	complain *console // what the emulator itself has to say
	forward  map[int]string

	mu    sync.Mutex
	end   End
	ended chan struct{}
}

// End is how a machine came to its end.
type End string

// Ends. Killed is everything that the emulator had no time to explain.
const (
	Killed    End = "killed"
	Reset     End = "reset by the guest"
	PoweredOn End = "still on"
	PowerOff  End = "switched off by the guest"
	Watchdog  End = "reset by its watchdog"
	Panicked  End = "panicked"
)

// Start switches a machine on. It ends with ctx, by Kill, or by itself.
func Start(ctx context.Context, c Config) (*VM, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	v := &VM{
		console:  newConsole(c.Console),
		complain: newConsole(nil),
		forward:  c.Forward,
		end:      PoweredOn,
		ended:    make(chan struct{}),
	}
	v.cmd = exec.CommandContext(ctx, emulator, c.arguments()...)
	v.cmd.Stderr = v.complain
	v.cmd.SysProcAttr = rig.ChildAttributes()
	if err := v.run(); err != nil {
		return nil, err
	}
	return v, nil
}

// run starts the emulator: the console comes through a pipe of its own (file 3),
// QMP, by which the emulator says what happens, through stdin and stdout.
func (v *VM) run() error {
	commands, err := v.cmd.StdinPipe()
	if err != nil {
		return err
	}
	events, err := v.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	serial, other, err := os.Pipe()
	if err != nil {
		return err
	}
	v.monitor, v.cmd.ExtraFiles = commands, []*os.File{other}
	err = v.cmd.Start()
	other.Close()
	if err != nil {
		serial.Close()
		if errors.Is(err, exec.ErrNotFound) {
			return fmt.Errorf("vm: there is no %s here; on Debian: apt-get install qemu-system-arm", emulator)
		}
		return fmt.Errorf("vm: starting %s: %w", emulator, err)
	}
	if _, err := io.WriteString(commands, greeting); err != nil {
		v.complain.note("vm: the emulator takes no commands: " + err.Error())
	}
	go v.wait(events, serial)
	return nil
}

func (v *VM) wait(events, serial io.ReadCloser) {
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(v.console, serial) })
	reading.Go(func() { follow(events, v.note) })
	reading.Wait() // both end with the process
	serial.Close()
	err := v.cmd.Wait()
	v.mu.Lock()
	if v.end == PoweredOn {
		v.end = Killed
		v.complain.note(fmt.Sprint("vm: the emulator ended: ", err))
	}
	v.mu.Unlock()
	v.console.close()
	close(v.ended)
}

// note keeps the first cause of the end: a watchdog's reset is a reset, too.
func (v *VM) note(e End) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.end == PoweredOn {
		v.end = e
	}
}

// Kill pulls the plug and returns when the machine is gone. What its disk has
// not been told to keep is then in this computer's cache, not lost: for a power
// cut the disk has to be cut first (package nbd).
func (v *VM) Kill() {
	_ = v.cmd.Process.Kill() // an error: it is gone already
	<-v.ended
}

// Ended is closed when the machine is off.
func (v *VM) Ended() <-chan struct{} { return v.ended }

// How tells how the machine came to its end, PoweredOn when it has not.
func (v *VM) How() End {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.end
}

// AwaitEnd returns how the machine ended, when it has. The error says what it
// last printed, when ctx ended first.
func (v *VM) AwaitEnd(ctx context.Context) (End, error) {
	select {
	case <-v.ended:
		return v.How(), nil
	case <-ctx.Done():
		return PoweredOn, fmt.Errorf("vm: the machine is still on: %w\n%s", context.Cause(ctx), v.Tail())
	}
}

// Await returns the first line of the console, from the start, that holds text,
// as soon as it is there. When it never comes the error has the console's tail.
func (v *VM) Await(ctx context.Context, text string) (string, error) {
	line, err := v.console.await(ctx, text)
	if err != nil {
		return "", fmt.Errorf("vm: the console never said %q: %w\n%s", text, err, v.Tail())
	}
	return line, nil
}

// Said tells whether a line of the console holds text.
func (v *VM) Said(text string) bool { return v.console.find(text) != "" }

// Tail is the end of what the machine, and the emulator, said: for a test that
// failed.
func (v *VM) Tail() string {
	return fmt.Sprintf("--- the machine (pid %d, %s) last said:\n%s\n--- the emulator said:\n%s",
		v.PID(), v.How(), v.console.tail(tailShown), v.complain.tail(tailShown))
}

// Output is all that is kept of the console.
func (v *VM) Output() string { return v.console.tail(consoleBytesMax) }

// Address is where a port of the machine is to be found on this computer.
func (v *VM) Address(port int) string { return v.forward[port] }

// PID is the process id of the emulator.
func (v *VM) PID() int { return v.cmd.Process.Pid }

// Press presses the power button: a guest that knows it shuts down.
func (v *VM) Press() error { return v.command("system_powerdown") }

func (v *VM) command(name string) error {
	if _, err := fmt.Fprintf(v.monitor, "{\"execute\":%q}\n", name); err != nil {
		return fmt.Errorf("vm: %s: %w", name, err)
	}
	return nil
}
