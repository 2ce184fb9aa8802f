package card

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cistern/firmware/init/cardtest"
	"cistern/firmware/slot"
)

// copied runs CopyConfig on a boot partition with those files.
func copied(t *testing.T, files ...cardtest.File) (got map[string]string, err error) {
	t.Helper()
	to := t.TempDir()
	fat := offset{cardtest.FAT(16<<20, files...), slot.BootStart}
	n, err := CopyConfig(fat, to, os.Getuid(), os.Getgid())
	got = map[string]string{}
	failed := filepath.WalkDir(to, func(path string, e fs.DirEntry, failed error) error {
		if failed != nil || path == to {
			return failed
		}
		info, failed := e.Info()
		if failed != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: mode %v, %v", e.Name(), info.Mode(), failed)
		}
		if e.IsDir() {
			return nil
		}
		text, failed := os.ReadFile(path)
		got[strings.TrimPrefix(path, to+"/")] = string(text)
		return failed
	})
	if failed != nil {
		t.Fatal(failed)
	}
	if n != len(got) {
		t.Errorf("says %d files, copied %d", n, len(got))
	}
	return got, err
}

func TestCopyConfigTakesTheOperatorsFiles(t *testing.T) {
	long := strings.Repeat("k", 3*4096+5)
	got, err := copied(t,
		cardtest.File{Path: "config.txt", Text: "not ours"}, cardtest.File{Path: "cistern/cistern.toml", Text: "[site]\n"},
		cardtest.File{Path: "cistern/site.key", Text: long}, cardtest.File{Path: "cistern/users", Text: ""},
		cardtest.File{Path: "cistern/._users", Text: "a Mac's"})
	if err != nil || len(got) != 3 || got["cistern.toml"] != "[site]\n" || got["site.key"] != long {
		t.Errorf("got %d files, %v", len(got), err)
	}
}

// "tls/ca.pem" in the site's folder is "tls/ca.pem" to the agent, too.
func TestCopyConfigTakesFolders(t *testing.T) {
	got, err := copied(t, cardtest.File{Path: "cistern/cistern.toml", Text: "[site]\n"}, cardtest.File{Path: "cistern/tls/ca.pem", Text: "a certificate"},
		cardtest.File{Path: "cistern/.Trashes/x", Text: "a Mac's"})
	if err != nil || len(got) != 2 || got["tls/ca.pem"] != "a certificate" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestCopyConfigKeepsItsLimits(t *testing.T) {
	large := cardtest.File{Path: "cistern/large", Text: strings.Repeat("x", slot.ConfigBytesMax+1)}
	got, err := copied(t, large, cardtest.File{Path: "cistern/ok", Text: "ok"})
	if err == nil || !strings.Contains(err.Error(), "large") || got["ok"] != "ok" || len(got) != 1 {
		t.Errorf("a large file: %d files, %v", len(got), err)
	}

	third := strings.Repeat("x", slot.ConfigBytesMax/3)
	got, err = copied(t, cardtest.File{Path: "cistern/a", Text: third}, cardtest.File{Path: "cistern/b", Text: third},
		cardtest.File{Path: "cistern/c", Text: third}, cardtest.File{Path: "cistern/d", Text: third})
	if err == nil || !strings.Contains(err.Error(), "all files together") || len(got) != 3 {
		t.Errorf("much in all: %d files, %v", len(got), err)
	}

	var many []cardtest.File
	for i := range slot.ConfigFilesMax + 1 {
		many = append(many, cardtest.File{Path: fmt.Sprintf("cistern/f%d", i), Text: "x"})
	}
	got, err = copied(t, many...)
	if err == nil || !strings.Contains(err.Error(), "more than") || len(got) != slot.ConfigFilesMax {
		t.Errorf("many: %d files, %v", len(got), err)
	}
}

func TestCopyConfigWithoutAny(t *testing.T) {
	if got, err := copied(t, cardtest.File{Path: "config.txt", Text: ""}); err == nil || !strings.Contains(err.Error(), "no folder") || len(got) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := CopyConfig(offset{make([]byte, 1<<20), slot.BootStart}, t.TempDir(), 0, 0); err == nil {
		t.Error("a boot partition that is none was read")
	}
}
