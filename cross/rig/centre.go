package rig

import (
	"context"
	"fmt"

	"cistern/cross/central"
)

// Centre is the stand-in for the central cluster as a process that can be
// killed and started again on its data.
type Centre struct {
	Sync bool // every write to its device

	binary, dir, advertise string

	process *Process
	address string
}

// NewCentre describes a centre with its data in dir, whose clients are sent to
// advertise, which is usually an Uplink.
func NewCentre(binary, dir, advertise string) *Centre {
	return &Centre{binary: binary, dir: dir, advertise: advertise}
}

// Start runs it and returns when it listens, each time on another port.
func (c *Centre) Start() error {
	first := make(chan string, 1)
	p, err := Start(first, c.binary, "-data", c.dir, "-advertise", c.advertise, fmt.Sprintf("-sync=%t", c.Sync))
	if err != nil {
		return err
	}
	address, ok := <-first
	if !ok {
		<-p.Exited()
		return fmt.Errorf("the stand-in for the central cluster ended: %s", p.Output())
	}
	c.process, c.address = p, address
	return nil
}

// Kill is kill -9.
func (c *Centre) Kill() {
	if c.process != nil {
		c.process.Kill()
	}
}

// Address is where it listens, past any uplink.
func (c *Centre) Address() string { return c.address }

// Process is the running stand-in.
func (c *Centre) Process() *Process { return c.process }

// Count is how many records it holds of a stream.
func (c *Centre) Count(ctx context.Context, stream string) (int64, error) {
	return central.NewReader(c.address).Count(ctx, stream)
}

// Judge compares what lies there of a stream with the ledger.
func (c *Centre) Judge(ctx context.Context, l *Ledger, stream string) (Verdict, error) {
	return l.Judge(func(visit func(topic string, payload []byte)) error {
		return central.NewReader(c.address).Each(ctx, stream, func(r central.Record) { visit(r.Key, r.Value) })
	})
}
