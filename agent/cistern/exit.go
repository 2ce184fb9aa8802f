package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"cistern/agent/config"
	"cistern/agent/status"
	"cistern/gossip/port"
)

// Exit codes, documented in `cistern help`.
const (
	exitOK         = 0
	exitFailed     = 1
	exitUsage      = 2 // wrong flags, arguments or configuration
	exitNotRunning = 3
	exitDamaged    = 4 // check found damage
)

// fault is an error that knows its exit code and what to do about it.
type fault struct {
	err  error
	hint string
	code int
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// usage is a fault of the command line or the configuration.
func usage(hint, problem string, args ...any) error {
	return &fault{fmt.Errorf(problem, args...), hint, exitUsage}
}

// hinted adds what to do to an error.
func hinted(err error, hint string) error {
	return &fault{err, hint, exitFailed}
}

// report prints an error the way a person can use it, and returns the exit
// code.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	f := &fault{err: err, code: exitFailed}
	if !errors.As(err, &f) {
		f = classify(err)
	}
	fmt.Fprintf(w, "cistern: %s\n", err)
	if f.hint != "" {
		fmt.Fprintf(w, "hint: %s\n", f.hint)
	}
	return f.code
}

func classify(err error) *fault {
	var wrong config.Errors
	switch {
	case errors.As(err, &wrong):
		return &fault{err, "`cistern config` prints every key with its default", exitUsage}
	case errors.Is(err, status.ErrNotRunning):
		return &fault{err, "start one with `cistern run`, or say where it is with --data, --config, --socket or --gateway", exitNotRunning}
	case errors.Is(err, status.ErrNoUplink):
		return &fault{err, "set one in [uplink] of its configuration; `cistern export` carries records out by hand", exitFailed}
	case errors.Is(err, port.ErrUnknownProtocol):
		return &fault{err, "that gateway is starting, or has a version that can't be asked from afar", exitFailed}
	case errors.As(err, new(tls.RecordHeaderError)):
		return &fault{err, "what answers there is no gateway's site port; it is listen in [site] of its configuration", exitFailed}
	case errors.Is(err, status.ErrHungUp):
		return &fault{err, "try again in a moment", exitFailed}
	case errors.Is(err, fs.ErrPermission):
		return &fault{err, "a packaged gateway's files and socket belong to its service: use sudo", exitFailed}
	case errors.Is(err, status.ErrAlone):
		return &fault{err, "`cistern site init` begins a site", exitFailed}
	}
	return &fault{err: err, code: exitFailed}
}
