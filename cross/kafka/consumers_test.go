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

// kill -9 of the broker while a gateway drains a backlog to it, again and again.
func TestBrokerKilledWhileDraining(t *testing.T) {
	t.Parallel()
	b := startBroker(t, nil)
	g := startGateway(t, b, "")
	l := rig.NewLedger()
	ctx := within(t, 3*time.Minute)
	fleet := rig.StartFleet(ctx, g.Address, l, 4, time.Millisecond)
	const kills = 5
	for i := range kills {
		must(t, l.AwaitConfirmed(ctx, 1000))
		before := arrived(t, b)
		if i > 0 {
			awaitMore(t, b, before) // in the midst of draining
		}
		b.Kill()
		must(t, l.AwaitConfirmed(ctx, 1000))
		must(t, b.Start(ctx))
	}
	must(t, fleet.Stop())
	must(t, g.AwaitDrained(ctx, nil))
	v, err := l.Judge(func(visit func(string, []byte)) error {
		return central.NewReader(b.Addr()).Each(ctx, metadata.DefaultStream, func(r central.Record) { visit(r.Key, r.Value) })
	})
	must(t, err)
	t.Logf("%d kills: confirmed %d, at the centre %d in %d topics", kills, v.Confirmed, v.Arrived, v.Topics)
	if !v.Good() {
		t.Errorf("lost %d, duplicated %d, out of order %d, invented %d; %s", v.Lost, v.Duplicated, v.Disordered, v.Invented, v.Example)
	}
}

func arrived(t *testing.T, b *Broker) int64 {
	t.Helper()
	n, err := central.NewReader(b.Addr()).Count(within(t, patience), metadata.DefaultStream)
	must(t, err)
	return n
}

// awaitMore returns when more records are at the centre than there were.
func awaitMore(t *testing.T, b *Broker, were int64) {
	t.Helper()
	for deadline := time.Now().Add(patience); arrived(t, b) <= were; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no more than %d records arrive", were)
		}
	}
}
