package kafkasink

import (
	"sync"
	"time"
)

// WindowBytesMin is what may be unanswered on the slowest link.
const WindowBytesMin = 64 << 10

// window bounds the bytes that are on their way to a broker. A broker that
// answers late is not dead, it is far behind a slow link: what stands in the way
// is made less then, so that an answer comes within the request timeout, and more
// while answers come early. It outlives connections: one that was given up for
// silence has taught something.
type window struct {
	min, max int
	timeout  time.Duration // the request timeout

	mu    sync.Mutex
	size  int
	out   int       // bytes that are unanswered
	since time.Time // of the last change: what was sent before says nothing
}

func newWindow(requestBytes int, timeout time.Duration) *window {
	least := min(WindowBytesMin, requestBytes)
	return &window{min: least, size: requestBytes, max: RequestsInFlightMax * requestBytes, timeout: timeout}
}

// room returns how many bytes may leave; idle: nothing is on its way, so that
// one batch may, whatever its size.
func (w *window) room() (bytes int, idle bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.size - w.out, w.out == 0
}

// sent notes that bytes have left, and returns how much longer than the request
// timeout their answer may take: a single batch may be larger than the window.
func (w *window) sent(bytes int) (extra time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out += bytes
	if bytes <= w.size {
		return 0
	}
	return time.Duration(float64(w.timeout) * float64(bytes-w.size) / float64(w.size))
}

// answered notes that bytes that were sent then are there.
func (w *window) answered(bytes int, sent time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	full := w.out+bytes > w.size/2
	w.out -= bytes
	switch took := time.Since(sent); {
	case sent.Before(w.since):
	case took > w.timeout/3:
		w.resize(w.size / 2)
	case took < w.timeout/6 && full:
		w.resize(w.size * 2)
	}
}

// lost notes that bytes won't be answered.
func (w *window) lost(bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out -= bytes
}

// late notes that a connection was given up because answers took too long.
func (w *window) late() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resize(w.size / 4)
}

func (w *window) resize(size int) {
	if size = min(max(size, w.min), w.max); size != w.size {
		w.size, w.since = size, time.Now()
	}
}
