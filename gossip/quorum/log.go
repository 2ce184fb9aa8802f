package quorum

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// logRepeat is how often one message of raft's is written at most: a gateway
// that is away for a week must not fill the flash with failed heartbeats.
const logRepeat = time.Minute

// raftLog passes on what the raft library says.
type raftLog struct {
	to   *slog.Logger
	mu   sync.Mutex
	last map[string]time.Time // by message; raft's are a fixed set
}

func newRaftLog(to *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Off})
	l.RegisterSink(&raftLog{to: to, last: map[string]time.Time{}})
	return l
}

// Accept implements hclog.SinkAdapter. What raft calls an error is mostly a
// peer that is away, which others tell better.
func (l *raftLog) Accept(_ string, level hclog.Level, msg string, args ...any) {
	to := slog.LevelDebug
	switch level {
	case hclog.Error:
		to = slog.LevelWarn
	case hclog.Warn:
		to = slog.LevelInfo
	}
	if to > slog.LevelDebug && !l.due(msg) {
		to = slog.LevelDebug
	}
	if l.to.Enabled(context.Background(), to) {
		l.to.Log(context.Background(), to, "raft: "+msg, args...)
	}
}

func (l *raftLog) due(msg string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if at, ok := l.last[msg]; ok && now.Sub(at) < logRepeat {
		return false
	}
	l.last[msg] = now
	return true
}
