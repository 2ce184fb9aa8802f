package agent

import (
	"context"
	"fmt"
	"math"
	"sync"
)

// importWait counts records that are not confirmed yet.
type importWait struct {
	mu    sync.Mutex
	open  int
	err   error
	ended bool // all were added
	done  chan struct{}
}

func newImportWait() *importWait { return &importWait{done: make(chan struct{})} }

// add counts one more, unless another has failed.
func (w *importWait) add() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.open++
	}
	return w.err
}

// Complete implements ingest.Completion.
func (w *importWait) Complete(_ uint64, _ int64, err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open--
	if w.err == nil {
		w.err = err
	}
	w.check()
	return false
}

// Flush implements ingest.Completion.
func (w *importWait) Flush() {}

func (w *importWait) check() {
	if w.ended && w.open == 0 {
		w.open = math.MinInt // once
		close(w.done)
	}
}

// end says that all were added.
func (w *importWait) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.check()
}

// wait returns when nothing is open any more.
func (w *importWait) wait(ctx context.Context) error {
	if w == nil {
		return nil
	}
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for records to be confirmed: %w", ctx.Err())
	}
}

// failure is the first error.
func (w *importWait) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}
