// Package leaktest tells when the tests of a package left a goroutine behind that
// runs our code, or that of the MQTT client we use.
package leaktest

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// patience is how long goroutines get to end, on a machine that has other things to
// do. Nobody waits for it where none is left.
const patience = 30 * time.Second

// Main is a TestMain that fails when a goroutine is left.
func Main(m *testing.M) {
	code := m.Run()
	if left := leftover(); code == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "goroutines were left behind:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

// leftover returns the stacks of those that are left.
func leftover() string {
	var left []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		buf := make([]byte, 4<<20)
		left = left[:0]
		for _, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			ours := strings.Contains(stack, "cistern/") || strings.Contains(stack, "paho.mqtt.golang.")
			if ours && !strings.Contains(stack, "TestMain") && !strings.Contains(stack, "leaktest.Main") {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return ""
		}
	}
	return strings.Join(left, "\n\n")
}
