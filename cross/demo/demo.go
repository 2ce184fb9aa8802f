package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"cistern/agent/status"
	"cistern/cross/rig"
	"cistern/gossip/metadata"
)

// How long each act lasts, and how fast the machine publishes.
const (
	calmFor      = 5 * time.Second
	cutFor       = 8 * time.Second
	afterKillFor = 8 * time.Second
	catchUpFor   = 4 * time.Second
	drainMax     = 40 * time.Second

	messagesPerSecond = 400
	frame             = 200 * time.Millisecond
)

type demo struct {
	site   *rig.Site
	screen *screen
	ledger *rig.Ledger
	began  time.Time

	// As last seen: a killed gateway can't be asked.
	backlog, centre int64

	draining bool  // show how far
	most     int64 // the backlog at its largest, since draining
}

func newDemo(site *rig.Site, s *screen) *demo {
	return &demo{site: site, screen: s, ledger: rig.NewLedger(), began: time.Now()}
}

func (d *demo) play(ctx context.Context) (rig.Verdict, error) {
	d.screen.note("gateway  process %d, MQTT on %s", d.site.Gateway.Process().PID(), d.site.Gateway.Address)
	d.screen.note("centre   process %d, Kafka on %s, through an uplink on %s", d.site.Centre.Process().PID(), d.site.Centre.Address(), d.site.Uplink.Address())

	publishing, stop := context.WithCancel(ctx)
	defer stop()
	devices := d.publish(publishing)

	for _, act := range []func(context.Context) error{d.calm, d.cut, d.kill, d.mend} {
		if err := act(ctx); err != nil {
			return rig.Verdict{}, err
		}
	}
	stop()
	if err := devices(); err != nil {
		return rig.Verdict{}, err
	}
	if err := d.drain(ctx); err != nil {
		return rig.Verdict{}, err
	}
	d.screen.act("Reading the central cluster")
	return d.site.Centre.Judge(ctx, d.ledger, metadata.DefaultStream)
}

// publish starts one device for each part of this machine; what it returns
// waits for them after ctx ended.
func (d *demo) publish(ctx context.Context) (wait func() error) {
	host, err := os.Hostname()
	if err != nil {
		host = "here"
	}
	parts := parts()
	topics := 0
	for _, p := range parts {
		topics += len(p.read())
	}
	var (
		running sync.WaitGroup
		failed  = make([]error, len(parts))
	)
	for i, p := range parts {
		share := float64(messagesPerSecond) * float64(len(p.read())) / float64(topics)
		device := &rig.Device{
			ClientID: "machine-" + p.name,
			Broker:   d.site.Gateway.Address,
			Ledger:   d.ledger,
			Message:  messages("machine/"+host, p.read),
			Interval: time.Duration(float64(time.Second) / share),
		}
		running.Go(func() { failed[i] = device.Run(ctx) })
	}
	d.screen.note("devices  %d MQTT clients publish %d topics, machine/%s/…, QoS 1, %d messages a second", len(parts), topics, host, messagesPerSecond)
	return func() error {
		running.Wait()
		for _, err := range failed {
			if err != nil {
				return err
			}
		}
		return nil
	}
}

func (d *demo) calm(ctx context.Context) error {
	d.screen.act("All is well: what is confirmed is on disk here, and goes on to the centre")
	return d.watch(ctx, calmFor)
}

func (d *demo) cut(ctx context.Context) error {
	d.screen.act("The uplink is cut: the gateway goes on confirming, the backlog grows")
	d.site.Uplink.Cut()
	return d.watch(ctx, cutFor)
}

func (d *demo) kill(ctx context.Context) error {
	d.screen.act("kill -9 in mid-stream")
	// A backlog, and messages that are on their way just now: the hard case.
	for d.ledger.Tally().InFlight() == 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Microsecond):
		}
	}
	flying := d.ledger.Tally().InFlight()
	d.site.Gateway.Kill()
	d.screen.note("the gateway is dead; %d messages were waiting for their confirmation", flying)
	start := time.Now()
	if err := d.site.Gateway.Start(ctx); err != nil {
		return err
	}
	now, err := d.site.Gateway.Status(ctx)
	if err != nil {
		return err
	}
	d.screen.note("started again as process %d: it answered after %d ms with a backlog of %s",
		d.site.Gateway.Process().PID(), time.Since(start).Milliseconds(), count(now.BacklogTotal().Records))
	d.screen.note("the devices call again; a reading that was never confirmed is given up, the next one goes out")
	return d.watch(ctx, afterKillFor)
}

func (d *demo) mend(ctx context.Context) error {
	d.screen.act("The uplink is back: the backlog drains while new readings come in")
	d.site.Uplink.Mend(d.site.Centre.Address())
	d.draining = true
	return d.watch(ctx, catchUpFor)
}

// drain shows the rest of the backlog going out.
func (d *demo) drain(ctx context.Context) error {
	d.screen.act("The devices are stopped: waiting for the rest of the backlog")
	ctx, cancel := context.WithTimeout(ctx, drainMax)
	defer cancel()
	err := d.site.Gateway.AwaitDrained(ctx, func(now *status.Document) { d.show(ctx, now) })
	d.screen.settle()
	return err
}

// watch shows the numbers as they change, for a while.
func (d *demo) watch(ctx context.Context, long time.Duration) error {
	over := time.After(long)
	ticks := time.NewTicker(frame)
	defer ticks.Stop()
	for {
		if now, err := d.site.Gateway.Status(ctx); err == nil {
			d.show(ctx, now)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.site.Gateway.Process().Exited():
			return fmt.Errorf("the gateway ended by itself:\n%s", d.site.Gateway.Process().Output())
		case <-over:
			d.screen.settle()
			return nil
		case <-ticks.C:
		}
	}
}

// show puts the numbers of this moment on the screen.
func (d *demo) show(ctx context.Context, now *status.Document) {
	d.backlog = now.BacklogTotal().Records
	if n, err := d.site.Centre.Count(ctx, metadata.DefaultStream); err == nil {
		d.centre = n
	}
	line := fmt.Sprintf("%5.1f s   confirmed %7s   backlog %6s   at the centre %7s",
		time.Since(d.began).Seconds(), count(d.ledger.Tally().Confirmed), count(d.backlog), count(d.centre))
	if !d.draining {
		d.screen.live(line)
		return
	}
	d.most = max(d.most, d.backlog)
	d.screen.progress(line, d.most-d.backlog, d.most)
}
