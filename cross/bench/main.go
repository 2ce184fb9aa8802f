// Command bench measures the journal against the least a durable journal can
// do on the same device, in the same run, and prints the tables of
// docs/performance.md.
//
// The baseline, "ring", is one file whose blocks were all written before, and
// one pwrite and one fdatasync for each group of waiting appends: no index, no
// partitions, no recovery. Every figure of ours includes all bookkeeping.
//
// Figures are only comparable within one run. Each cell runs in a process of
// its own, ours and the baseline take turns, and the median of the rounds is
// shown, so that a stall of the machine's disk falls on both or neither.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// plan is how much of everything is done.
type plan struct {
	out    io.Writer
	dir    string // on the machine's own disk
	card   string // in RAM, for the simulated card
	rounds int
	each   time.Duration // one cell
	quick  bool
}

type section struct {
	name string
	run  func(context.Context, *plan) error
}

// sections in the order they are printed.
var sections = []section{
	{"throughput", throughput},
	{"window", window},
	{"wear", wear},
	{"planning", planning},
	{"opening", opening},
	{"memory", memory},
	{"backlog", backlog},
}

// drainSections are those of the drain: with -drain, instead.
var drainSections = []section{
	{"cpu", drainCPU},
	{"link", drainLink},
	{"fresh", drainFresh},
	{"wire", drainWire},
	{"memory", drainMemory},
}

func main() {
	err := asChild(os.Args[1:], os.Stdout)
	if errors.Is(err, errNotChild) {
		err = run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	p := plan{out: os.Stdout, rounds: 3, each: 1200 * time.Millisecond}
	drain := flag.Bool("drain", false, "measure the drain instead of the journal")
	only := flag.String("only", "", "comma-separated sections (default: all)")
	flag.BoolVar(&p.quick, "quick", false, "one short round: shows that everything runs, not how fast")
	flag.StringVar(&p.dir, "dir", "build/bench-data", "folder on the disk to measure")
	flag.Parse()
	if p.quick {
		p.rounds, p.each = 1, 50*time.Millisecond
	}
	wanted := strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })

	var err error
	if p.dir, err = filepath.Abs(p.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(p.dir)
	if p.card, err = cardDir(); err != nil {
		return err
	}
	defer os.RemoveAll(p.card)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	fmt.Fprintf(p.out, "%s, %s/%s, %s, %d processors, %s\n",
		time.Now().Format(time.DateOnly), runtime.GOOS, runtime.GOARCH, runtime.Version(), runtime.NumCPU(), kernel())
	chosen := sections
	if *drain {
		chosen = drainSections
	}
	for _, s := range chosen {
		if len(wanted) > 0 && !slices.Contains(wanted, s.name) {
			continue
		}
		if err := s.run(ctx, &p); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func kernel() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "kernel unknown"
	}
	return "kernel " + strings.TrimSpace(string(release))
}
