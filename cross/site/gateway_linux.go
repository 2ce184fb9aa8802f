package site

import (
	"context"
	"syscall"
	"time"

	"cistern/agent/status"
	"cistern/cross/rig"
)

// Gateway is one gateway of a site.
type Gateway struct {
	*rig.Gateway
	*Host
	dir     string
	stopped bool     // by SIGSTOP
	ended   bool     // by us
	fell    []string // last words of processes that nobody ended
}

// Start runs the gateway's program and returns when it answers.
func (g *Gateway) Start(ctx context.Context) error {
	g.look()
	g.ended = false
	return g.Gateway.Start(ctx)
}

// Kill is kill -9.
func (g *Gateway) Kill() {
	g.look()
	g.ended = true
	g.Gateway.Kill()
}

// Terminate is SIGTERM; the error carries its last words.
func (g *Gateway) Terminate() error {
	g.look()
	g.ended = true
	return g.Gateway.Terminate()
}

// look notes the last words of a process that has ended though nobody ended it.
func (g *Gateway) look() {
	if g.Process() != nil && !g.Running() && !g.ended {
		g.fell, g.ended = append(g.fell, g.Process().Output()), true
	}
}

// Pause is SIGSTOP: the process is there, its sockets take what the kernel can
// hold, and nobody answers.
func (g *Gateway) Pause() error {
	g.stopped = true
	return syscall.Kill(g.Process().PID(), syscall.SIGSTOP)
}

// Resume is SIGCONT.
func (g *Gateway) Resume() error {
	g.stopped = false
	return syscall.Kill(g.Process().PID(), syscall.SIGCONT)
}

// statusTimeout bounds the question to a gateway that may be stopped.
const statusTimeout = 2 * time.Second

func (g *Gateway) seen(ctx context.Context) (*status.Document, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	return g.Status(ctx)
}

// Hosts returns the hosts of gateways.
func Hosts(gateways ...*Gateway) (hosts []*Host) {
	for _, g := range gateways {
		hosts = append(hosts, g.Host)
	}
	return hosts
}
