package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"
)

// Whatever a double does when it misbehaves, when it does not it must behave
// like the real file system.
func TestAllFileSystemsBehaveAlike(t *testing.T) {
	systems := map[string]func(t *testing.T) (FS, string){
		"OS":       func(t *testing.T) (FS, string) { return OS, t.TempDir() },
		"PowerCut": func(t *testing.T) (FS, string) { return NewPowerCut(), "." },
		"PowerCut after a crash": func(t *testing.T) (FS, string) {
			return NewPowerCut().Crash(1, Tear{}), "/"
		},
		"Faulty without rules": func(t *testing.T) (FS, string) { return NewFaulty(NewPowerCut()), "." },
		"SlowCard without delays": func(t *testing.T) (FS, string) {
			return &SlowCard{FS: NewPowerCut()}, "."
		},
	}
	for name, make := range systems {
		t.Run(name, func(t *testing.T) {
			system, root := make(t)
			testNames(t, system, root)
			testContent(t, system, root)
			testLock(t, system, root)
		})
	}
}

func testNames(t *testing.T, system FS, root string) {
	dir := filepath.Join(root, "a", "b")
	at := func(name string) string { return filepath.Join(dir, name) }
	_, err := system.Create(at("x"))
	wantErr(t, "create in a missing folder", err, fs.ErrNotExist)
	_, err = system.Open(at("x"))
	wantErr(t, "open a missing file", err, fs.ErrNotExist)
	_, err = system.List(dir)
	wantErr(t, "list a missing folder", err, fs.ErrNotExist)
	wantErr(t, "mkdir", system.MkdirAll(dir), nil)
	wantErr(t, "mkdir again", system.MkdirAll(dir), nil)
	for _, name := range []string{"z", "x", "y"} {
		writeFile(t, system, at(name), name)
	}
	_, err = system.Create(at("x"))
	wantErr(t, "create what exists", err, fs.ErrExist)
	wantErr(t, "rename over another", system.Rename(at("z"), at("y")), nil)
	wantErr(t, "rename what is missing", system.Rename(at("z"), at("w")), fs.ErrNotExist)
	wantErr(t, "remove", system.Remove(at("x")), nil)
	wantErr(t, "remove again", system.Remove(at("x")), fs.ErrNotExist)
	if got := readFile(t, system, at("y")); got != "z" {
		t.Errorf("after the rename y holds %q", got)
	}
	writeFile(t, system, at("v"), "v")
	names, err := system.List(dir)
	if err != nil || !slices.Equal(names, []string{"v", "y"}) {
		t.Errorf("list: %q, %v", names, err)
	}
	wantErr(t, "sync folder", system.SyncDir(dir), nil)
	if u, err := system.Usage(dir); err != nil || u.Available <= 0 || u.Available > u.Total {
		t.Errorf("usage: %+v, %v", u, err)
	}
}

func testContent(t *testing.T, system FS, root string) {
	name := filepath.Join(root, "content")
	f, err := system.Create(name)
	wantErr(t, "create", err, nil)
	want := make([]byte, 3*PageSize)
	for i, w := range []struct{ off, n int }{{100, 50}, {PageSize - 3, 9}, {0, PageSize}, {2*PageSize + 1, 700}} {
		b := bytes.Repeat([]byte{byte('a' + i)}, w.n)
		copy(want[w.off:], b)
		n, err := f.WriteAt(b, int64(w.off))
		if n != w.n || err != nil {
			t.Errorf("write %d: %d, %v", i, n, err)
		}
	}
	want = want[:2*PageSize+701]
	wantErr(t, "sync", f.Sync(), nil)
	wantErr(t, "drop cache", f.DropCache(), nil)
	if size, err := f.Size(); size != int64(len(want)) || err != nil {
		t.Errorf("size is %d, %v", size, err)
	}
	if got := readFile(t, system, name); got != string(want) {
		t.Errorf("the content differs")
	}
	b := make([]byte, 100)
	if n, err := f.ReadAt(b, int64(len(want))-40); n != 40 || err != io.EOF {
		t.Errorf("read over the end: %d, %v", n, err)
	}
	if n, err := f.ReadAt(b, PageSize*9); n != 0 || err != io.EOF {
		t.Errorf("read behind the end: %d, %v", n, err)
	}
	wantErr(t, "close", f.Close(), nil)
	_, err = f.WriteAt(b, 0)
	wantErr(t, "write after close", err, fs.ErrClosed)

	r, err := system.OpenRead(name)
	wantErr(t, "open for reading", err, nil)
	if _, err := r.WriteAt(b, 0); err == nil {
		t.Error("a file opened for reading was written")
	}
	wantErr(t, "close", r.Close(), nil)
}

func testLock(t *testing.T, system FS, root string) {
	name := filepath.Join(root, "lock")
	l, err := system.Lock(name)
	wantErr(t, "lock", err, nil)
	_, err = system.Lock(name)
	wantErr(t, "lock again", err, ErrLocked)
	wantErr(t, "unlock", l.Close(), nil)
	l, err = system.Lock(name)
	wantErr(t, "lock what was unlocked", err, nil)
	wantErr(t, "unlock", l.Close(), nil)
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// writeFile makes a file, or writes over its beginning. It syncs nothing.
func writeFile(t *testing.T, system FS, name, content string) {
	t.Helper()
	f, err := system.Create(name)
	if errors.Is(err, fs.ErrExist) {
		f, err = system.Open(name)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(content), 0); err != nil {
		t.Fatal(err)
	}
}

func syncFile(t *testing.T, system FS, name string) {
	t.Helper()
	f, err := system.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// readFile returns a file's content, or "missing".
func readFile(t *testing.T, system FS, name string) string {
	t.Helper()
	f, err := system.OpenRead(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "missing"
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); n != len(b) || err != nil && err != io.EOF {
		t.Fatalf("read %d of %d bytes: %v", n, len(b), err)
	}
	return string(b)
}
