// Package rigtest is what end-to-end tests have in common: something made once for
// all of them, errors that end a test, and deadlines.
package rigtest

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"
)

// Main is a TestMain: it prepares what all tests share in a folder of its own, runs
// them, clears up and removes the folder. clear is called whatever was prepared; it
// may be nil.
func Main(m *testing.M, prepare func(ctx context.Context, dir string) error, clear func()) {
	os.Exit(run(m, prepare, clear))
}

func run(m *testing.M, prepare func(ctx context.Context, dir string) error, clear func()) int {
	dir, err := os.MkdirTemp("", "cistern-test-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = prepare(context.Background(), dir)
	}
	if clear != nil {
		defer clear()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// Must ends the test on an error.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Within is the test's context with a deadline, so that a step that hangs says
// which one it was.
func Within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, fmt.Errorf("not within %s", d))
	t.Cleanup(cancel)
	return ctx
}
