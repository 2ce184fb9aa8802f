package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"cistern/cross/rig"
	"cistern/gossip/metadata"
)

// The site that is shown: three copies of each partition, confirmed when two of
// them are on flash, which is what a site of three does unless told otherwise.
const (
	gateways   = 3
	partitions = 6
)

// How long each act lasts, and how fast the machine publishes.
const (
	calmFor      = 5 * time.Second
	cutFor       = 7 * time.Second
	afterKillFor = 7 * time.Second
	rejoinedFor  = 4 * time.Second
	catchUpFor   = 4 * time.Second
	takeOverMax  = 20 * time.Second
	rejoinMax    = 30 * time.Second
	drainMax     = 40 * time.Second

	messagesPerSecond = 400
	frame             = 200 * time.Millisecond
	closely           = 5 * time.Millisecond // between two looks where time is taken
)

// configuration is what this demo wants otherwise than a site does by itself.
var configuration = fmt.Sprintf("[[stream]]\nname = %q\npartitions = %d\n", metadata.DefaultStream, partitions)

type demo struct {
	site    *rig.Site
	screen  *screen
	ledger  *rig.Ledger
	devices []*device
	began   time.Time
	dead    *rig.Gateway // killed, and not started again yet
	centre  int64        // records there, as last seen

	draining bool  // show how far
	most     int64 // the backlog at its largest, since draining
}

// device is one that has a gateway it calls first.
type device struct {
	rig.Device
	home *rig.Gateway
}

func newDemo(site *rig.Site, s *screen) *demo {
	return &demo{site: site, screen: s, ledger: rig.NewLedger(), began: time.Now()}
}

func (d *demo) play(ctx context.Context) (rig.Verdict, error) {
	for _, g := range d.site.Gateways {
		d.screen.note("%s  process %d, MQTT on %s", g.Name, g.Process().PID(), g.Address)
	}
	d.screen.note("centre     process %d, Kafka on %s, through an uplink on %s", d.site.Centre.Process().PID(), d.site.Centre.Address(), d.site.Uplink.Address())
	d.screen.note("stream     %d partitions, a copy on each gateway; a message is confirmed when two have it on flash", partitions)

	publishing, stop := context.WithCancel(ctx)
	defer stop()
	devices := d.publish(publishing)

	for _, act := range []func(context.Context) error{d.calm, d.cut, d.kill, d.rejoin, d.mend} {
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

// publish starts one device for each part of this machine, each at the next
// gateway; what it returns waits for them after ctx ended.
func (d *demo) publish(ctx context.Context) (wait func() error) {
	host, err := os.Hostname()
	if err != nil {
		host = "here"
	}
	parts := parts()
	topics, each := 0, make([]int, len(parts))
	for i, p := range parts {
		each[i] = max(1, len(p.read()))
		topics += each[i]
	}
	var (
		running sync.WaitGroup
		failed  = make([]error, len(parts))
	)
	for i, p := range parts {
		share := float64(messagesPerSecond) * float64(each[i]) / float64(topics)
		one := &device{home: d.site.Gateways[i%gateways]}
		one.Device = rig.Device{
			ClientID: "machine-" + p.name,
			Brokers:  d.brokers(i),
			Ledger:   d.ledger,
			Message:  messages("machine/"+host, p),
			Interval: time.Duration(float64(time.Second) / share),
		}
		d.devices = append(d.devices, one)
		running.Go(func() { failed[i] = one.Run(ctx) })
	}
	d.screen.note("devices    %d MQTT clients spread over all three publish %d topics, QoS 1, %d messages a second", len(parts), topics, messagesPerSecond)
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

// brokers are the addresses a device knows, its own gateway's first.
func (d *demo) brokers(device int) []string {
	var all []string
	for i := range d.site.Gateways {
		all = append(all, d.site.Gateways[(device+i)%gateways].Address)
	}
	return all
}

func (d *demo) calm(ctx context.Context) error {
	d.screen.act("All is well: what is confirmed is on two gateways' flash, and goes on to the centre")
	return d.watch(ctx, calmFor)
}

func (d *demo) cut(ctx context.Context) error {
	d.screen.act("The uplink is cut: the site goes on confirming, the backlog grows")
	d.site.Uplink.Cut()
	return d.watch(ctx, cutFor)
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
	_, err := d.site.AwaitView(ctx, frame/4, (*rig.View).Drained, func(now *rig.View) { d.show(ctx, now) })
	d.screen.settle()
	if err != nil {
		return fmt.Errorf("the backlog is not drained: %w", err)
	}
	return nil
}

// watch shows the numbers as they change, for a while.
func (d *demo) watch(ctx context.Context, long time.Duration) error {
	over := time.After(long)
	ticks := time.NewTicker(frame)
	defer ticks.Stop()
	for {
		if now, err := d.site.View(ctx); err == nil {
			d.show(ctx, now)
		}
		for _, g := range d.site.Gateways {
			if g != d.dead && !g.Running() {
				return fmt.Errorf("%s ended by itself:\n%s", g.Name, g.Process().Output())
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-over:
			d.screen.settle()
			return nil
		case <-ticks.C:
		}
	}
}

// show puts the numbers of this moment on the screen.
func (d *demo) show(ctx context.Context, now *rig.View) {
	if n, err := d.site.Centre.Count(ctx, metadata.DefaultStream); err == nil {
		d.centre = n
	}
	line := fmt.Sprintf("%5.1f s   confirmed %7s   backlog %6s   at the centre %7s",
		time.Since(d.began).Seconds(), count(d.ledger.Tally().Confirmed), count(now.Backlog()), count(d.centre))
	if !d.draining {
		d.screen.live(line)
		return
	}
	d.most = max(d.most, now.Backlog())
	d.screen.progress(line, d.most-now.Backlog(), d.most)
}

// keepLogs saves what the gateways said: a promise that was broken is worth a
// search.
func (d *demo) keepLogs() {
	dir, err := os.MkdirTemp("", "cistern-demo-logs-")
	for _, g := range d.site.Gateways {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, g.Name+".log"), []byte(g.Process().Output()), 0o644)
		}
	}
	if err != nil {
		d.screen.note("what the gateways said could not be kept: %v", err)
		return
	}
	d.screen.note("what the gateways said is in %s", dir)
}
