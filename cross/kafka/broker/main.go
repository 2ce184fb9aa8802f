// Command broker brings up a real Apache Kafka broker on loopback, and stops it
// on Ctrl-C. With a command behind its flags it runs that instead of waiting,
// with CENTRAL set to the broker's address, and ends as the command did. See
// package cistern/cross/kafka.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"cistern/cross/kafka"
)

func main() {
	dir := flag.String("dir", "build/kafka", "jars, data and log")
	listen := flag.String("listen", "127.0.0.1:9092", "host:port on loopback; port 0 takes a free one")
	fresh := flag.Bool("fresh", false, "a data folder of its own, removed at the end")
	fetch := flag.Bool("fetch", false, "fetch the jars, and no more")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *fetch {
		_, err = kafka.FetchLibs(ctx, *dir, say)
	} else {
		err = run(ctx, *dir, *listen, *fresh, flag.Args())
	}
	var status *exec.ExitError
	switch {
	case errors.As(err, &status):
		os.Exit(status.ExitCode())
	case err != nil:
		say("%v", err)
		os.Exit(1)
	}
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "kafka: "+format+"\n", args...) }

func run(ctx context.Context, dir, listen string, fresh bool, command []string) error {
	libs, err := kafka.FetchLibs(ctx, dir, say)
	if err != nil {
		return err
	}
	o := kafka.Options{Dir: dir, Listen: listen}
	if fresh {
		if o.Dir, err = os.MkdirTemp(dir, "data-"); err != nil {
			return err
		}
		defer os.RemoveAll(o.Dir)
	}
	begin := time.Now()
	b, err := kafka.NewBroker(ctx, libs, o)
	if err != nil {
		return err
	}
	if err := b.Start(ctx); err != nil {
		return err
	}
	say("Apache Kafka answers on %s after %.1f s (pid %d); data in %s, log in %s", b.Addr(),
		time.Since(begin).Seconds(), b.PID(), b.Data(), filepath.Join(o.Dir, "broker.log"))
	if len(command) == 0 {
		err = wait(ctx, b)
	} else {
		err = around(ctx, b, command)
	}
	return errors.Join(err, b.Stop())
}

// wait returns on Ctrl-C, or when the broker ends by itself.
func wait(ctx context.Context, b *kafka.Broker) error {
	say("Ctrl-C stops it; the data stays")
	select {
	case <-ctx.Done():
		say("stopping")
		return nil
	case <-b.Exited():
		return errors.New("the broker ended by itself: see its log")
	}
}

// around runs a command while the broker runs.
func around(ctx context.Context, b *kafka.Broker, command []string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "CENTRAL="+b.Addr())
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	return cmd.Run()
}
