package source

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"cistern/gossip/porttest"
)

const patience = 30 * time.Second // for what takes milliseconds

// mosquitto is a real broker on a loopback port of its own.
type mosquitto struct {
	t       testing.TB
	dir     string
	port    int
	extra   string // lines of its configuration
	process *exec.Cmd
}

// startMosquitto starts a broker that lasts as long as the test, or skips it.
func startMosquitto(t testing.TB, extra string) *mosquitto {
	t.Helper()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path = "/usr/sbin/mosquitto" // not in the PATH of ordinary users
		if _, err := os.Stat(path); err != nil {
			t.Skip("mosquitto is not installed (Debian package mosquitto)")
		}
	}
	m := &mosquitto{t: t, dir: t.TempDir(), port: porttest.Number(t), extra: extra}
	m.start(path)
	t.Cleanup(func() { m.stop(syscall.SIGKILL) })
	return m
}

func (m *mosquitto) start(path string) {
	m.t.Helper()
	config := fmt.Sprintf("listener %d 127.0.0.1\nlog_dest stderr\n%s\n", m.port, m.extra)
	if !strings.Contains(m.extra, "password_file") {
		config += "allow_anonymous true\n"
	}
	if os.Getuid() == 0 {
		config += "user root\n" // else it can't read the test's directory
	}
	file := filepath.Join(m.dir, "mosquitto.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.process = exec.Command(path, "-c", file)
	stderr, err := m.process.StderrPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := m.process.Start(); err != nil {
		m.t.Fatal(err)
	}
	running := make(chan string, 1)
	go func() {
		var log strings.Builder
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			fmt.Fprintln(&log, lines.Text())
			if strings.HasSuffix(lines.Text(), " running") {
				running <- ""
			}
		}
		running <- log.String()
	}()
	select {
	case log := <-running:
		if log != "" {
			m.t.Fatalf("mosquitto did not start:\n%s", log)
		}
	case <-time.After(patience):
		m.t.Fatal("mosquitto did not say that it runs")
	}
}

func (m *mosquitto) stop(s syscall.Signal) {
	m.process.Process.Signal(s)
	m.process.Wait()
}

func (m *mosquitto) address() string { return fmt.Sprintf("127.0.0.1:%d", m.port) }

func (m *mosquitto) config() Config {
	c := testConfig
	c.URL = "mqtt://" + m.address()
	c.Window = 200
	return c
}

// publisher connects a client that publishes.
func (m *mosquitto) publisher() mqtt.Client {
	m.t.Helper()
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + m.address()).
		SetClientID("publisher").SetAutoReconnect(false))
	if token := c.Connect(); !token.WaitTimeout(patience) || token.Error() != nil {
		m.t.Fatalf("publisher: %v", token.Error())
	}
	m.t.Cleanup(func() { c.Disconnect(0) })
	return c
}

// publish sends the numbers from..to and waits for the broker's word.
func publish(t testing.TB, c mqtt.Client, topic string, from, to int, retain bool) {
	t.Helper()
	var last mqtt.Token
	for i := from; i <= to; i++ {
		last = c.Publish(topic, 1, retain, fmt.Sprint(i))
	}
	if !last.WaitTimeout(patience) || last.Error() != nil {
		t.Fatalf("publish: %v", last.Error())
	}
}

// quick makes a source that reconnects fast.
func quick(t *testing.T, config Config, a Appender) *Source {
	t.Helper()
	s, err := New(config, plain{}, a, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.timing.backoffMin, s.timing.backoffMax = 10*time.Millisecond, 50*time.Millisecond
	return s
}

// eventually polls what no event tells: the state of another process.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !ok() {
		if !sleep(ctx, 2*time.Millisecond) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func connected(s *Source) func() bool {
	return func() bool {
		st := s.Status()
		return !st.ConnectedSince.IsZero() && len(st.Subscriptions) > 0
	}
}

func failing(s *Source, text string) func() bool {
	return func() bool { return strings.Contains(s.Status().LastError, text) }
}
