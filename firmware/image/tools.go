package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// packages tells which Debian package brings a program.
var packages = map[string]string{
	"mformat": "mtools", "mcopy": "mtools", "mmd": "mtools",
	"mke2fs": "e2fsprogs", "git": "git", "apt-get": "apt", "dpkg-deb": "dpkg",
}

// ErrNoTool is found in the error of who needs a program that is not there.
var ErrNoTool = errors.New("a program is missing")

// need finds a program, also where a user's PATH does not look.
func need(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode()&0o111 != 0 {
			return filepath.Join(dir, name), nil
		}
	}
	if p := packages[name]; p != "" {
		return "", fmt.Errorf("%w: %s; install it: apt-get install %s", ErrNoTool, name, p)
	}
	return "", fmt.Errorf("%w: %s", ErrNoTool, name)
}

// call is a program to be run.
type call struct {
	dir   string
	env   []string
	stdin []byte
}

// run runs a program and gives what it printed; what it complained about is in
// the error.
func (c call) run(ctx context.Context, name string, args ...string) ([]byte, error) {
	path, err := need(name)
	if err != nil {
		return nil, err
	}
	var out, complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env = c.dir, append(os.Environ(), c.env...)
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if c.stdin != nil {
		cmd.Stdin = bytes.NewReader(c.stdin)
	}
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(complaints.String())
		if said == "" {
			said = strings.TrimSpace(out.String())
		}
		return out.Bytes(), fmt.Errorf("%s: %w: %s", name, err, said)
	}
	return out.Bytes(), nil
}

// sameEverywhere is what makes the tools write the same bytes on every machine.
func sameEverywhere(seconds int64) []string {
	return []string{
		"TZ=UTC", "LC_ALL=C.UTF-8", "MTOOLSRC=/dev/null", "MTOOLS_SKIP_CHECK=1",
		fmt.Sprintf("SOURCE_DATE_EPOCH=%d", seconds),
		fmt.Sprintf("E2FSPROGS_FAKE_TIME=%d", seconds),
		"MKE2FS_CONFIG=/dev/null",
	}
}
