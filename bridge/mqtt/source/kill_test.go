package source

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/ingest"
)

// The kill test runs Source in a process of its own, which is this test binary
// started once more.
const (
	childURL  = "CISTERN_TEST_SOURCE_URL"
	childFile = "CISTERN_TEST_SOURCE_FILE"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(childURL); url != "" {
		if err := child(url, os.Getenv(childFile)); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child reads the broker into a file until it is killed.
func child(url, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	config := testConfig
	config.URL, config.Window = url, killWindow
	a := &groupCommit{file: f}
	s, err := New(config, plain{}, a, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	go a.run()
	return s.Run(context.Background())
}

// groupCommit is an Appender with the shape of the real one: everything that
// came within 20 ms is written, synced, and then confirmed.
type groupCommit struct {
	file    *os.File
	mu      sync.Mutex
	lines   bytes.Buffer
	pending []completion
}

func (g *groupCommit) Append(_ context.Context, _ metadata.PartitionID, r *batch.Record, c ingest.Completion, seq uint64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	fmt.Fprintf(&g.lines, "%s\n", r.Value)
	g.pending = append(g.pending, completion{c, seq})
	return nil
}

func (g *groupCommit) run() {
	for range time.Tick(20 * time.Millisecond) {
		g.mu.Lock()
		lines, pending := bytes.Clone(g.lines.Bytes()), g.pending
		g.lines.Reset()
		g.pending = nil
		g.mu.Unlock()
		if len(pending) == 0 {
			continue
		}
		_, err := g.file.Write(lines)
		if err == nil {
			err = g.file.Sync()
		}
		for _, p := range pending {
			if p.c.Complete(p.seq, 0, err) {
				p.c.Flush()
			}
		}
		fmt.Println(len(pending)) // the parent counts commits
	}
}

// killWindow is small, so that many lives are needed for all messages.
const killWindow = 100

func TestKill(t *testing.T) { killTest(t, 2000, 5) }

// killTest publishes at 2,000/s, at least so many messages and until the kills
// are done, while the reading process is killed again and again. Each message
// has to be in the file, first copies in order.
func killTest(t *testing.T, messages, kills int) {
	m := startMosquitto(t, fmt.Sprintf("max_inflight_messages %d\nmax_queued_messages 0", killWindow))
	file := filepath.Join(t.TempDir(), "records")
	subscribeOnce(t, m)
	enough, published := make(chan struct{}), make(chan int, 1)
	publisher := m.publisher()
	began := time.Now()
	go func() { published <- publishPaced(t, publisher, messages, enough) }()

	for range kills {
		c := startChild(t, m, file)
		c.commits(1 + rand.N(3))
		c.kill()
	}
	close(enough)
	messages = <-published
	// What is left is read without hurry, but still with kills.
	for progress := true; progress && !complete(t, file, messages); kills++ {
		c := startChild(t, m, file)
		progress = c.commits(10) > 0
		c.kill()
	}
	r := judge(t, file, messages)
	t.Logf("%d messages, %d kills in %s: %d lost, %d duplicates, %d order breaks among first copies",
		messages, kills, time.Since(began).Round(time.Millisecond), r.lost, r.duplicates, r.breaks)
	if r.lost > 0 || r.breaks > 0 {
		t.Error("lost or out of order")
	}
	if r.duplicates > kills*killWindow {
		t.Errorf("%d duplicates, more than a window for each kill", r.duplicates)
	}
}

// subscribeOnce makes the session, so that the broker queues from the start.
func subscribeOnce(t *testing.T, m *mosquitto) {
	s := quick(t, m.config(), &memory{})
	stop := run(t, s)
	eventually(t, "the session", connected(s))
	stop()
}

// publishPaced publishes 1, 2, ... and returns the last number.
func publishPaced(t *testing.T, c mqtt.Client, atLeast int, enough <-chan struct{}) int {
	const perTick = 10
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; {
		<-tick.C
		var last mqtt.Token
		for range perTick {
			n++
			last = c.Publish("plant/temp", 1, false, strconv.Itoa(n))
		}
		if n < atLeast {
			continue
		}
		select {
		case <-enough:
			if !last.WaitTimeout(patience) || last.Error() != nil {
				t.Errorf("publish: %v", last.Error())
			}
			return n
		default:
		}
	}
}

type childProcess struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string // one for each commit
}

// itself is this test's program once more. Where the tests of another processor
// are run by an emulator (go test -exec), so is their child.
func itself() *exec.Cmd {
	if emulator := os.Getenv("CISTERN_EMULATOR"); emulator != "" {
		return exec.Command(emulator, os.Args[0])
	}
	return exec.Command(os.Args[0])
}

func startChild(t *testing.T, m *mosquitto, file string) *childProcess {
	t.Helper()
	c := &childProcess{t: t, cmd: itself(), lines: make(chan string, 1000)}
	c.cmd.Env = append(os.Environ(), childURL+"=mqtt://"+m.address(), childFile+"="+file)
	c.cmd.Stderr = os.Stderr
	if !testing.Verbose() {
		c.cmd.Stderr = nil
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	t.Cleanup(c.kill)
	return c
}

// commits waits for n commits, or until they stop coming, and counts them. The
// first may take as long as a process takes to start on an emulated processor.
func (c *childProcess) commits(n int) int {
	c.t.Helper()
	wait := patience
	for i := range n {
		select {
		case _, ok := <-c.lines:
			if !ok {
				c.t.Fatal("the child ended by itself")
			}
		case <-time.After(wait): // there is nothing more
			return i
		}
		wait = 2 * time.Second
	}
	return n
}

func (c *childProcess) kill() {
	if c.cmd.ProcessState != nil {
		return
	}
	c.cmd.Process.Kill()
	for range c.lines {
	}
	c.cmd.Wait()
}

type verdict struct{ lost, duplicates, breaks int }

// judge compares the file with what was published: 1..messages.
func judge(t *testing.T, file string, messages int) (v verdict) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	seen := make([]bool, messages+1)
	latest := 0
	for line := range bytes.Lines(b) {
		n, err := strconv.Atoi(string(bytes.TrimSuffix(line, []byte("\n"))))
		switch {
		case err != nil || n < 1 || n > messages:
			t.Fatalf("invented record %q", line)
		case seen[n]:
			v.duplicates++
		default:
			seen[n] = true
			if n < latest {
				v.breaks++
			}
			latest = max(latest, n)
		}
	}
	for _, ok := range seen[1:] {
		if !ok {
			v.lost++
		}
	}
	return v
}

func complete(t *testing.T, file string, messages int) bool {
	return judge(t, file, messages).lost == 0
}
