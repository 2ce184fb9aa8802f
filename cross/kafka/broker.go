package kafka

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"cistern/cross/rig"
)

// startTimeout is for a broker that recovers its logs on a busy machine.
const startTimeout = 150 * time.Second

// stopTimeout is for one that has much to close; seconds are usual.
const stopTimeout = time.Minute

// askEvery: the broker is another process, there is nothing to wait on.
const askEvery = 20 * time.Millisecond

// terminated is the status Java exits with after SIGTERM: 128 + 15.
const terminated = 143

// Options are the decisions about one broker.
type Options struct {
	Dir        string            // its data and log; made when missing, kept
	Listen     string            // loopback host:port; empty or port 0 takes a free one
	Properties map[string]string // beyond, or instead of, the defaults
}

// Broker is a real Kafka broker that can be killed and started again on its
// data and its address. It is used by one goroutine.
type Broker struct {
	libs       *Libs
	dir        string
	listen     string
	controller string
	properties map[string]string
	process    *rig.Process
}

// NewBroker writes the broker's configuration, and formats its data folder when
// it is new. The broker does not run yet.
func NewBroker(ctx context.Context, libs *Libs, o Options) (*Broker, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	b := &Broker{libs: libs, dir: dir, properties: o.Properties}
	if b.listen, err = loopback(o.Listen); err != nil {
		return nil, err
	}
	if b.controller, err = loopback(""); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(b.config(), b.render(), 0o644); err != nil {
		return nil, err
	}
	return b, b.format(ctx)
}

// loopback turns a listen address into one whose port is known.
func loopback(listen string) (string, error) {
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("listen address %q: %w", listen, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", fmt.Errorf("listen address %q is not on loopback, and this broker asks nobody for a password", listen)
	}
	if port != "0" {
		return listen, nil
	}
	free, err := rig.FreePort()
	return net.JoinHostPort(host, strconv.Itoa(free)), err
}

func (b *Broker) config() string { return filepath.Join(b.dir, "server.properties") }

// Data is the folder of the broker's logs, one below it for each partition.
func (b *Broker) Data() string { return filepath.Join(b.dir, "data") }

// Addr is where clients find it, host:port.
func (b *Broker) Addr() string { return b.listen }

// clusterID is a fixed UUID in Kafka's writing.
const clusterID = "Y2lzdGVybi1jZW50cmFsLQ"

func (b *Broker) format(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(b.Data(), "meta.properties")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := b.libs.Tool(ctx, "kafka.tools.StorageTool", "format", "-t", clusterID, "-c", b.config()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("formatting %s: %w\n%s", b.Data(), err, out)
	}
	return nil
}

// Start runs the broker and returns when it answers, for all that it has.
func (b *Broker) Start(ctx context.Context) error {
	line := b.libs.line("kafka.Kafka", b.config())
	// Before the class: later ones would be the broker's arguments.
	line = append([]string{"-Dorg.slf4j.simpleLogger.logFile=" + filepath.Join(b.dir, "broker.log")}, line...)
	p, err := rig.Start(nil, b.libs.java, line...)
	if err != nil {
		return err
	}
	b.process = p
	if err := b.await(ctx); err != nil {
		p.Kill()
		return fmt.Errorf("the broker in %s does not answer: %w\n%s", b.dir, err, p.Output())
	}
	return nil
}

func (b *Broker) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.listen), kgo.RequestRetries(0), kgo.MetadataMinAge(askEvery))
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		if err = client.Ping(ctx); err == nil {
			err = leads(ctx, kadm.NewClient(client))
		}
		if err == nil {
			return nil
		}
		select {
		case <-b.process.Exited():
			return errors.New("it ended")
		case <-ctx.Done():
			return err
		case <-time.After(askEvery):
		}
	}
}

// leads holds that a broker leads all its partitions: one that answers after a kill may
// still be recovering some.
func leads(ctx context.Context, a *kadm.Client) error {
	m, err := a.Metadata(ctx)
	if err != nil {
		return err
	}
	if len(m.Brokers) == 0 {
		return errors.New("it knows of no broker, not even of itself")
	}
	err = m.Topics.Error()
	m.Topics.EachPartition(func(p kadm.PartitionDetail) {
		if p.Err != nil || p.Leader < 0 {
			err = fmt.Errorf("%s-%d is led by %d: %v", p.Topic, p.Partition, p.Leader, p.Err)
		}
	})
	if err != nil || len(m.Topics) == 0 {
		return err
	}
	ends, err := a.ListEndOffsets(ctx, m.Topics.Names()...)
	return errors.Join(err, ends.Error())
}

// Kill is kill -9.
func (b *Broker) Kill() {
	if b.process != nil {
		b.process.Kill()
	}
}

// Stop asks the broker to stop and waits for it. One that does not is killed, which is
// an error.
func (b *Broker) Stop() error {
	if b.process == nil {
		return nil
	}
	late := time.AfterFunc(stopTimeout, b.process.Kill)
	err := b.process.Stop(syscall.SIGTERM)
	if !late.Stop() {
		return fmt.Errorf("the broker in %s did not stop within %s: %w", b.dir, stopTimeout, err)
	}
	var status *exec.ExitError
	if errors.As(err, &status) && status.ExitCode() == terminated {
		return nil
	}
	return err
}

// Exited is closed when the broker that was started last is gone.
func (b *Broker) Exited() <-chan struct{} { return b.process.Exited() }

// PID is the process id of the broker that was started last.
func (b *Broker) PID() int { return b.process.PID() }
