//go:build unix

package secret

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestGive(t *testing.T) {
	folder := t.TempDir()
	made, like := filepath.Join(folder, "made"), filepath.Join(folder, "like")
	if err := os.WriteFile(made, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Give(made, like); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		return // there is nothing to give, and that is no error
	}
	owner := func() (uint32, uint32) {
		info, err := os.Stat(made)
		if err != nil {
			t.Fatal(err)
		}
		s := info.Sys().(*syscall.Stat_t)
		return s.Uid, s.Gid
	}
	give := func(wantUID, wantGID uint32) {
		t.Helper()
		if err := Give(made, like); err != nil {
			t.Fatal(err)
		}
		if uid, gid := owner(); uid != wantUID || gid != wantGID {
			t.Errorf("it belongs to %d:%d, want %d:%d", uid, gid, wantUID, wantGID)
		}
	}
	if err := os.Chown(folder, 1234, 1235); err != nil {
		t.Fatal(err)
	}
	give(1234, 1235) // the folder's
	if err := os.WriteFile(like, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(made, 0, 0); err != nil { // as if it were made now
		t.Fatal(err)
	}
	give(0, 0) // what was there before counts more
	if err := Give(filepath.Join(folder, "nothing"), like); err == nil {
		t.Error("a file that is not there was given away")
	}
}

// The folder is another's, who may put something else in the place of what root made
// there: nothing but that is given away.
func TestGiveOnlyWhatWasMade(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives anything away")
	}
	folder, other := t.TempDir(), filepath.Join(t.TempDir(), "shadow")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(folder, 1234, 1235); err != nil {
		t.Fatal(err)
	}
	for name, put := range map[string]func(string, string) error{"link": os.Link, "symlink": os.Symlink} {
		made := filepath.Join(folder, name)
		if err := put(other, made); err != nil {
			t.Fatal(err)
		}
		if err := Give(made, filepath.Join(folder, "nothing")); err == nil {
			t.Errorf("a %s was given away", name)
		}
		info, err := os.Stat(other)
		if err != nil {
			t.Fatal(err)
		}
		if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 0 {
			t.Errorf("by a %s %s belongs to %d now", name, other, uid)
		}
	}
}
