package agent

import (
	"os"
	"runtime/debug"
)

// limitMemory makes the garbage collector work harder from limit on, so that
// a burst of messages does not become memory that a small board never gets
// back. GOMEMLIMIT in the environment wins; 0 sets no limit.
func limitMemory(limit int64) {
	if limit > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit)
	}
}
