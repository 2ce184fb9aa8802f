package image

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"

	"github.com/klauspost/compress/zstd"

	"cistern/firmware/slot"
)

// Where things are in the initramfs; init looks for them there.
const (
	releasePath = "etc/cistern/" + slot.ReleaseFile
	publicPath  = "etc/cistern/" + slot.PublicFile
	rootsPath   = "etc/ssl/certs/ca-certificates.crt"
)

// mountPoints are folders that init mounts something on, and their parents.
var mountPoints = []string{"bin", "boot", "data", "dev", "etc", "etc/cistern", "etc/ssl", "etc/ssl/certs", "proc", "run", "sbin", "sys", "tmp"}

// system is what the initramfs is made of.
type system struct {
	init, agent, fsck, roots []byte
	public                   ed25519.PublicKey // nil: takes no updates
}

// nodes lists the initramfs without release.json, which is made from them.
func (s system) nodes() []Node {
	var out []Node
	for _, d := range mountPoints {
		mode := fs.FileMode(0o755)
		if d == "tmp" {
			mode = 0o700 // of nobody but root: there is nobody else
		}
		out = append(out, Node{Path: d, Mode: fs.ModeDir | mode})
	}
	out = append(out,
		// Without these two Go's runtime ends at once: the kernel opens the
		// first for the init, which has no standard files otherwise.
		Node{Path: "dev/console", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, Major: 5, Minor: 1},
		Node{Path: "dev/null", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, Major: 1, Minor: 3},
		Node{Path: "init", Mode: 0o755, Content: s.init},
		Node{Path: "bin/cistern", Mode: 0o755, Content: s.agent},
		Node{Path: "sbin/e2fsck", Mode: 0o755, Content: s.fsck},
		Node{Path: rootsPath, Mode: 0o644, Content: s.roots},
	)
	if s.public != nil {
		out = append(out, Node{Path: publicPath, Mode: 0o644, Content: []byte(slot.EncodePublic(s.public))})
	}
	return out
}

// buildID tells systems apart by what is in them.
func buildID(nodes []Node, slotFiles files) string {
	h := sha256.New()
	for _, n := range nodes {
		fmt.Fprintf(h, "%s %o %d %d %x\n", n.Path, n.Mode, n.Major, n.Minor, sha256.Sum256(n.Content))
	}
	for _, p := range slotFiles.paths() {
		fmt.Fprintf(h, "%s %x\n", p, sha256.Sum256(slotFiles[p]))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// pack makes the initramfs. Its window is what the kernel unpacks with the
// memory of the smallest board.
func pack(nodes []Node, seconds int64) ([]byte, error) {
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8<<20),
		zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		return nil, err
	}
	if err := WriteCPIO(z, nodes, seconds); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func releaseJSON(r slot.Release) ([]byte, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(r, "", "  ")
	return append(b, '\n'), err
}

// hostRoots is where Debian keeps the certificates that everybody trusts.
const hostRoots = "/etc/ssl/certs/ca-certificates.crt"

func readRoots() ([]byte, error) {
	b, err := os.ReadFile(hostRoots)
	if err != nil {
		return nil, fmt.Errorf("the certificates that the gateway shall trust: %w; install them: apt-get install ca-certificates", err)
	}
	return b, nil
}
