// Command peers puts cistern beside the servers people would use instead, and
// the same load on each: Mosquitto from Debian, and nats-server with MQTT over
// JetStream, one node, once syncing every write and once as it comes.
//
// Run it in its own folder (make bench-peers does).
//
// It is a module of its own so that nats-server weighs on nothing else. Every
// server is a process of its own with its data on the same disk; the servers
// take turns within a row, and CPU and memory are read from /proc.
//
// What a PUBACK means differs, which is the point: cistern's and the syncing
// NATS's say "on the device", the other two say "in memory".
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run() error {
	b := bench{warmup: time.Second, each: 4 * time.Second}
	flag.IntVar(&b.rounds, "rounds", 3, "how often each cell is measured; the median is shown")
	quick := flag.Bool("quick", false, "one short round: shows that everything runs, not how fast")
	only := flag.String("only", "", "comma-separated servers (default: all)")
	dir := flag.String("dir", "../../build/peers-data", "folder for binaries and data, on the disk to measure")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	if *quick {
		b.rounds, b.warmup, b.each = 1, 200*time.Millisecond, 500*time.Millisecond
	}
	var err error
	if b.dir, err = filepath.Abs(*dir); err != nil {
		return err
	}
	wanted := strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })
	if err := b.prepare(ctx, wanted); err != nil {
		return err
	}
	return b.run(ctx)
}
