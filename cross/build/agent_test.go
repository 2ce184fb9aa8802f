package build

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write agent-modules.txt anew")

// forbidden never reach a gateway: doubles and clients that only tests need,
// and libraries whose weight buys nothing there.
var forbidden = []string{
	"cistern/cross",
	"github.com/twmb/franz-go/pkg/kfake",
	"github.com/twmb/franz-go/pkg/kgo",
	"github.com/twmb/franz-go/pkg/kadm",
	"github.com/nats-io",
	"github.com/mochi-mqtt",
	"github.com/spf13/viper",
	"github.com/prometheus",
	"go.uber.org/zap",
	"google.golang.org/grpc",
	"google.golang.org/protobuf",
}

func TestAgentCarriesNothingHeavy(t *testing.T) {
	for _, p := range list(t, "-deps", Agent) {
		for _, f := range forbidden {
			if p.ImportPath == f || strings.HasPrefix(p.ImportPath, f+"/") {
				t.Errorf("the agent links %s", p.ImportPath)
			}
		}
		// hashicorp/raft brings it, and registers nothing by it.
		if strings.HasPrefix(p.ImportPath, module+"/") && slices.Contains(p.Imports, "testing") {
			t.Errorf("%s imports testing", p.ImportPath)
		}
		if !p.Standard && len(p.CgoFiles) > 0 {
			t.Errorf("the agent links %s, which uses cgo: %v", p.ImportPath, p.CgoFiles)
		}
	}
}

// The list of modules in the agent is kept in a file, so that a new one is
// seen in review and not in the size of the binary a year later.
func TestAgentModules(t *testing.T) {
	const name = "agent-modules.txt"
	var modules []string
	for _, p := range list(t, "-deps", Agent) {
		if p.Module != nil && p.Module.Path != module && !slices.Contains(modules, p.Module.Path) {
			modules = append(modules, p.Module.Path)
		}
	}
	slices.Sort(modules)
	got := strings.Join(modules, "\n") + "\n"
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the agent links other modules than %s says; if that is wanted: go test ./cross/build -update\ngot:\n%swant:\n%s", name, got, want)
	}
}
