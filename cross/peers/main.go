// Command peers puts cistern beside the servers people would use instead, and
// the same load on each. It has two parts:
//
//   - single: one server. Mosquitto from Debian, and nats-server with MQTT over
//     JetStream, once syncing every write and once as it comes.
//   - replicated: three servers that keep a copy each. A site of three gateways,
//     and a JetStream cluster of three that syncs every write.
//
// Run it in its own folder (make bench-peers does).
//
// It is a module of its own so that nats-server weighs on nothing else. Every
// server is a process of its own with its data on the same disk; the servers
// take turns within a row, and CPU and memory are read from /proc.
//
// What a PUBACK means differs, which is the point. Alone, cistern's and the
// syncing NATS's say "on the device", the other two say "in memory". Replicated,
// both say "on the device of two of three".
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
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

// wanted is what the flags choose; what is empty chooses everything.
type wanted struct{ parts, servers, cells []string }

func chosen(list []string, name string) bool { return len(list) == 0 || slices.Contains(list, name) }

func run() error {
	b := bench{}
	flag.IntVar(&b.rounds, "rounds", 3, "how often each cell is measured; the median is shown")
	flag.DurationVar(&b.each, "each", 4*time.Second, "how long each cell is measured")
	flag.DurationVar(&b.warmup, "warmup", time.Second, "load before that")
	quick := flag.Bool("quick", false, "one short round: shows that everything runs, not how fast")
	var w wanted
	list := func(into *[]string) func(string) error {
		return func(s string) error {
			*into = strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
			return nil
		}
	}
	flag.Func("part", "comma-separated parts: single, replicated (default: all)", list(&w.parts))
	flag.Func("only", "comma-separated servers (default: all)", list(&w.servers))
	flag.Func("cells", "comma-separated cells, like 1x1 or 16@100 (default: all)", list(&w.cells))
	dir := flag.String("dir", "../../build/peers-data", "folder for binaries and data, on the disk to measure")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	if *quick {
		b.rounds, b.warmup, b.each = 1, 200*time.Millisecond, 500*time.Millisecond
	}
	if b.rounds < 1 {
		return fmt.Errorf("-rounds %d: there has to be one", b.rounds)
	}
	var err error
	if b.dir, err = filepath.Abs(*dir); err != nil {
		return err
	}
	all, err := parts(ctx, b.dir, w)
	if err != nil {
		return err
	}
	for _, p := range all {
		if err := b.run(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}
