package sim

import (
	"os"
	"strconv"
	"testing"
	"time"
)

func TestOne(t *testing.T) {
	from, _ := strconv.ParseUint(os.Getenv("CISTERN_SIM_SEED"), 0, 64)
	n, _ := strconv.ParseUint(os.Getenv("N"), 0, 64)
	trace := func(line string) { t.Log(line) }
	if n > 0 {
		trace = nil
	}
	start := time.Now()
	total := map[string]int{}
	kinds := map[string]int{}
	for seed := from; seed <= from+n; seed++ {
		r := Run(seed, Draw(seed), trace)
		for k, v := range r.Counts {
			total[k] += v
		}
		if r.Violation != nil {
			kinds[r.Violation.Invariant]++
			x := r.Violation.String()
			if len(x) > 300 {
				x = x[:300]
			}
			t.Errorf("seed %d: %s", seed, x)
		}
	}
	t.Log(time.Since(start), total, kinds)
}
