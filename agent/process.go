package agent

import (
	"bytes"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"

	"cistern/agent/status"
)

// process measures the agent itself.
func process() status.Process {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return status.Process{
		PID:        os.Getpid(),
		RSSBytes:   residentBytes(),
		HeapBytes:  int64(sample[0].Value.Uint64()),
		Goroutines: runtime.NumGoroutine(),
		CPUSeconds: cpuSeconds(),
	}
}

// residentBytes is 0 where there is no /proc.
func residentBytes() int64 {
	b, err := os.ReadFile("/proc/self/statm") // pages: size resident shared ...
	fields := bytes.Fields(b)
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
