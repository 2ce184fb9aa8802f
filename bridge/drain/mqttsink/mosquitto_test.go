package mqttsink

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"cistern/bridge/drain/sinktest"
	"cistern/gossip/porttest"
)

// mosquitto is a real broker on a loopback port of its own.
type mosquitto struct {
	t       testing.TB
	path    string
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
	m := &mosquitto{t: t, path: path, dir: t.TempDir(), port: porttest.Number(t), extra: extra}
	m.start()
	t.Cleanup(m.kill)
	return m
}

func (m *mosquitto) start() {
	m.t.Helper()
	config := fmt.Sprintf("listener %d 127.0.0.1\nlog_dest stderr\npersistence true\npersistence_location %s/\n%s\n", m.port, m.dir, m.extra)
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
	m.process = exec.Command(m.path, "-c", file)
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
	case <-time.After(sinktest.Patience):
		m.t.Fatal("mosquitto did not say that it runs")
	}
}

func (m *mosquitto) kill() {
	m.process.Process.Signal(syscall.SIGKILL)
	m.process.Wait()
}

func (m *mosquitto) config() Config {
	return Config{URL: fmt.Sprintf("mqtt://127.0.0.1:%d", m.port), ClientID: "cistern-test", Prefix: "plant/", Logger: sinktest.Logger()}
}

// sink makes one that returns fast.
func sink(t testing.TB, cfg Config) *Sink {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.timing.backoffMin, s.timing.backoffMax = 5*time.Millisecond, 50*time.Millisecond
	return s
}

// listener subscribes to everything and keeps what comes. It asks for QoS 0: what
// the broker has written to it before it dies then arrives, since there is no
// window of acknowledgements that would keep it in the broker's memory.
type listener struct {
	t      testing.TB
	client mqtt.Client

	mu   sync.Mutex
	seen map[string][]string // values by topic, in the order of arrival
	came chan struct{}
}

func newListener(t testing.TB) *listener {
	return &listener{t: t, seen: map[string][]string{}, came: make(chan struct{}, 1)}
}

// connect subscribes at a broker, anew after each of its deaths.
func (l *listener) connect(m *mosquitto) {
	l.t.Helper()
	l.client = mqtt.NewClient(mqtt.NewClientOptions().AddBroker(fmt.Sprintf("tcp://127.0.0.1:%d", m.port)).
		SetClientID("listener").SetAutoReconnect(false).SetOrderMatters(true))
	if token := l.client.Connect(); !token.WaitTimeout(sinktest.Patience) || token.Error() != nil {
		l.t.Fatalf("listener: %v", token.Error())
	}
	if token := l.client.Subscribe("#", 0, l.take); !token.WaitTimeout(sinktest.Patience) || token.Error() != nil {
		l.t.Fatalf("listener: %v", token.Error())
	}
	client := l.client
	l.t.Cleanup(func() { client.Disconnect(0) })
}

func (l *listener) take(_ mqtt.Client, m mqtt.Message) {
	l.mu.Lock()
	l.seen[m.Topic()] = append(l.seen[m.Topic()], string(m.Payload()))
	l.mu.Unlock()
	select {
	case l.came <- struct{}{}:
	default:
	}
}

// verdict counts what is missing, what came again, and what came before its time:
// a first copy must follow the record before it on its topic.
type findings struct{ lost, repeated, early, foreign int }

// judge compares with what logs should have brought; topicOf says where.
func (l *listener) judge(prefix string, logs ...*sinktest.Log) (f findings) {
	l.mu.Lock()
	defer l.mu.Unlock()
	want := map[string][]string{}
	for _, log := range logs {
		for o := range log.HighWatermark() {
			topic := prefix + log.ID.Stream
			if log.Key != nil {
				topic = prefix + string(log.Key(o))
			}
			want[topic] = append(want[topic], string(log.Value(o)))
		}
	}
	for topic, values := range want {
		place := map[string]int{}
		for i, v := range values {
			place[v] = i
		}
		next := 0
		for _, v := range l.seen[topic] {
			switch i, known := place[v]; {
			case !known:
				f.foreign++
			case i == next:
				next++
			case i < next:
				f.repeated++
			default:
				f.early++
			}
		}
		f.lost += len(values) - next
	}
	for topic := range l.seen {
		if want[topic] == nil && strings.HasPrefix(topic, prefix) {
			f.foreign += len(l.seen[topic])
		}
	}
	return f
}

// all waits until nothing is lost any more.
func (l *listener) all(prefix string, logs ...*sinktest.Log) findings {
	l.t.Helper()
	timeout := time.After(sinktest.Patience)
	for {
		f := l.judge(prefix, logs...)
		if f.lost == 0 {
			return f
		}
		select {
		case <-l.came:
		case <-timeout:
			l.t.Errorf("%+v", f)
			return f
		}
	}
}

// until waits for what the listener has seen.
func (l *listener) until(holds func() bool) {
	l.t.Helper()
	timeout := time.After(sinktest.Patience)
	for {
		l.mu.Lock()
		ok := holds()
		l.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-l.came:
		case <-timeout:
			l.t.Error("the listener waited in vain")
			return
		}
	}
}

// gate lets connections through while it is open, and counts them.
type gate struct {
	sinktest.Line
	mu    sync.Mutex
	open  chan struct{}
	conns int
}

func newGate() *gate {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	return g
}

func (g *gate) shut() { g.mu.Lock(); defer g.mu.Unlock(); g.open = make(chan struct{}) }

func (g *gate) release() { g.mu.Lock(); defer g.mu.Unlock(); close(g.open) }

// reconnects is how many connections came after the first.
func (g *gate) reconnects() int { g.mu.Lock(); defer g.mu.Unlock(); return g.conns - 1 }

func (g *gate) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	select {
	case <-open:
		nc, err := g.Line.Dial(ctx, network, addr)
		if err == nil {
			g.mu.Lock()
			g.conns++
			g.mu.Unlock()
		}
		return nc, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// sensors makes keys of a few topics.
func sensors(offset int64) []byte { return []byte("sensors/" + strconv.FormatInt(offset%5, 10) + "/t") }
