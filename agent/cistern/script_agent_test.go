package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"cistern/agent/status"
	"cistern/firmware/machine"
)

// pretender is an agent of which there is only the socket: it has the status
// that a script gives it, and writes orders down.
type pretender struct {
	mu     sync.Mutex
	doc    *status.Document
	orders []string
}

// pretend serves the status in file as the agent of ./cistern-data would. The
// gateway is on its own if it has no site in it.
func (s *script) pretend(file string) error {
	b, err := os.ReadFile(filepath.Join(s.dir, file))
	if err != nil {
		return err
	}
	s.pretender = &pretender{doc: new(status.Document)}
	if err := json.Unmarshal(b, s.pretender.doc); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "cistern-data"), 0o700); err != nil {
		return err
	}
	server := &status.Server{Socket: filepath.Join(s.dir, "cistern-data", "cistern.sock"), Gatherer: s.pretender}
	if s.pretender.doc.Site != nil {
		server.Site = s.pretender
	}
	if s.pretender.doc.Uplink.State != "none" {
		server.Drain = s.pretender
	}
	if s.machine != nil {
		server.Machine = pretendedImage{machine.NewClient(s.machine.Socket())}
	}
	if s.port != nil {
		server.Remote = s.port.Listener(status.Protocol)
		s.background(s.port.Run)
	}
	if err := server.Listen(); err != nil {
		return err
	}
	s.background(server.Run)
	return nil
}

// background runs a part of the pretender until the script is over.
func (s *script) background(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	s.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			s.Error(err)
		}
	})
}

// told returns the orders so far, a line each.
func (p *pretender) told() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.orders, "\n")
}

func (p *pretender) order(format string, args ...any) {
	p.orders = append(p.orders, fmt.Sprintf(format, args...))
}

// Status implements status.Gatherer.
func (p *pretender) Status() *status.Document {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := *p.doc
	if d.Site != nil { // orders change members while the answer is written
		site := *d.Site
		site.Members = append([]status.Member(nil), site.Members...)
		d.Site = &site
	}
	return &d
}

// Tail implements status.Gatherer.
func (p *pretender) Tail(context.Context, status.TailQuery, func(*status.TailRecord) error) error {
	return errors.New("there is nothing to see")
}

// DrainNode moves the leaderships away at once.
func (p *pretender) DrainNode(_ context.Context, name string, on bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.order("drain-node %s %t", name, on)
	p.doc.Site.Member(name).Leads = 0
	return nil
}

// RemoveMember implements status.SiteAdmin.
func (p *pretender) RemoveMember(_ context.Context, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.order("remove %s", name)
	return nil
}

// Elect finds that partition 1 of a stream can't be led without giving up
// something.
func (p *pretender) Elect(_ context.Context, o status.ElectOrder) (status.ElectAnswer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.order("elect %s/%d to %q unclean=%t try=%t", o.Stream, o.Partition, o.To, o.Unclean, o.Try)
	switch {
	case o.Partition == 0:
		return status.ElectAnswer{Leader: "gateway-2"}, nil
	case !o.Unclean:
		return status.ElectAnswer{}, errors.New("replica is not eligible: nobody is in sync")
	}
	return status.ElectAnswer{Leader: "gateway-3", GivenUp: "offsets from 17 on, of epoch 4"}, nil
}

// ApplyStreams finds one stream to change.
func (p *pretender) ApplyStreams(context.Context) ([]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.order("apply")
	return []string{"mqtt"}, nil
}

// PauseDrain finds that another gateway drains partition 1 of every stream.
func (p *pretender) PauseDrain(_ context.Context, o status.PauseOrder) (status.PauseAnswer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.order("pause %q/%d %t", o.Stream, o.Partition, o.On)
	switch {
	case o.Stream == "other":
		return status.PauseAnswer{}, errors.New(`there is no stream "other"`)
	case o.Partition == 0:
		return status.PauseAnswer{Done: []string{"mqtt/0"}}, nil
	}
	return status.PauseAnswer{Done: []string{"mqtt/0", "mqtt/2"}, Elsewhere: []status.DrainedAt{{Partition: "mqtt/1", Gateway: "gateway-2"}}}, nil
}

// SkipDrain has a drain at offset 5, and batches of ten records.
func (p *pretender) SkipDrain(_ context.Context, o status.SkipOrder) (status.SkipAnswer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.order("skip %s/%d to %d why=%q try=%t", o.Stream, o.Partition, o.To, o.Why, o.Try)
	if o.Partition == 1 {
		return status.SkipAnswer{}, errors.New("mqtt/1 is drained by gateway-2; ask there")
	}
	if o.To == status.SkipToEnd {
		o.To = 1240
	}
	a := status.SkipAnswer{First: 5, Next: max(5, o.To/10*10), FirstTime: time.UnixMilli(1_700_000_000_000), LastTime: time.UnixMilli(1_700_000_900_000)}
	a.Records = a.Next - a.First
	return a, nil
}
