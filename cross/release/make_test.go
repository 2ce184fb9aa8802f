//go:build targets

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A release for the least of our processors, twice the same, and run as that
// processor would: ARM1176, of the first Raspberry Pi and the Zero, knows no
// instruction of ARMv7.
func TestRelease(t *testing.T) {
	out := t.TempDir()
	if err := run(t.Context(), []string{"-out", out, "-version", "v9.8.7", "-targets", "linux_armv6", "-prove", "linux_armv6"}); err != nil {
		t.Fatal(err)
	}
	sums := exec.Command("sha256sum", "-c", "SHA256SUMS")
	sums.Dir = out
	if said, err := sums.CombinedOutput(); err != nil || strings.Count(string(said), ": OK") != 3 {
		t.Errorf("%v\n%s", err, said)
	}
	binary := filepath.Join(out, "cistern_v9.8.7_linux_armv6")
	text, err := os.ReadFile(binary + ".cdx.json")
	if err != nil {
		t.Fatal(err)
	}
	var bom document
	if err := json.Unmarshal(text, &bom); err != nil || len(bom.Components) < 20 {
		t.Errorf("%d components, %v", len(bom.Components), err)
	}
	emulator, err := exec.LookPath("qemu-arm-static")
	if err != nil {
		t.Skip("qemu-user-static is not installed")
	}
	version := func() ([]byte, error) {
		c := exec.Command(emulator, binary, "version")
		c.Env = append(os.Environ(), "QEMU_CPU=arm1176")
		return c.CombinedOutput()
	}
	said, err := version()
	if err != nil && strings.Contains(string(said), "qemu: uncaught target signal") && !strings.Contains(string(said), "panic:") {
		t.Logf("the emulator itself crashed, as it does now and then: %s", said)
		said, err = version()
	}
	if err != nil || !strings.HasPrefix(string(said), "cistern v9.8.7 (") {
		t.Errorf("%v\n%s", err, said)
	}
}
