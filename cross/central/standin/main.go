// Command standin is a stand-in for the central Kafka cluster, in a process of
// its own so that it can be killed like one. The first line it prints is the
// address it listens on. See package cistern/cross/central.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"cistern/cross/central"
)

func main() {
	var o central.Options
	flag.StringVar(&o.Listen, "listen", "127.0.0.1:0", "host:port to listen on; loopback only")
	flag.StringVar(&o.Advertise, "advertise", "", "host:port that clients are sent to (default: the one it listens on)")
	flag.StringVar(&o.Dir, "data", "", "data directory (default: in memory)")
	flag.BoolVar(&o.Sync, "sync", false, "sync every write to the device")
	flag.IntVar(&o.Partitions, "partitions", 1, "partitions of a topic that is created by being used")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := central.Serve(ctx, o, func(address string) { fmt.Println(address) }); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
