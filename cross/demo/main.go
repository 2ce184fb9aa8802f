// Command demo shows on one machine what cistern is for, with nothing to
// install or configure: a site of three real gateways, a stand-in for the central
// Kafka, this machine's own readings through a real MQTT client, an uplink that is
// cut, a leader that is killed in mid-stream and comes back, and a table that says
// what it cost.
//
// It exits with 1 unless nothing that was confirmed is lost, nothing is at the
// centre twice, and nothing is out of order.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"cistern/cross/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	good, err := run(ctx, newScreen(os.Stdout))
	stop()
	switch {
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "\ninterrupted; everything is stopped and removed")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	case !good:
		os.Exit(1)
	}
}

// run plays the whole demo in folders of its own and leaves nothing behind.
func run(ctx context.Context, s *screen) (good bool, err error) {
	dir, err := os.MkdirTemp("", "cistern-demo-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)

	s.act("Building cistern")
	programs, err := rig.BuildPrograms(ctx, dir)
	if err != nil {
		return false, cause(ctx, err)
	}
	s.act("Starting a site: three gateways that have one key")
	start := time.Now()
	site, err := rig.StartMembers(ctx, programs, gateways, configuration)
	if err != nil {
		return false, cause(ctx, err)
	}
	defer site.Close()
	s.note("it formed by itself, with all copies in sync, in %d ms", time.Since(start).Milliseconds())

	d := newDemo(site, s)
	verdict, err := d.play(ctx)
	if err != nil {
		return false, cause(ctx, err)
	}
	s.verdict(verdict)
	if !verdict.Good() {
		d.keepLogs()
	}
	return verdict.Good(), nil
}

// cause prefers "you interrupted" to whatever that broke.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
