// Package central is a stand-in for the central Kafka cluster: kfake in a
// process of its own (cross/central/standin), and a reader that tells what
// arrived there.
//
// It is for the demo, the tests and the benchmarks. The agent carries none of
// it, which cross/build holds.
//
// The stand-in keeps its data in a directory, so that it can be killed and
// started again like a real cluster. It can advertise an
// address that is not its own: a client of Kafka bootstraps with one address
// and then goes where the metadata points, so an uplink that is to be cut has
// to be the advertised one.
package central

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Options are the decisions about one stand-in.
type Options struct {
	Listen     string // host:port; port 0 takes a free one
	Advertise  string // host:port that metadata points to; empty: the listener's
	Dir        string // data; empty keeps it in memory
	Sync       bool   // every write to the device: slow, survives a power cut
	Partitions int    // of a topic that is created by being used
}

// Serve runs the stand-in until ctx ends. ready is called once with the
// address it listens on.
func Serve(ctx context.Context, o Options, ready func(address string)) error {
	host, _, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return fmt.Errorf("central: listen address %q: %w", o.Listen, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("central: listen address %q is not on loopback, and this stand-in asks nobody for a password", o.Listen)
	}

	var listener *advertised
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.AllowAutoTopicCreation(),
		kfake.DefaultNumPartitions(max(1, o.Partitions)),
		kfake.ClusterID("cistern-central"),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) {
			l, err := net.Listen(network, o.Listen)
			if err != nil {
				return nil, err
			}
			listener = &advertised{Listener: l, as: o.Advertise}
			return listener, nil
		}),
	}
	if o.Dir != "" {
		opts = append(opts, kfake.DataDir(o.Dir))
	}
	if o.Sync {
		opts = append(opts, kfake.SyncWrites())
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return fmt.Errorf("central: %w", err)
	}
	defer cluster.Close()
	if listener == nil {
		return errors.New("central: the stand-in opened no listener")
	}
	ready(listener.Listener.Addr().String())
	<-ctx.Done()
	return nil
}

// advertised is a listener that gives another address as its own, which is
// what kfake puts into its metadata.
type advertised struct {
	net.Listener
	as string
}

func (a *advertised) Addr() net.Addr {
	if a.as == "" {
		return a.Listener.Addr()
	}
	return address(a.as)
}

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }
