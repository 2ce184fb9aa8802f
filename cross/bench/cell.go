package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
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

// cellArgument makes this program measure one setting and print the result:
// each cell runs in a process of its own, so that none inherits another's heap.
const cellArgument = "measure-one-cell"

// measure runs one cell in a process of its own.
func measure(ctx context.Context, s Setting) (Result, error) {
	if err := os.RemoveAll(s.Dir); err != nil {
		return Result{}, err
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(s.Dir)
	setting, err := json.Marshal(s)
	if err != nil {
		return Result{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return Result{}, err
	}
	child := exec.CommandContext(ctx, self, cellArgument, string(setting))
	child.Stderr = os.Stderr
	out, err := child.Output()
	if err != nil {
		return Result{}, fmt.Errorf("%+v: %w", s, err)
	}
	var r Result
	return r, json.Unmarshal(out, &r)
}

// cell is the child's side of measure.
func cell(setting string) error {
	var s Setting
	if err := json.Unmarshal([]byte(setting), &s); err != nil {
		return err
	}
	j, fs, err := open(s)
	if err != nil {
		return err
	}
	pool := make([][][]byte, s.Producers)
	for p := range pool {
		pool[p] = load.Records(p, max(256, 4*s.Batch), s.Size)
	}
	ctx := context.Background()
	if _, err := drive(ctx, j, s, pool, min(s.Duration, time.Second)); err != nil {
		return err
	}

	var r Result
	before, err := take(s, j, fs)
	if err != nil {
		return err
	}
	latencies, err := drive(ctx, j, s, pool, s.Duration)
	if err != nil {
		return err
	}
	after, err := take(s, j, fs)
	if err != nil {
		return err
	}
	r.Records = int64(len(latencies) * s.Batch)
	r.Payload = r.Records * int64(s.Size)
	slices.Sort(latencies)
	r.P50, r.P99 = percentile(latencies, 50), percentile(latencies, 99)
	r.Elapsed = after.at.Sub(before.at)
	r.Groups = after.groups - before.groups
	r.Syncs = after.syncs - before.syncs
	r.CPU = after.cpu - before.cpu
	r.Mallocs = after.mallocs - before.mallocs
	r.Device = after.device.Minus(before.device)
	return errors.Join(json.NewEncoder(os.Stdout).Encode(r), j.Close())
}

// drive lets every producer append in a closed loop for d and returns the
// latency of each append.
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
			for i := 0; !stop.Load(); i = (i + s.Batch) % (len(mine) - s.Batch + 1) {
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

func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)*p/100]
}
