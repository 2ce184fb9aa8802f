//go:build image

package card

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"cistern/cross/build"
	"cistern/cross/rig"
	"cistern/cross/rig/rigtest"
	"cistern/firmware/image"
	"cistern/firmware/slot"
)

const (
	// bootTime is for a boot on a machine that does other things, too: ten seconds are
	// usual, and 150 were seen.
	bootTime = 4 * time.Minute
	drain    = 4 * time.Minute // likewise: of some seconds
)

// world is what all tests share: it takes longest to make.
type world struct {
	dir      string
	shop     *Workshop
	site     *Site
	programs rig.Programs
}

var shared world

func TestMain(m *testing.M) { rigtest.Main(m, prepare, nil) }

func prepare(ctx context.Context, dir string) (err error) {
	shared.dir = dir
	if shared.shop, err = Open(ctx, "v1.0.0", nil); err != nil {
		return err
	}
	if shared.site, err = NewSite(filepath.Join(dir, "site")); err != nil {
		return err
	}
	shared.programs, err = rig.BuildPrograms(ctx, dir)
	return err
}

// qemuImage is the image that most tests begin with, made once.
var qemuImage = sync.OnceValues(func() (string, error) {
	path := filepath.Join(shared.dir, "qemu.img")
	return path, shared.shop.Image(context.Background(), path, slot.BoardQemu, shared.site, Part{})
})

// update makes an update file for the shared site.
func update(t *testing.T, name string, signer *Site, p Part) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	must(t, shared.shop.Update(t.Context(), path, slot.BoardQemu, shared.site, signer, p))
	return path
}

// binaries compiles an agent for the board that is not the one that ships; its
// init is.
func binaries(t *testing.T, args ...string) image.Binaries {
	t.Helper()
	dir := t.TempDir()
	b := image.Binaries{Agent: filepath.Join(dir, "cistern"), Init: filepath.Join(dir, "init")}
	compile(t, b.Init, "./firmware/init")
	compile(t, b.Agent, args...)
	return b
}

func compile(t *testing.T, out string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", slices.Concat([]string{"build", "-buildvcs=false"}, build.Flags(), []string{"-o", out}, args)...)
	cmd.Dir = shared.shop.Source.Root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, text)
	}
}

// overlay is a file for `go build -overlay` that exchanges one source file.
func overlay(t *testing.T, file, text string) string {
	t.Helper()
	dir := t.TempDir()
	other, list := filepath.Join(dir, "other.go"), filepath.Join(dir, "overlay.json")
	must(t, os.WriteFile(other, []byte(text), 0o600))
	b, err := json.Marshal(map[string]map[string]string{"Replace": {file: other}})
	must(t, err)
	must(t, os.WriteFile(list, b, 0o600))
	return list
}

// insert makes a gateway of the shared image, or of o.Image.
func insert(t *testing.T, o Options) *Gateway {
	t.Helper()
	if o.Image == "" {
		var err error
		o.Image, err = qemuImage()
		must(t, err)
	}
	o.Site = shared.site
	g, err := Insert(t.Context(), o)
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() && g.VM() != nil {
			t.Log(g.VM().Tail())
		}
		g.Close()
	})
	return g
}

// boot switches a gateway on and waits for its agent.
func boot(t *testing.T, g *Gateway) {
	t.Helper()
	start := time.Now()
	b, err := g.On(t.Context())
	must(t, err)
	must(t, g.Ready(within(t, bootTime)))
	t.Logf("%v answers after %.1f s", b, time.Since(start).Seconds())
}

var must, within = rigtest.Must, rigtest.Within
