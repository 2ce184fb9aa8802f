package drain

import (
	"sync"
	"time"
)

// rateWindow is the number of whole seconds that a rate is taken over.
const rateWindow = 10

// meter counts, in all and per second.
type meter struct {
	mu      sync.Mutex
	records int64
	bytes   int64
	seconds [rateWindow + 1]second // the running one included
}

type second struct{ at, records, bytes int64 }

func (m *meter) add(now time.Time, records, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records += records
	m.bytes += bytes
	at := now.Unix()
	s := &m.seconds[at%int64(len(m.seconds))]
	if s.at != at {
		*s = second{at: at}
	}
	s.records += records
	s.bytes += bytes
}

// Throughput is what went upstream since Run, and how fast it goes: per second
// over the last ten.
type Throughput struct {
	Records          int64   `json:"records"`
	Bytes            int64   `json:"bytes"`
	RecordsPerSecond float64 `json:"records_per_second"`
	BytesPerSecond   float64 `json:"bytes_per_second"`
}

func (m *meter) read(now time.Time) Throughput {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := Throughput{Records: m.records, Bytes: m.bytes}
	for _, s := range m.seconds {
		if age := now.Unix() - s.at; age >= 1 && age <= rateWindow {
			t.RecordsPerSecond += float64(s.records) / rateWindow
			t.BytesPerSecond += float64(s.bytes) / rateWindow
		}
	}
	return t
}
