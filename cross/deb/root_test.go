//go:build deb

package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// debianPackages are what a machine with systemd needs to start and to have
// packages installed: no more, since the emulated one is slow.
const debianPackages = "base-files base-passwd bash coreutils dash debianutils diffutils dpkg findutils grep gzip hostname " +
	"init-system-helpers libc-bin login mawk mount ncurses-bin perl-base sed systemd-sysv sysvinit-utils tar usr-is-merged util-linux"

// debianRelease is what Raspberry Pi OS is made from.
const debianRelease = "bookworm"

// nobody makes the root: what runs by mistake on this computer instead of in there
// can then do nothing to it.
const nobody = 65534

// debianRoot returns an archive of a Debian for arm64, made once and kept in build.
//
// mmdebstrap's chrootless mode runs the packages' scripts on this computer and
// tells them where the root is: no program of the other architecture has to run, so
// it takes half a minute and needs no binfmt_misc. Essential packages and systemd
// can be installed like that; the test's own package goes the usual way, in
// the running machine.
func debianRoot(t *testing.T) string {
	t.Helper()
	key := sha256.Sum256([]byte(debianRelease + debianPackages))
	kept := filepath.Join("..", "..", "build", fmt.Sprintf("debian-%s-arm64-%.6x.tar", debianRelease, key))
	if _, err := os.Stat(kept); err == nil {
		return kept
	}
	for _, p := range []string{"mmdebstrap", "fakeroot", "setpriv"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Fatalf("%v; apt-get install mmdebstrap fakeroot util-linux", err)
		}
	}
	work, err := os.MkdirTemp("", "cistern-debian-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(work) })
	must(t, os.Chown(work, nobody, nobody))
	made := filepath.Join(work, "root.tar")
	start := time.Now()
	tool(t, "setpriv", fmt.Sprint("--reuid=", nobody), fmt.Sprint("--regid=", nobody), "--clear-groups",
		"env", "HOME="+work, "TMPDIR="+work, "fakeroot",
		"mmdebstrap", "--mode=chrootless", "--arch=arm64", "--variant=custom",
		"--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
		"--aptopt=APT::Install-Recommends false", "--aptopt=Acquire::Retries 5",
		"--include="+strings.ReplaceAll(debianPackages, " ", ","), debianRelease, made)
	t.Logf("a Debian root in %s", time.Since(start).Round(time.Second))
	must(t, os.MkdirAll(filepath.Dir(kept), 0o755))
	must(t, keep(made, kept))
	return kept
}

// keep moves a file, whole or not at all, also to another file system.
func keep(from, to string) error {
	tmp := to + ".new"
	if out, err := exec.Command("cp", "--sparse=auto", from, tmp).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	return os.Rename(tmp, to)
}

// The test's way in: a shell for each connection, which runs what it is sent.
const (
	shellPort   = 2323
	shellReady  = "Test shell"
	shellSocket = `[Unit]
Description=Test shell
[Socket]
ListenStream=2323
Accept=yes
`
	shellService = `[Unit]
CollectMode=inactive-or-failed
[Service]
ExecStart=-/bin/bash --noprofile --norc
StandardInput=socket
StandardOutput=socket
StandardError=socket
Environment=HOME=/root LC_ALL=C.UTF-8
`
)

// debianDisk makes a disk of the root, with the packages in /root and the shell.
func debianDisk(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("only root can unpack a root with its owners: run the test as root")
	}
	dir := t.TempDir()
	root, disk := filepath.Join(dir, "root"), filepath.Join(dir, "disk")
	must(t, os.Mkdir(root, 0o755))
	tool(t, "tar", "-xf", debianRoot(t), "-C", root, "--numeric-owner")
	units := filepath.Join(root, "etc/systemd/system")
	put := func(path, text string) {
		must(t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)))
	}
	put(filepath.Join(units, "test-shell.socket"), shellSocket)
	put(filepath.Join(units, "test-shell@.service"), shellService)
	put(filepath.Join(root, "etc/machine-id"), strings.Repeat("0123456789abcdef", 2)+"\n") // else it asks who it is
	link := func(to, path string) {
		must(t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(to, path)))
	}
	link("../test-shell.socket", filepath.Join(units, "sockets.target.wants/test-shell.socket"))
	for _, unwanted := range []string{"serial-getty@ttyAMA0.service", "getty@tty1.service", "fstrim.timer", "dpkg-db-backup.timer"} {
		link("/dev/null", filepath.Join(units, unwanted))
	}
	for version, name := range map[string]string{older: "older.deb", newer: "newer.deb"} {
		tool(t, "cp", debs[version+" arm64"], filepath.Join(root, "root", name))
	}
	tool(t, "mke2fs", "-q", "-t", "ext4", "-d", root, disk, "600M")
	must(t, os.RemoveAll(root))
	return disk
}
