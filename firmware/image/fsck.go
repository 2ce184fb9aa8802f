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

// Fsck is e2fsck for the board, and the file with its terms.
type Fsck struct{ Program, Terms string }

// FindFsck gives e2fsck for the board. It is kept in cache; the first time, apt
// downloads its package there, without touching what is installed here.
func FindFsck(ctx context.Context, cache string) (Fsck, error) {
	dir, err := filepath.Abs(filepath.Join(cache, "e2fsck-arm64"))
	if err != nil {
		return Fsck{}, err
	}
	f := Fsck{Program: filepath.Join(dir, "e2fsck.static"), Terms: filepath.Join(dir, "copyright")}
	if f.check() == nil {
		return f, nil
	}
	if err := f.download(ctx, dir); err != nil {
		return Fsck{}, fmt.Errorf("e2fsck for the board: %w; or put a static one for arm64 there by hand: %s, and its terms: %s", err, f.Program, f.Terms)
	}
	return f, f.check()
}

func (f Fsck) download(ctx context.Context, dir string) error {
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
		"-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=5", "-q",
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
	// The program last: it is looked for together with its terms, and of two builds at
	// once the other may look between.
	return errors.Join(
		os.Rename(filepath.Join(unpacked, "usr/share/doc/e2fsck-static/copyright"), f.Terms),
		os.Rename(filepath.Join(unpacked, "sbin", "e2fsck.static"), f.Program))
}

// check holds that both are there, and the program one for the board.
func (f Fsck) check() error {
	if st, err := os.Stat(f.Terms); err != nil || st.Size() == 0 {
		return errors.Join(fmt.Errorf("e2fsck: %s has no terms", f.Terms), err)
	}
	return checkFsck(f.Program)
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
