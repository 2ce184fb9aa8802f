// Command cistern is the gateway and everything an operator does with it.
//
// What a person reads goes to stdout, what went wrong to stderr, always with
// what to do about it. Output for scripts is asked for with --json and is an
// interface; output for people may change. Colour appears on terminals only,
// and never when NO_COLOR is set.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once, as people expect of a second
	// Ctrl-C.
	context.AfterFunc(ctx, stop)
	code := execute(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
	os.Exit(code)
}
