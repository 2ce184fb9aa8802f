package site

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// namespaces is where ip keeps the names of network namespaces.
const namespaces = "/run/netns"

// namespace is a network namespace with a name.
type namespace struct{ name string }

func newNamespace(name string) (*namespace, error) {
	if err := run("", "ip", "netns", "add", name); err != nil {
		return nil, err
	}
	n := &namespace{name}
	// Without IPv6 nobody speaks unasked: an idle site is to be heard.
	err := run("", "ip", "netns", "exec", name, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6")
	if err == nil {
		err = run("", "ip", "-n", name, "link", "set", "lo", "up")
	}
	if err != nil {
		n.remove()
		return nil, err
	}
	return n, nil
}

// within is the beginning of a command line that runs in the namespace, as the
// process that was started and not as its child.
func (n *namespace) within() []string { return []string{"ip", "netns", "exec", n.name} }

// remove gives up the name. The namespace goes when the last process in it does.
func (n *namespace) remove() { _ = run("", "ip", "netns", "del", n.name) }

// do calls f on a thread that is in the namespace. A socket stays where it was
// made, whoever uses it later.
func (n *namespace) do(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		return err
	}
	defer home.Close()
	there, err := os.Open(filepath.Join(namespaces, n.name))
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return os.NewSyscallError("setns", err)
	}
	defer func() {
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(err) // this thread would do the next one's work in the wrong place
		}
	}()
	return f()
}

// dial connects from within the namespace to an IP address and port.
func (n *namespace) dial(ctx context.Context, address string) (c net.Conn, err error) {
	err = n.do(func() error {
		c, err = new(net.Dialer).DialContext(ctx, "tcp4", address)
		return err
	})
	return c, err
}

func (n *namespace) listen(address string) (l net.Listener, err error) {
	err = n.do(func() error {
		l, err = net.Listen("tcp4", address)
		return err
	})
	return l, err
}

// run runs a program with its input.
func run(input, name string, args ...string) error {
	_, err := output(input, name, args...)
	return err
}

func output(input, name string, args ...string) (string, error) {
	c := exec.Command(name, args...)
	c.Stdin = strings.NewReader(input)
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
