package quorum

import "sync"

// watchers wakes whoever waits for something to change. A wake-up that was not
// taken stands for all that follow it.
type watchers struct {
	mu  sync.Mutex
	set map[chan struct{}]struct{}
}

// watch returns a channel that gets a value after each change, and a function
// that ends it.
func (w *watchers) watch() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.set == nil {
		w.set = map[chan struct{}]struct{}{}
	}
	w.set[ch] = struct{}{}
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.set, ch)
	}
}

func (w *watchers) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.set {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}
