package build

import (
	"strings"
	"testing"
)

// hot is what every record passes, or every byte of it: compiled without
// inlining it would cost what the gateway has least of.
var hot = []string{
	"bytes", "sync", "time", "runtime", "hash/crc32", "internal/poll", "crypto/aes",
	"crypto/internal/fips140/aes/gcm",
	"github.com/klauspost/compress/zstd",
	"github.com/twmb/franz-go/pkg/kmsg",
	module + "/bridge/mqtt", module + "/bridge/mqtt/packet",
	module + "/bridge/drain", module + "/bridge/drain/kafkasink", module + "/bridge/kafka", module + "/bridge/peer",
	module + "/gossip/metadata", module + "/gossip/port",
	module + "/segstore", module + "/segstore/batch", module + "/segstore/forward", module + "/segstore/ingest",
	module + "/segstore/replica", module + "/segstore/segment",
}

// uninlined returns the patterns of packages that are compiled without inlining.
func uninlined(t *testing.T) []string {
	var patterns []string
	for _, f := range Flags() {
		if rest, ok := strings.CutPrefix(f, "-gcflags="); ok {
			pattern, flag, _ := strings.Cut(rest, "=")
			if flag != "-l" {
				t.Errorf("%s: only -l is expected", f)
			}
			patterns = append(patterns, pattern)
		}
	}
	if len(patterns) == 0 {
		t.Fatal("no pattern in agent.flags")
	}
	return patterns
}

// match is the go command's rule for patterns that are import paths, as far
// as agent.flags needs it.
func match(pattern, path string) bool {
	prefix, tree := strings.CutSuffix(pattern, "/...")
	return path == prefix || tree && strings.HasPrefix(path, prefix+"/")
}

// A pattern that names nothing any more is a library that went, or was renamed
// and has grown again.
func TestFlagsNameWhatIsLinked(t *testing.T) {
	packages := list(t, append([]string{"-deps"}, append(goListFlags(), Agent)...)...)
	for _, pattern := range uninlined(t) {
		found := false
		for _, p := range packages {
			found = found || match(pattern, p.ImportPath)
		}
		if !found {
			t.Errorf("agent.flags: the agent links nothing that is called %s", pattern)
		}
	}
}

func TestFlagsLeaveWhatIsHot(t *testing.T) {
	for _, pattern := range uninlined(t) {
		for _, path := range hot {
			if match(pattern, path) {
				t.Errorf("agent.flags: %s takes in %s, which every record passes", pattern, path)
			}
		}
	}
}

// goListFlags are those of Flags that choose files.
func goListFlags() []string {
	var flags []string
	for _, f := range Flags() {
		if strings.HasPrefix(f, "-tags=") {
			flags = append(flags, f)
		}
	}
	return flags
}
