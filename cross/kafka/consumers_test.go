//go:build kafka

package kafka

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"cistern/cross/central"
	"cistern/cross/rig"
	"cistern/gossip/metadata"
)

// program finds a program that others wrote. Here it has to be there.
func program(t *testing.T, name, debian string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("needs %s: apt-get install %s", name, debian)
	}
	return path
}

// startGateway starts the real agent with a broker as its centre.
func startGateway(t *testing.T, b *Broker, more string) *rig.Gateway {
	t.Helper()
	dir := t.TempDir()
	g, err := rig.NewGateway(programs.Cistern, dir, filepath.Join(dir, "data"), b.Addr(), more)
	must(t, err)
	must(t, g.Start(within(t, patience)))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the gateway's last words:\n%s", g.Process().Output())
		}
		g.Kill()
	})
	return g
}

// What devices sent is what plain consumers read: keys, values and headers.
func TestPlainConsumers(t *testing.T) {
	pub, kcat := program(t, "mosquitto_pub", "mosquitto-clients"), program(t, "kcat", "kcat")
	g := startGateway(t, shared, "")
	host, port, err := net.SplitHostPort(g.Address)
	must(t, err)
	const messages = 200
	var input, want []string
	for i := range messages {
		input = append(input, fmt.Sprintf(`{"celsius":%d,"place":"Kühlhaus"}`, i))
		want = append(want, "plant/line3/kiln|"+input[i]+"|unit=celsius,line=3,cistern.site=default")
	}
	in := exec.CommandContext(within(t, patience), pub, "-h", host, "-p", port, "-V", "mqttv5", "-q", "1",
		"-t", "plant/line3/kiln", "-l", "-D", "publish", "user-property", "unit", "celsius", "-D", "publish", "user-property", "line", "3")
	in.Stdin = strings.NewReader(strings.Join(input, "\n") + "\n")
	if out, err := in.CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub: %v\n%s", err, out)
	}
	must(t, g.AwaitDrained(within(t, patience), nil))

	t.Run("kcat", func(t *testing.T) {
		out, err := exec.CommandContext(within(t, patience), kcat, "-C", "-q", "-o", "beginning", "-e", "-b", shared.Addr(),
			"-t", metadata.DefaultStream, "-X", "check.crcs=true", "-f", `%k|%s|%h\n`).Output()
		must(t, err)
		compare(t, string(out), want)
	})
	t.Run("the Java console consumer", func(t *testing.T) {
		out, err := libs.Tool(within(t, patience), "org.apache.kafka.tools.consumer.ConsoleConsumer",
			"--bootstrap-server", shared.Addr(), "--topic", metadata.DefaultStream, "--from-beginning",
			"--max-messages", fmt.Sprint(messages), "--consumer-property", "check.crcs=true", "--property", "print.key=true",
			"--property", "print.headers=true", "--property", "key.separator=|", "--property", "headers.separator=,").Output()
		must(t, err)
		var turned []string // its order: headers, key, value
		for line := range strings.Lines(string(out)) {
			if f := strings.SplitN(strings.TrimSuffix(line, "\n"), "|", 3); len(f) == 3 {
				turned = append(turned, f[1]+"|"+f[2]+"|"+strings.ReplaceAll(f[0], ":", "="))
			}
		}
		compare(t, strings.Join(turned, "\n"), want)
	})
}

func compare(t *testing.T, out string, want []string) {
	t.Helper()
	got := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	for i := range got {
		got[i], _, _ = strings.Cut(got[i], ",cistern.clock=") // last, and there only where nobody sets the clock
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d lines were read for %d messages; the first is %q, want %q", len(got), len(want), got[0], want[0])
	}
}

