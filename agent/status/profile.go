package status

import (
	"net/http"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"time"
)

// Limits of a profile over time.
const (
	profileSecondsDefault = 30
	profileSecondsMax     = 600
)

// profiles serves what `go tool pprof` asks for, under the names of
// net/http/pprof. That package would bring html/template and 0.3 MB along.
func profiles(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	switch name {
	case "profile":
		overTime(w, r, func() error { return pprof.StartCPUProfile(w) }, pprof.StopCPUProfile)
		return
	case "trace":
		overTime(w, r, func() error { return trace.Start(w) }, trace.Stop)
		return
	}
	p := pprof.Lookup(name)
	if p == nil {
		known := []string{"profile", "trace"}
		for _, p := range pprof.Profiles() {
			known = append(known, p.Name())
		}
		answer(w, http.StatusNotFound, map[string]any{"error": "no such profile", "profiles": known})
		return
	}
	level, err := strconv.Atoi(r.FormValue("debug"))
	if err != nil {
		level = 0 // for `go tool pprof`
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_ = p.WriteTo(w, level) // who asked is gone: nobody to tell
}

// overTime writes what happens in ?seconds=, or until who asked is gone.
func overTime(w http.ResponseWriter, r *http.Request, start func() error, stop func()) {
	seconds, err := strconv.Atoi(r.FormValue("seconds"))
	if err != nil || seconds < 1 {
		seconds = profileSecondsDefault
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := start(); err != nil { // another one runs
		answer(w, http.StatusConflict, problem{err.Error()})
		return
	}
	defer stop()
	t := time.NewTimer(time.Duration(min(seconds, profileSecondsMax)) * time.Second)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	}
}
