//go:build targets

package build

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Every gateway we support, static and stripped.
func TestTargets(t *testing.T) {
	for _, target := range []struct {
		name  string
		env   string
		bytes int64
	}{
		{"Raspberry Pi Zero and 1", "GOARCH=arm GOARM=6", ARMBytesMax},
		{"Raspberry Pi 2 and 3, 32 bits", "GOARCH=arm GOARM=7", ARMBytesMax},
		{"Raspberry Pi 3 to 5, 64 bits", "GOARCH=arm64", 0},
		{"industrial PC", "GOARCH=amd64", 0},
		{"old industrial PC", "GOARCH=386", 0},
	} {
		t.Run(strings.ReplaceAll(target.env, " ", ","), func(t *testing.T) {
			binary := filepath.Join(t.TempDir(), "cistern")
			build := exec.Command("go", append(append([]string{"build"}, Flags()...), "-ldflags=-s -w", "-o", binary, Agent)...)
			build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
			build.Env = append(build.Env, strings.Fields(target.env)...)
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", target.name, err, out)
			}
			info, err := os.Stat(binary)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%-30s %5.1f MB", target.name, float64(info.Size())/1e6)
			if target.bytes > 0 && info.Size() > target.bytes {
				t.Errorf("%s: %d bytes, at most %d are promised", target.name, info.Size(), target.bytes)
			}
		})
	}
}
