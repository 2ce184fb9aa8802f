package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cistern/agent/config"
	"cistern/agent/status"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// newAgent returns an agent in a folder of its own, short enough for a socket.
// patience is how long a test waits for what must come. It is longer than all that an
// agent itself waits for.
const patience = 2 * time.Minute

func newAgent(t *testing.T, toml string) *Agent {
	t.Helper()
	c, err := config.Parse("test", []byte("[[mqtt.listener]]\naddress = '127.0.0.1:0'\n"+toml))
	if err != nil {
		t.Fatal(err)
	}
	c.Gateway.MemoryLimit = 0 // the test's process is not the agent's to limit
	if c.Gateway.Data, err = os.MkdirTemp("", "a"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(c.Gateway.Data) })
	return New(c, "test", slog.New(slog.DiscardHandler))
}

// manager is what systemd is to a service.
func manager(t *testing.T) (said func() string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "n")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "n")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); os.RemoveAll(dir) })
	t.Setenv("NOTIFY_SOCKET", path)
	return func() string {
		b := make([]byte, 100)
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

func TestRunAndStop(t *testing.T) {
	said := manager(t)
	a := newAgent(t, "")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	if word := said(); word != "READY=1" {
		t.Fatalf("said %q first", word)
	}
	socket, err := a.config.SocketPath()
	if err != nil {
		t.Fatal(err)
	}
	d, err := status.NewClient(socket).Status(t.Context())
	if err != nil || len(d.MQTT.Listeners) != 1 || d.Uplink.State != "none" || len(d.Streams) != 1 {
		t.Fatalf("%+v, %v", d, err)
	}

	other := New(a.config, "test", a.log)
	if err := other.Run(ctx); !errors.Is(err, ErrInUse) {
		t.Errorf("a second agent: %v", err)
	}

	stop()
	if word := said(); word != "STOPPING=1" {
		t.Errorf("said %q last", word)
	}
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stayed behind: %v", err)
	}
}

// What can't start says why, and leaves nothing locked behind.
func TestStartFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	for name, test := range map[string]struct {
		change func(*config.Config)
		want   string
	}{
		"mqtt address":   {func(c *config.Config) { c.MQTT.Listeners[0].Address = address }, address},
		"http address":   {func(c *config.Config) { c.Status.HTTP = address }, "status http: listen tcp " + address},
		"password file":  {func(c *config.Config) { c.MQTT.PasswordFile = "/nonexistent" }, "password file"},
		"key template":   {func(c *config.Config) { c.MQTT.Routes[0].Key = "{topc}" }, "{topc} is unknown"},
		"sasl secret":    {func(c *config.Config) { c.Uplink.Kafka = badSASL() }, "/nonexistent"},
		"topic template": {func(c *config.Config) { c.Uplink.Kafka = badTopic() }, "{strem}"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t, "")
			test.change(&a.config)
			if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			again := newAgent(t, "")
			again.config.Gateway.Data = a.config.Gateway.Data
			if err := again.openStore(); err != nil {
				t.Fatalf("the folder is not free: %v", err)
			}
			if err := again.close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func badSASL() config.Kafka {
	k := config.Default().Uplink.Kafka
	k.Brokers = []string{"127.0.0.1:1"}
	k.SASL = config.SASL{Mechanism: "PLAIN", User: "u", PasswordFile: "/nonexistent"}
	return k
}

func badTopic() config.Kafka {
	k := config.Default().Uplink.Kafka
	k.Brokers, k.Topic = []string{"127.0.0.1:1"}, "{strem}"
	return k
}

// open opens the parts of an agent without running them.
func open(t *testing.T, toml string) *Agent {
	t.Helper()
	a := newAgent(t, toml)
	a.opened(t)
	return a
}

// opened opens the agent until the end of the test.
func (a *Agent) opened(t *testing.T) {
	t.Helper()
	a.started = time.Now()
	if err := a.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.close(); err != nil {
			t.Error(err)
		}
	})
}

// stored waits for what append hands over.
type stored struct{ done chan error }

func (s stored) Complete(_ uint64, _ int64, err error) bool { s.done <- err; return false }
func (s stored) Flush()                                     {}

func (a *Agent) append(t *testing.T, p metadata.PartitionID, r batch.Record) {
	t.Helper()
	s := stored{make(chan error, 1)}
	if err := a.ingest.Append(t.Context(), p, &r, s, 0); err != nil {
		t.Fatal(err)
	}
	if err := <-s.done; err != nil {
		t.Fatal(err)
	}
}

func TestStatusDocument(t *testing.T) {
	a := open(t, "[[stream]]\nname = 'mqtt'\npartitions = 2\n")
	then := time.Now().Add(-time.Hour)
	p := metadata.PartitionID{Stream: "mqtt", Partition: 1}
	for range 3 {
		a.append(t, p, batch.Record{Key: []byte("t"), Value: []byte("v"), Timestamp: then.UnixMilli()})
	}
	d := a.Status()
	if len(d.Streams) != 1 || len(d.Streams[0].Partitions) != 2 {
		t.Fatalf("%+v", d.Streams)
	}
	empty, got := d.Streams[0].Partitions[0], d.Streams[0].Partitions[1]
	if empty.Backlog != (status.Backlog{OldestSeconds: -1}) {
		t.Errorf("empty: %+v", empty)
	}
	b := got.Backlog
	if got.HighWatermark != 3 || got.Drained != -1 || b.Records != 3 || b.Bytes < 3*batch.HeaderLen || b.OldestSeconds < 3599 || b.OldestSeconds > 3700 {
		t.Errorf("filled: %+v", got)
	}
	if d.Streams[0].Backlog != b || d.BacklogTotal() != b {
		t.Errorf("sums differ: %+v", d.Streams[0].Backlog)
	}
	if d.Storage.Commits != 3 || d.Storage.MaxBytes == 0 || d.Storage.FreeBytes == 0 || d.Process.PID != os.Getpid() {
		t.Errorf("%+v %+v", d.Storage, d.Process)
	}

	// When the drain moves, the age is that of the record behind it.
	a.append(t, p, batch.Record{Key: []byte("t"), Timestamp: time.Now().UnixMilli()})
	part := got
	part.HighWatermark, part.Drained = 4, 3
	if b := a.backlog(a.store.Log(p), &part, time.Now()); b.Records != 1 || b.OldestSeconds > 60 {
		t.Errorf("after the drain: %+v", b)
	}
	part.Drained = 4
	if b := a.backlog(a.store.Log(p), &part, time.Now()); b != (status.Backlog{OldestSeconds: -1}) {
		t.Errorf("all drained: %+v", b)
	}
}

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{"": "", "a": "a", "a\na\nb\n": "a; b"} {
		if got := oneLine(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
