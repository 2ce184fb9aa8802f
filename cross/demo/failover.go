package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"cistern/agent/status"
	"cistern/cross/rig"
)

// kill ends the gateway that would be missed most, and shows who goes on.
func (d *demo) kill(ctx context.Context) error {
	before, err := d.site.View(ctx)
	if err != nil {
		return err
	}
	victim := d.mostMissed(before)
	leads := share(before.Leaders(), victim.Name)
	also := ""
	if before.Quorum == victim.Name {
		also = " and the quorum"
	}
	d.screen.act(fmt.Sprintf("kill -9 of %s, which leads %d of %d partitions%s", victim.Name, leads, partitions, also))
	// A backlog, and messages that are on their way just now: the hard case.
	for d.ledger.Tally().InFlight() == 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Microsecond):
		}
	}
	flying := d.ledger.Tally().InFlight()
	d.forget()
	start := time.Now()
	victim.Kill()
	d.dead = victim
	d.screen.note("the process is dead; %d messages were waiting for their confirmation", flying)
	left, err := d.site.View(ctx) // of the others
	if err != nil {
		return err
	}
	after, err := d.await(ctx, takeOverMax, "nobody takes over", func(v *rig.View) bool { return led(v, victim) })
	if err != nil {
		return err
	}
	d.screen.note("every partition has a leader again after %d ms:", time.Since(start).Milliseconds())
	d.showLeaders(before, after)
	if err := d.watch(ctx, afterKillFor); err != nil {
		return err
	}
	now, err := d.site.View(ctx)
	if err != nil {
		return err
	}
	d.showWaits(victim)
	d.showParked(left, now)
	return nil
}

// rejoin starts the dead gateway again and shows it catch up.
func (d *demo) rejoin(ctx context.Context) error {
	back := d.dead
	d.screen.act(back.Name + " comes back: it fetches what it missed")
	d.forget()
	start := time.Now()
	if err := back.Start(ctx); err != nil {
		return err
	}
	d.dead = nil
	answered := time.Since(start)
	v, err := d.await(ctx, rejoinMax, "its copies do not catch up", inSync)
	if err != nil {
		return err
	}
	d.screen.note("started again as process %d: it answered after %d ms, all its copies were in sync after %d ms",
		back.Process().PID(), answered.Milliseconds(), time.Since(start).Milliseconds())
	d.screen.note("it leads %d partitions until rebalance_after (5 minutes) gives it back what it led", share(v.Leaders(), back.Name))
	if err := d.watch(ctx, rejoinedFor); err != nil {
		return err
	}
	d.screen.note("no device waited longer than %s meanwhile", longest(d.devices))
	return nil
}

// mostMissed is who leads most partitions; of equals who leads the quorum.
func (d *demo) mostMissed(v *rig.View) *rig.Gateway {
	leaders := v.Leaders()
	rank := func(g *rig.Gateway) int {
		n := 2 * share(leaders, g.Name)
		if g.Name == v.Quorum {
			n++
		}
		return n
	}
	return slices.MaxFunc(d.site.Gateways, func(a, b *rig.Gateway) int { return rank(a) - rank(b) })
}

func share(leaders []string, name string) (n int) {
	for _, l := range leaders {
		if l == name {
			n++
		}
	}
	return n
}

// led tells whether every partition has a leader that says so itself, without
// that gateway.
func led(v *rig.View, without *rig.Gateway) bool {
	return !slices.ContainsFunc(v.Partitions, func(p status.Partition) bool {
		return p.Role != status.RoleLeader || p.Leader == without.Name
	})
}

func inSync(v *rig.View) bool {
	return !slices.ContainsFunc(v.Partitions, func(p status.Partition) bool {
		return p.Role != status.RoleLeader || len(p.ISR) < gateways
	})
}

// await looks closely at the site until it is as wanted.
func (d *demo) await(ctx context.Context, long time.Duration, otherwise string, wanted func(*rig.View) bool) (*rig.View, error) {
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	v, err := d.site.AwaitView(ctx, closely, wanted, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", otherwise, err)
	}
	return v, nil
}

// showLeaders says who leads what a dead gateway led.
func (d *demo) showLeaders(before, after *rig.View) {
	was, is := before.Leaders(), after.Leaders()
	for i := range is {
		if was[i] != is[i] {
			p := &after.Partitions[i]
			d.screen.note("  partition %d   %s → %s   epoch %d, in sync: %s",
				p.Partition, was[i], is[i], p.LeaderEpoch, strings.Join(p.ISR, ", "))
		}
	}
}

func (d *demo) forget() {
	for _, one := range d.devices {
		one.Forget()
	}
}

// showWaits says what the devices noticed.
func (d *demo) showWaits(victim *rig.Gateway) {
	var its, others []*device
	for _, one := range d.devices {
		if one.home == victim {
			its = append(its, one)
		} else {
			others = append(others, one)
		}
	}
	d.screen.note("longest time without a confirmation: %s for the %d devices on the other gateways,", longest(others), len(others))
	d.screen.note("  %s for the %d on %s, which had to call another one; readings it had not confirmed are given up", longest(its), len(its), victim.Name)
}

func longest(devices []*device) time.Duration {
	var most time.Duration
	for _, one := range devices {
		most = max(most, one.Waited())
	}
	return most.Round(time.Millisecond)
}

// showParked says what waited on the surviving gateways' own flash, if anything.
func (d *demo) showParked(before, now *rig.View) {
	n := now.Parking.Parked - before.Parking.Parked
	switch {
	case n > 0 && now.Parked.Records == 0:
		d.screen.note("%d batches had no leader for a second and were parked on flash; all of them are handed over", n)
	case n > 0:
		d.screen.note("%d batches had no leader for a second and were parked on flash; %s records still are", n, count(now.Parked.Records))
	}
}
