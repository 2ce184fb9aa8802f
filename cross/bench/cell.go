package main

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"cistern/cross/load"
	"cistern/cross/rig"
)

// Result is what one run of one journal gave.
type Result struct {
	Records  int64
	Payload  int64 // bytes
	Elapsed  time.Duration
	P50, P99 time.Duration // from Append to its return
	Groups   int64
	Syncs    int64
	CPU      time.Duration // user and system, of everything in the process
	Mallocs  uint64
	Device   rig.Counters // when the setting names one
}

func (r Result) perSecond() float64 { return float64(r.Records) / r.Elapsed.Seconds() }

// measure runs one setting in a process of its own, in an empty folder.
func measure(ctx context.Context, s Setting) (Result, error) {
	if err := errors.Join(os.RemoveAll(s.Dir), os.MkdirAll(s.Dir, 0o755)); err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(s.Dir)
	return inChild[Setting, Result](ctx, "cell", s)
}

// cell is the child's side of measure.
func cell(s Setting) (r Result, err error) {
	j, fs, err := open(s)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	pool := make([][][]byte, s.Producers)
	for p := range pool {
		pool[p] = load.Records(p, max(256, 4*s.Batch), s.Size)
	}
	ctx := context.Background()
	if _, err := drive(ctx, j, s, pool, min(s.Duration, time.Second)); err != nil {
		return r, err
	}
	before, err := take(s, j, fs)
	if err != nil {
		return r, err
	}
	latencies, err := drive(ctx, j, s, pool, s.Duration)
	if err != nil {
		return r, err
	}
	after, err := take(s, j, fs)
	if err != nil {
		return r, err
	}
	return after.since(before, latencies, s), nil
}

// drive lets every producer append in a closed loop for d, or at its pace, and
// returns the latency of each append.
func drive(ctx context.Context, j Journal, s Setting, pool [][][]byte, d time.Duration) ([]time.Duration, error) {
	var (
		running sync.WaitGroup
		stop    atomic.Bool
		each    = make([][]time.Duration, s.Producers)
		failed  = make([]error, s.Producers)
	)
	for p := range s.Producers {
		running.Go(func() {
			mine := pool[p]
			next := time.Now().Add(s.Pace * time.Duration(p) / time.Duration(s.Producers)) // not all at once
			for i := 0; !stop.Load(); i = (i + s.Batch) % (len(mine) - s.Batch + 1) {
				if s.Pace > 0 {
					time.Sleep(time.Until(next))
					next = next.Add(s.Pace)
				}
				start := time.Now()
				if failed[p] = j.Append(ctx, p, mine[i:i+s.Batch]); failed[p] != nil {
					return
				}
				each[p] = append(each[p], time.Since(start))
			}
		})
	}
	time.Sleep(d)
	stop.Store(true)
	running.Wait()
	return slices.Concat(each...), errors.Join(failed...)
}

// moment is every counter at one time.
type moment struct {
	at      time.Time
	groups  int64
	syncs   int64
	cpu     time.Duration
	mallocs uint64
	device  rig.Counters
}

func take(s Setting, j Journal, fs *counting) (moment, error) {
	var m moment
	if s.Device != "" {
		syscall.Sync() // what is still dirty belongs to what came before
		var err error
		if m.device, err = rig.DeviceCounters(s.Device); err != nil {
			return m, err
		}
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return m, err
	}
	m.groups, m.syncs, m.mallocs = j.Groups(), fs.syncs.Load(), mem.Mallocs
	m.cpu = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	m.at = time.Now()
	return m, nil
}

// since makes a result of two moments and what was done between them.
func (m moment) since(before moment, latencies []time.Duration, s Setting) Result {
	slices.Sort(latencies)
	records := int64(len(latencies) * s.Batch)
	return Result{
		Records: records,
		Payload: records * int64(s.Size),
		Elapsed: m.at.Sub(before.at),
		P50:     percentile(latencies, 50),
		P99:     percentile(latencies, 99),
		Groups:  m.groups - before.groups,
		Syncs:   m.syncs - before.syncs,
		CPU:     m.cpu - before.cpu,
		Mallocs: m.mallocs - before.mallocs,
		Device:  m.device.Minus(before.device),
	}
}

func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)*p/100]
}