// kill -9 of the broker and of the gateway while a backlog drains, again and
// again.
func TestKilledWhileDraining(t *testing.T) {
	for mode, kills := range map[string]string{"sequence": "bgbgb", "transaction": "gbg"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b := startBroker(t, nil)
			g := startGateway(t, b, fmt.Sprintf("mode = %q\n", mode)) // of [uplink.kafka], which was last
			l := rig.NewLedger()
			ctx := within(t, 5*time.Minute) // with three starts of a broker, some seconds each where nothing else runs
			fleet := rig.StartFleet(ctx, g.Address, l, 4, 2*time.Millisecond)
			for i, whose := range kills {
				must(t, l.AwaitConfirmed(ctx, 500))
				if i > 0 {
					awaitMore(t, b) // in the midst of draining
				}
				if whose == 'g' {
					g.Kill()
					must(t, g.Start(ctx))
					continue
				}
				b.Kill()
				must(t, l.AwaitConfirmed(ctx, 1000))
				must(t, b.Start(ctx))
			}
			must(t, fleet.Stop())
			must(t, g.AwaitDrained(ctx, nil))
			v, err := l.Judge(func(visit func(string, []byte)) error {
				for _, r := range read(t, b, metadata.DefaultStream, kgo.FetchIsolationLevel(kgo.ReadCommitted())) {
					visit(string(r.Key), r.Value)
				}
				return nil
			})
			must(t, err)
			t.Logf("killed %q: confirmed %d, at the centre %d in %d topics", kills, v.Confirmed, v.Arrived, v.Topics)
			if !v.Good() {
				t.Errorf("lost %d, duplicated %d, out of order %d, invented %d; %s", v.Lost, v.Duplicated, v.Disordered, v.Invented, v.Example)
			}
		})
	}
}

// awaitMore returns when more records have come to the centre than were there.
func awaitMore(t *testing.T, b *Broker) {
	t.Helper()
	reader := central.NewReader(b.Addr())
	count := func() int64 {
		n, err := reader.Count(within(t, patience), metadata.DefaultStream)
		must(t, err)
		return n
	}
	were := count()
	for deadline := time.Now().Add(patience); count() <= were; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no more than %d records arrive", were)
		}
	}
}

// What a gateway carried away in files is what Kafka's own tool for its segments
// reads.
func TestDumpOfAnExport(t *testing.T) {
	pub := program(t, "mosquitto_pub", "mosquitto-clients")
	dir := t.TempDir()
	g, err := rig.NewGateway(programs.Cistern, dir, filepath.Join(dir, "data"), "", "")
	must(t, err)
	must(t, g.Start(within(t, patience)))
	t.Cleanup(g.Kill)
	host, port, err := net.SplitHostPort(g.Address)
	must(t, err)
	const messages = 300
	var input strings.Builder
	for i := range messages {
		fmt.Fprintf(&input, "{\"celsius\":%d}\n", i)
	}
	in := exec.CommandContext(within(t, patience), pub, "-h", host, "-p", port, "-q", "1", "-t", "plant/kiln", "-l")
	in.Stdin = strings.NewReader(input.String())
	if out, err := in.CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub: %v\n%s", err, out)
	}
	must(t, g.Terminate())
	out, err := g.Run("export", "--out", filepath.Join(dir, "carried"))
	must(t, err)
	segments, err := filepath.Glob(filepath.Join(dir, "carried", "*-0", "*.log"))
	must(t, err)
	if len(segments) == 0 {
		t.Fatalf("no segments were exported: %s", out)
	}
	dump, err := libs.Tool(within(t, patience), "kafka.tools.DumpLogSegments", "--print-data-log", "--files", strings.Join(segments, ",")).CombinedOutput()
	if err != nil {
		t.Fatalf("DumpLogSegments: %v\n%s", err, dump)
	}
	var got []string
	for line := range strings.Lines(string(dump)) {
		if _, payload, ok := strings.Cut(line, "payload: "); ok {
			if !strings.Contains(line, " key: plant/kiln ") || !strings.Contains(line, "| offset: "+fmt.Sprint(len(got))+" ") {
				t.Errorf("a record is dumped as %q, want offset %d", line, len(got))
			}
			got = append(got, payload)
		}
		if strings.Contains(line, "isvalid: false") {
			t.Errorf("a batch is called invalid: %s", line)
		}
	}
	if strings.Join(got, "") != input.String() {
		t.Errorf("%d records were dumped of %d:\n%.2000s", len(got), messages, dump)
	}
}
