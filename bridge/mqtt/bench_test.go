package mqtt

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cistern/bridge/mqtt/packet"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/ingest"
)

// The load generator runs in a process of its own, so that the CPU time of
// this one is the server's: loadEnv is "address clients inflight messages".
const loadEnv = "CISTERN_MQTT_LOAD"

const loadPayload = 256

func generateLoad() int {
	var addr string
	var clients, inflight, messages int
	if _, err := fmt.Sscan(os.Getenv(loadEnv), &addr, &clients, &inflight, &messages); err != nil {
		fmt.Println(err)
		return 1
	}
	var wg sync.WaitGroup
	failed := make(chan error, clients)
	for i := range clients {
		wg.Go(func() {
			if err := loadClient(addr, i, inflight, messages/clients); err != nil {
				failed <- err
			}
		})
	}
	wg.Wait()
	if len(failed) > 0 {
		fmt.Println(<-failed)
		return 1
	}
	return 0
}

// loadClient publishes messages with so many in flight, and reads as many
// acks. With messages 0 it stays connected until standard input ends.
func loadClient(addr string, i, inflight, messages int) error {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	hello := packet.Connect{Version: packet.V311, CleanStart: true, ClientID: fmt.Appendf(nil, "load-%d", i)}
	if _, err := nc.Write(hello.AppendTo(nil)); err != nil {
		return err
	}
	in := packet.NewReader(nc, 1<<20, nil)
	if _, _, err := in.Next(); err != nil {
		return err
	}
	if messages == 0 {
		fmt.Println("ready")
		os.Stdin.Read(make([]byte, 1))
		return nil
	}
	p := packet.Publish{QoS: 1, Topic: fmt.Appendf(nil, "plant/line%d/temp", i), Payload: make([]byte, loadPayload)}
	var out []byte
	for sent, acked := 0, 0; acked < messages; {
		out = out[:0]
		for sent < messages && sent-acked < inflight {
			p.PacketID = uint16(sent%60000 + 1)
			out = p.AppendTo(out, packet.V311)
			sent++
		}
		if len(out) > 0 {
			if _, err := nc.Write(out); err != nil {
				return err
			}
		}
		for first := true; first || in.Ready(); first = false {
			if _, _, err := in.Next(); err != nil {
				return err
			}
			acked++
		}
	}
	return nil
}

func startLoad(b testing.TB, g *gateway, clients, inflight, messages int) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d %d", loadEnv, g.addr, clients, inflight, messages))
	cmd.Stderr = os.Stderr
	return cmd
}

// ticker is an Appender that commits every interval, or at once.
type ticker struct {
	interval time.Duration
	mu       sync.Mutex
	waiting  []waiting
	spare    []waiting
}

func (t *ticker) Append(_ context.Context, _ metadata.PartitionID, r *batch.Record, c ingest.Completion, seq uint64) error {
	if t.interval == 0 {
		if c.Complete(seq, 0, nil) {
			c.Flush()
		}
		return nil
	}
	t.mu.Lock()
	t.waiting = append(t.waiting, waiting{done: c, seq: seq})
	t.mu.Unlock()
	return nil
}

func (t *ticker) run(done <-chan struct{}) {
	if t.interval == 0 {
		return
	}
	tick := time.NewTicker(t.interval)
	defer tick.Stop()
	var flush []ingest.Completion
	for {
		select {
		case <-tick.C:
		case <-done:
			return
		}
		t.mu.Lock()
		now := t.waiting
		t.waiting, t.spare = t.spare[:0], now
		t.mu.Unlock()
		for _, w := range now {
			if w.done.Complete(w.seq, 0, nil) {
				flush = append(flush, w.done)
			}
		}
		for _, c := range flush {
			c.Flush()
		}
		flush = flush[:0]
	}
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkIngest measures the server alone, with an Appender that does
// nothing, at QoS 1 with 256-byte payloads.
func BenchmarkIngest(b *testing.B) {
	for _, interval := range []time.Duration{0, 20 * time.Millisecond} {
		for _, load := range [][2]int{{1, 32}, {16, 32}, {128, 32}} {
			if interval > 0 && load[0] == 1 {
				continue // the commit's time is all it would measure
			}
			b.Run(fmt.Sprintf("commit=%s/clients=%d/inflight=%d", interval, load[0], load[1]), func(b *testing.B) {
				app := &ticker{interval: interval}
				g := start(b, func(c *Config) { c.Appender = app; c.Site = "bench" })
				done := make(chan struct{})
				defer close(done)
				go app.run(done)
				messages := max(b.N/load[0], 1) * load[0]
				cmd := startLoad(b, g, load[0], load[1], messages)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				cpu := cpuTime()
				b.ResetTimer()
				if out, err := cmd.Output(); err != nil {
					b.Fatalf("%v: %s", err, out)
				}
				b.StopTimer()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(messages), "cpu-µs/msg")
				b.ReportMetric(float64(messages)/b.Elapsed().Seconds(), "msg/s")
				b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(messages), "allocs/msg")
			})
		}
	}
}

// BenchmarkIdleConnections measures memory per connection that does nothing.
func BenchmarkIdleConnections(b *testing.B) {
	const clients = 2000
	for range b.N {
		g := start(b, func(c *Config) { c.Limits.ConnectBurst = clients * 2 })
		settle()
		before := rss(b)
		cmd := startLoad(b, g, clients, 0, 0)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		ready := bufio.NewScanner(out)
		for range clients {
			ready.Scan()
		}
		settle()
		b.ReportMetric(float64(rss(b)-before)/clients/1024, "KiB/conn")
		b.ReportMetric(float64(g.Connections()), "conns")
		stdin.Close()
		cmd.Wait()
		g.stop()
	}
}

func settle() {
	time.Sleep(1500 * time.Millisecond) // buffers shrink after a second
	debug.FreeOSMemory()
	debug.FreeOSMemory()
}

func rss(b testing.TB) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("no /proc/self/status on this system")
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	n, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		b.Fatal(err)
	}
	return n * 1024
}
