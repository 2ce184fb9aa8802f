package status

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Active is a warning that holds now.
type Active struct {
	Warning
	Detail string    `json:"detail,omitempty"` // what exactly: a partition, an address, a cause
	Since  time.Time `json:"since"`
}

// Health holds the active warnings. The zero value is well and silent; its
// methods may be called from anywhere.
type Health struct {
	Log *slog.Logger     // nil: nothing is logged
	Now func() time.Time // nil: time.Now

	mu     sync.Mutex
	active map[Code]Active
}

// Set says that a warning holds. It is logged when it is new; a changed detail
// replaces the old one silently, since counters move all the time.
func (h *Health) Set(code Code, format string, args ...any) {
	w, ok := Lookup(code)
	if !ok {
		panic("status: unknown warning " + string(code)) // a typo in this program, found by the first test
	}
	detail := fmt.Sprintf(format, args...)
	h.mu.Lock()
	was, on := h.active[code]
	if h.active == nil {
		h.active = map[Code]Active{}
	}
	if on {
		was.Detail = detail
		h.active[code] = was
	} else {
		h.active[code] = Active{w, detail, h.now()}
	}
	h.mu.Unlock()
	if !on && h.Log != nil {
		h.Log.Log(context.Background(), w.Severity.level(), w.Title, "code", string(code), "detail", detail)
	}
}

// Clear says that a warning no longer holds.
func (h *Health) Clear(code Code) {
	h.mu.Lock()
	was, on := h.active[code]
	delete(h.active, code)
	now := h.now()
	h.mu.Unlock()
	if on && h.Log != nil {
		h.Log.Info("over: "+was.Title, "code", string(code), "after", now.Sub(was.Since).Round(time.Millisecond).String())
	}
}

// Update sets or clears a warning as holds says.
func (h *Health) Update(code Code, holds bool, format string, args ...any) {
	if holds {
		h.Set(code, format, args...)
	} else {
		h.Clear(code)
	}
}

// Active returns the warnings that hold, worst first. It is never nil, so that
// JSON shows an empty list.
func (h *Health) Active() []Active {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]Active, 0, len(h.active))
	for _, w := range Warnings {
		if a, on := h.active[w.Code]; on {
			list = append(list, a)
		}
	}
	return list
}

// Healthy says whether every promise can be kept now.
func Healthy(active []Active) bool {
	for _, a := range active {
		if a.Severity == Failing {
			return false
		}
	}
	return true
}

func (h *Health) now() time.Time {
	if h.Now == nil {
		return time.Now()
	}
	return h.Now()
}

func (s Severity) level() slog.Level {
	switch s {
	case Failing:
		return slog.LevelError
	case Warn:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}
