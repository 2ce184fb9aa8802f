// Command cistern-image prepares what goes onto the cards of gateways: a site's
// folder, whole images, signed updates, and the card itself.
//
// It runs on the computer of whoever looks after the gateways, in Cistern's
// source tree where it has to build something. It needs root for nothing but
// writing to a card.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	if err := newRoot(streams{os.Stdin, os.Stdout, os.Stderr}, os.Args[1:]).ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "cistern-image: %v\n", err)
		os.Exit(1)
	}
}
