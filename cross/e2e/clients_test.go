//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// program finds a program that others wrote, or skips.
func program(t *testing.T, name, debian string) string {
	t.Helper()
	for _, at := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(at); err == nil {
			return path
		}
	}
	t.Skipf("needs %s (Debian package %s)", name, debian)
	return ""
}

// What stands in the README: mosquitto_pub in, kcat out.
func TestMosquittoPubToKcat(t *testing.T) {
	pub, kcat := program(t, "mosquitto_pub", "mosquitto-clients"), program(t, "kcat", "kcat")
	s := startSite(t, "", "")
	host, port, err := net.SplitHostPort(s.Gateway.Address)
	must(t, err)

	const messages = 200
	var input bytes.Buffer
	for i := range messages {
		fmt.Fprintf(&input, "{\"c\":%d}\n", i)
	}
	for _, version := range []string{"mqttv311", "mqttv5"} {
		in := exec.CommandContext(within(t, 30*time.Second), pub,
			"-h", host, "-p", port, "-V", version, "-q", "1", "-t", "plant/line3/"+version, "-l")
		in.Stdin = bytes.NewReader(input.Bytes())
		if out, err := in.CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_pub: %v\n%s", err, out)
		}
	}
	must(t, s.Gateway.AwaitDrained(within(t, 30*time.Second), nil))

	out, err := exec.CommandContext(within(t, 30*time.Second), kcat, "-C", "-q", "-e",
		"-b", s.Uplink.Address(), "-t", stream, "-f", `%k %s\n`).CombinedOutput()
	if err != nil {
		t.Fatalf("kcat: %v\n%s", err, out)
	}
	for _, version := range []string{"mqttv311", "mqttv5"} {
		var want strings.Builder
		for i := range messages {
			fmt.Fprintf(&want, "plant/line3/%s {\"c\":%d}\n", version, i)
		}
		if got := grep(string(out), "plant/line3/"+version+" "); got != want.String() {
			t.Errorf("kcat read of %s:\n%.400s", version, got)
		}
	}
}

// grep returns the lines that begin with prefix.
func grep(text, prefix string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}
