package image

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// fsckPackage is Debian's e2fsck for 64-bit boards, linked statically.
const fsckPackage = "e2fsck-static:arm64"

// FindFsck gives e2fsck for the board. It is kept in cache; the first time, apt
// downloads its package there, without touching what is installed here.
func FindFsck(ctx context.Context, cache string) (string, error) {
	dir, err := filepath.Abs(filepath.Join(cache, "e2fsck-arm64"))
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "e2fsck.static")
	if checkFsck(path) == nil {
		return path, nil
	}
	if err := downloadFsck(ctx, dir, path); err != nil {
		return "", fmt.Errorf("e2fsck for the board: %w; or put a static one for arm64 there by hand: %s", err, path)
	}
	return path, checkFsck(path)
}

func downloadFsck(ctx context.Context, dir, path string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// Of its own: two builds may find at the same time that it is not there.
	work, err := os.MkdirTemp(dir, "apt-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	for _, d := range []string{"lists/partial", "cache/archives/partial", "unpacked"} {
		if err := os.MkdirAll(filepath.Join(work, d), 0o755); err != nil {
			return err
		}
	}
	out, err := call{}.run(ctx, "dpkg", "--print-architecture")
	if err != nil {
		return err
	}
	options := []string{
		"-o", "APT::Architectures::=" + strings.TrimSpace(string(out)), "-o", "APT::Architectures::=arm64",
		"-o", "Dir::State::lists=" + filepath.Join(work, "lists"), "-o", "Dir::Cache=" + filepath.Join(work, "cache"),
		"-o", "APT::Sandbox::User=root", "-q",
	}
	apt := call{dir: work}
	for _, command := range [][]string{{"update"}, {"download", fsckPackage}} {
		if _, err := apt.run(ctx, "apt-get", append(options, command...)...); err != nil {
			return err
		}
	}
	debs, err := filepath.Glob(filepath.Join(work, "e2fsck-static_*_arm64.deb"))
	if err != nil || len(debs) != 1 {
		return errors.Join(fmt.Errorf("apt-get download left %d packages, not 1", len(debs)), err)
	}
	unpacked := filepath.Join(work, "unpacked")
	if _, err := apt.run(ctx, "dpkg-deb", "-x", debs[0], unpacked); err != nil {
		return err
	}
	return os.Rename(filepath.Join(unpacked, "sbin", "e2fsck.static"), path)
}

// checkFsck holds that a file is a static program for the board.
func checkFsck(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("e2fsck: %w", err)
	}
	defer f.Close()
	if f.Machine != elf.EM_AARCH64 {
		return fmt.Errorf("e2fsck: %s is for %s, not for 64-bit boards", path, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("e2fsck: %s is not linked statically", path)
		}
	}
	return nil
}
