package main

import (
	"context"
	"fmt"
	"time"

	"cistern/segstore/vfs"
)

// Journal is what is compared: something that takes records from many
// producers and says when they are on the device.
type Journal interface {
	// Append hands over what one producer has, as one batch, and returns when
	// it is durable. A producer makes its next call after that.
	Append(ctx context.Context, producer int, records [][]byte) error
	// Groups is how many commits were made so far.
	Groups() int64
	Close() error
}

// Setting is everything that is decided about one run of one journal.
type Setting struct {
	Engine     string        // a key of engines
	Dir        string        // an empty folder on the device
	Card       bool          // through vfs.SlowCard
	Device     string        // loop device whose counters are read; empty: none
	Producers  int           //
	Batch      int           // records per Append
	Size       int           // bytes per record
	Partitions int           // producers are spread over these
	Window     time.Duration // of a commit; the baseline knows none
	Pace       time.Duration // between two appends of a producer; 0: as fast as it is answered
	Duration   time.Duration // measured; as much again, at most 1 s, warms up
}

// engines are the journals by name. The baseline comes first everywhere.
var engines = map[string]func(Setting, vfs.FS) (Journal, error){
	"ring":     openRing,
	"segstore": openSegstore,
}

func open(s Setting) (Journal, *counting, error) {
	start, ok := engines[s.Engine]
	if !ok {
		return nil, nil, fmt.Errorf("no engine %q", s.Engine)
	}
	fs := &counting{FS: device(s)}
	j, err := start(s, fs)
	return j, fs, err
}
