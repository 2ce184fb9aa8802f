package sim

import (
	"bufio"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	seedsDefault = 500
	seedsShort   = 60
	failuresMax  = 5 // are shown
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // runs are short and make much garbage
	os.Exit(m.Run())
}

// env reads a number, such as CISTERN_SIM_SEEDS=20000.
func env(t *testing.T, name string, value uint64) uint64 {
	text, ok := os.LookupEnv(name)
	if !ok {
		return value
	}
	n, err := strconv.ParseUint(text, 0, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// runAll runs seeds on all cores, and returns the reports in order.
func runAll(seeds []uint64, options func(seed uint64) Options) []Report {
	reports := make([]Report, len(seeds))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(seeds)); i = next.Add(1) - 1 {
				reports[i] = Run(seeds[i], options(seeds[i]), nil)
			}
		})
	}
	wg.Wait()
	return reports
}

// some returns n seeds: the same ones every time, so that a change is judged by
// what it changes, or with CISTERN_SIM_BASE=fresh ones that nobody has run before.
func some(t *testing.T, n uint64) []uint64 {
	base := rand.Uint64() >> 16
	if os.Getenv("CISTERN_SIM_BASE") != "fresh" {
		base = env(t, "CISTERN_SIM_BASE", 1)
	}
	t.Logf("base seed %d", base)
	var seeds []uint64
	for i := range n {
		seeds = append(seeds, base+i)
	}
	return seeds
}

// TestSimulation is the simulator. Each nemesis must have acted, or the run
// proves nothing.
//
//	CISTERN_SIM_SEEDS=20000  that many
//	CISTERN_SIM_BASE=...     from that one on, or "fresh"
func TestSimulation(t *testing.T) {
	n := uint64(seedsDefault)
	if testing.Short() {
		n = seedsShort
	}
	n = env(t, "CISTERN_SIM_SEEDS", n)
	start := time.Now()
	reports := runAll(some(t, n), Draw)
	var sum Report
	sum.Counts = map[string]int{}
	var healing, quiet []time.Duration
	for _, r := range reports {
		sum.add(r)
		healing, quiet = append(healing, r.Healing), append(quiet, r.Quiet)
	}
	t.Logf("%d seeds, %d events in %v", n, sum.Events, time.Since(start).Round(time.Millisecond))
	t.Logf("from the last repair until all are in sync: %s; until everything is confirmed: %s", spread(healing), spread(quiet))
	for k := range nemesis(nemeses) {
		t.Logf("%8d × %s", sum.Acts[k], k)
		if sum.Acts[k] == 0 && n >= seedsShort {
			t.Errorf("the nemesis %q never acted", k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(sum.Counts)) {
		t.Logf("%8d × %s", sum.Counts[k], k)
	}
	complain(t, reports) // last: the end of a long output is what is read
}

func (r *Report) add(o Report) {
	r.Events += o.Events
	for k, n := range o.Acts {
		r.Acts[k] += n
	}
	for k, n := range o.Counts {
		r.Counts[k] += n
	}
}

func spread(d []time.Duration) string {
	slices.Sort(d)
	at := func(q float64) time.Duration { return d[int(q*float64(len(d)-1))].Round(time.Millisecond) }
	return fmt.Sprintf("median %v, p99 %v, worst %v", at(0.5), at(0.99), at(1))
}

// complain fails with what is needed to see a violation again.
func complain(t *testing.T, reports []Report) {
	t.Helper()
	failed := 0
	for _, r := range reports {
		if r.Violation == nil {
			continue
		}
		if failed++; failed <= failuresMax {
			t.Errorf("seed %d: %s\n%s\nagain, with every step: CISTERN_SIM_SEED=%d go test -run TestSeed -v ./cross/sim\nkeep it in testdata/seeds",
				r.Seed, r.Violation, Draw(r.Seed), r.Seed)
		}
	}
	if failed > 0 {
		t.Errorf("%d of %d seeds failed", failed, len(reports))
	}
}

// TestKeptSeeds runs the seeds that failed once, for ever.
func TestKeptSeeds(t *testing.T) {
	f, err := os.Open("testdata/seeds")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var seeds []uint64
	for lines := bufio.NewScanner(f); lines.Scan(); {
		word, _, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		if word == "" || word[0] == '#' {
			continue
		}
		n, err := strconv.ParseUint(word, 0, 64)
		if err != nil {
			t.Fatalf("testdata/seeds: %v", err)
		}
		seeds = append(seeds, n)
	}
	complain(t, runAll(seeds, Draw))
}

// TestSeed shows every step of the seed CISTERN_SIM_SEED.
func TestSeed(t *testing.T) {
	seed := env(t, "CISTERN_SIM_SEED", 1)
	var lines []string
	r := Run(seed, Draw(seed), func(line string) { lines = append(lines, line) })
	if _, asked := os.LookupEnv("CISTERN_SIM_SEED"); asked {
		t.Log(strings.Join(lines, "\n"))
	}
	complain(t, []Report{r})
}

// The same seed is the same run, or no failure could be looked into.
func TestSameSeedSameRun(t *testing.T) {
	for seed := range uint64(5) {
		var runs [2]strings.Builder
		for i := range runs {
			Run(seed, Draw(seed), func(line string) { runs[i].WriteString(line + "\n") })
		}
		a, b := strings.Split(runs[0].String(), "\n"), strings.Split(runs[1].String(), "\n")
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				t.Fatalf("seed %d differs at line %d:\n%s\n%s", seed, i, a[i], b[i])
			}
		}
		if len(a) != len(b) {
			t.Fatalf("seed %d: %d and %d lines", seed, len(a), len(b))
		}
	}
}
