package site

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// prefix begins the names of our namespaces; the process that made them and a
// number follow.
const prefix = "cistern"

// made counts the networks of this process.
var made atomic.Int32

// Network is a switch with hosts plugged in, and what is wrong with it.
type Network struct {
	name     string
	bridge   *namespace
	hosts    []*Host
	existing []*namespace

	mu   sync.Mutex
	cuts map[[2]*Host]struct{} // from, to
	loss int                   // percent
}

// Host is a namespace with one cable into the switch.
type Host struct {
	*namespace
	IP     string
	net    *Network
	number int // from 1
	// port is the switch's end of the cable; eth0 is the host's.
	port string
}

// Needs says what is missing for a Network, nil when nothing is.
func Needs() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("network namespaces need root; this is user %d", os.Geteuid())
	}
	for program, debian := range map[string]string{"ip": "iproute2", "nft": "nftables"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("needs %s (Debian package %s): %w", program, debian, err)
		}
	}
	return nil
}

// NewNetwork makes a switch. Close removes it and all hosts.
func NewNetwork() (*Network, error) {
	sweep()
	n := &Network{name: fmt.Sprintf("%s%d-%d", prefix, os.Getpid(), made.Add(1)), cuts: map[[2]*Host]struct{}{}}
	var err error
	if n.bridge, err = n.namespace("switch"); err != nil {
		return nil, err
	}
	err = run("", "ip", "-n", n.bridge.name, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
	if err == nil {
		err = run("", "ip", "-n", n.bridge.name, "link", "set", "br0", "up")
	}
	if err == nil {
		err = n.nft("table bridge site {\n counter cut {}\n counter lost {}\n chain forward { type filter hook forward priority 0; policy accept; }\n}")
	}
	if err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

func (n *Network) namespace(role string) (*namespace, error) {
	ns, err := newNamespace(n.name + "-" + role)
	if err == nil {
		n.existing = append(n.existing, ns)
	}
	return ns, err
}

// sweep removes what processes left behind that were killed before they could.
func sweep() {
	left, _ := filepath.Glob(filepath.Join(namespaces, prefix+"*-*"))
	for _, path := range left {
		name := filepath.Base(path)
		number, _, _ := strings.Cut(strings.TrimPrefix(name, prefix), "-")
		if pid, err := strconv.Atoi(number); err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			(&namespace{name}).remove()
		}
	}
}

// Host plugs in one more.
func (n *Network) Host(name string) (*Host, error) {
	h, err := n.plugIn(name, len(n.hosts)+1)
	if err == nil {
		n.hosts = append(n.hosts, h)
	}
	return h, err
}

// farNumber is far from where hosts count to.
const farNumber = 200

// Far plugs in a host that does not count among the others.
func (n *Network) Far(name string) (*Host, error) { return n.plugIn(name, farNumber) }

func (n *Network) plugIn(name string, number int) (*Host, error) {
	ns, err := n.namespace(name)
	if err != nil {
		return nil, err
	}
	h := &Host{namespace: ns, IP: address(number), net: n, number: number, port: fmt.Sprintf("port%d", number)}
	for _, args := range [][]string{
		{"-n", n.bridge.name, "link", "add", h.port, "type", "veth", "peer", "name", "eth0", "netns", ns.name},
		{"-n", n.bridge.name, "link", "set", h.port, "master", "br0", "up"},
		{"-n", ns.name, "address", "add", h.IP + "/24", "dev", "eth0"},
		{"-n", ns.name, "link", "set", "eth0", "up"},
	} {
		if err := run("", "ip", args...); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// address is that of the host that was plugged in as the nth, from 1.
func address(n int) string { return fmt.Sprintf("10.77.0.%d", n) }

// Close removes every namespace, and with it all that is in it.
func (n *Network) Close() {
	for _, ns := range n.existing {
		ns.remove()
	}
}

// Cut lets no frame through between two hosts, without a word to either.
func (n *Network) Cut(a, b *Host) error { return n.change([2]*Host{a, b}, [2]*Host{b, a}) }

// CutOneWay drops what one host sends to the other.
func (n *Network) CutOneWay(from, to *Host) error { return n.change([2]*Host{from, to}) }

// CutOff cuts a host from several others.
func (n *Network) CutOff(a *Host, others ...*Host) error {
	for _, b := range others {
		if err := n.Cut(a, b); err != nil {
			return err
		}
	}
	return nil
}

// Lose drops that many percent, below 100, of all frames between hosts.
func (n *Network) Lose(percent int) error {
	n.mu.Lock()
	n.loss = percent
	n.mu.Unlock()
	return n.change()
}

// Heal ends cuts and losses. Cables stay where they are.
func (n *Network) Heal() error {
	n.mu.Lock()
	clear(n.cuts)
	n.loss = 0
	n.mu.Unlock()
	return n.change()
}

// change adds cuts and writes all rules in one transaction.
func (n *Network) change(cuts ...[2]*Host) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range cuts {
		n.cuts[c] = struct{}{}
	}
	var rules strings.Builder
	rules.WriteString("flush chain bridge site forward\n")
	for c := range n.cuts {
		fmt.Fprintf(&rules, "add rule bridge site forward iifname %q oifname %q counter name cut drop\n", c[0].port, c[1].port)
	}
	if n.loss > 0 {
		fmt.Fprintf(&rules, "add rule bridge site forward numgen random mod 100 < %d counter name lost drop\n", n.loss)
	}
	return n.nft(rules.String())
}

func (n *Network) nft(script string) error {
	return run(script, "ip", "netns", "exec", n.bridge.name, "nft", "-f", "-")
}

// Dropped is how many frames cuts and losses have taken so far.
func (n *Network) Dropped() (frames int64, err error) {
	text, err := output("", "ip", "netns", "exec", n.bridge.name, "nft", "-j", "list", "counters")
	if err != nil {
		return 0, err
	}
	var found struct {
		Nftables []struct {
			Counter struct {
				Packets int64 `json:"packets"`
			} `json:"counter"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		return 0, fmt.Errorf("nft list counters: %w", err)
	}
	for _, c := range found.Nftables {
		frames += c.Counter.Packets
	}
	return frames, nil
}

// Unplug pulls the host's cable out of the switch.
func (h *Host) Unplug() error {
	return run("", "ip", "-n", h.net.bridge.name, "link", "set", h.port, "down")
}

// Plug puts it in again.
func (h *Host) Plug() error {
	return run("", "ip", "-n", h.net.bridge.name, "link", "set", h.port, "up")
}

// Sent is how many frames the host has put on its cable.
func (h *Host) Sent() (int64, error) {
	text, err := output("", "ip", "-n", h.net.bridge.name, "-s", "-j", "link", "show", h.port)
	if err != nil {
		return 0, err
	}
	var found []struct {
		Stats struct {
			RX struct {
				Packets int64 `json:"packets"`
			} `json:"rx"`
		} `json:"stats64"`
	}
	if err := json.Unmarshal([]byte(text), &found); err != nil || len(found) != 1 {
		return 0, fmt.Errorf("ip link show %s: %d links, %w", h.port, len(found), err)
	}
	return found[0].Stats.RX.Packets, nil
}
