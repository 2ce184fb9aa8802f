package users

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cistern/bridge/mqtt"
)

func init() { iterations = 10 }

func newFile(t *testing.T, nameAndPassword ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	edit(t, path, func(f *File) error {
		for i := 0; i < len(nameAndPassword); i += 2 {
			if err := f.Set(nameAndPassword[i], nameAndPassword[i+1]); err != nil {
				return err
			}
		}
		return nil
	})
	return path
}

func edit(t *testing.T, path string, change func(*File) error) {
	t.Helper()
	if err := Edit(path, change); err != nil {
		t.Fatal(err)
	}
}

func TestFile(t *testing.T) {
	path := newFile(t, "zoe", "pw1", "adam", "pw2")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	text, _ := os.ReadFile(path)
	if strings.Contains(string(text), "pw1") {
		t.Fatal("the password stands in the file")
	}
	f, err := Open(path)
	if err != nil || !slices.Equal(f.Names(), []string{"adam", "zoe"}) {
		t.Fatalf("%v, %v", f.Names(), err)
	}
	if err := f.Set("zoe", "pw3"); err != nil {
		t.Errorf("change: %v", err)
	}
	if !f.users["zoe"].matches([]byte("pw3")) || f.users["zoe"].matches([]byte("pw1")) {
		t.Error("the new password does not count")
	}
	if err := f.Remove("adam"); err != nil {
		t.Error(err)
	}
	if err := f.Remove("adam"); !errors.Is(err, ErrNoUser) {
		t.Errorf("nobody to remove: %v", err)
	}
	for _, name := range []string{"", "a:b", "a b", "a\nb", "#a", "\xff", strings.Repeat("x", 300)} {
		if err := f.Set(name, "x"); err == nil {
			t.Errorf("the name %q was taken", name)
		}
	}
	for _, password := range []string{"", strings.Repeat("x", 2000)} {
		if err := f.Set("x", password); err == nil {
			t.Errorf("a password of %d bytes was taken", len(password))
		}
	}
	entries, _ := os.ReadDir(filepath.Dir(path))
	if len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestBadFiles(t *testing.T) {
	good, err := newHash("x")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"adam":                          "users:1: expected name:hash",
		"\n# note\nadam:plain":          `users:3: the password of "adam" is not a password hash`,
		"adam:$6$abc$def":               "is not a password hash",
		"adam:$7$0$YQ==$YQ==":           "is not a password hash",
		"adam:$7$99999999999$YQ==$YQ==": "is not a password hash",
		"a:" + good.String() + "\na:" + good.String(): `users:2: "a" is there twice`,
	} {
		path := filepath.Join(t.TempDir(), "users")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func TestVerifier(t *testing.T) {
	path := newFile(t, "adam", "right")
	v, err := NewVerifier(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(user, password string) error {
		return v.Authenticate(t.Context(), user, []byte(password))
	}
	for range 2 { // the second time from memory
		if err := check("adam", "right"); err != nil {
			t.Errorf("right: %v", err)
		}
		for _, wrong := range [][2]string{{"adam", "wrong"}, {"adam", ""}, {"eve", "right"}, {"", ""}} {
			if err := check(wrong[0], wrong[1]); !errors.Is(err, mqtt.ErrBadCredentials) {
				t.Errorf("%q: %v", wrong, err)
			}
		}
	}

	// What is remembered must not need the slow check, and a guesser waits.
	v.slow <- struct{}{}
	if err := check("adam", "right"); err != nil {
		t.Errorf("remembered: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := v.Authenticate(ctx, "adam", []byte("guess")); !errors.Is(err, context.Canceled) || errors.Is(err, mqtt.ErrBadCredentials) {
		t.Errorf("a busy verifier: %v", err)
	}
	<-v.slow
}

func TestVerifierSeesChanges(t *testing.T) {
	path := newFile(t, "adam", "old", "eve", "pw")
	v, err := NewVerifier(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Authenticate(t.Context(), "adam", []byte("old")); err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(f *File) error {
		return errors.Join(f.Set("adam", "new"), f.Remove("eve"))
	})
	later := time.Now().Add(time.Minute) // for file systems with coarse times
	if err := os.Chtimes(path, later, later); err != nil {
		t.Fatal(err)
	}
	v.checked = time.Time{} // it is time to look again
	for user, password := range map[string]string{"adam": "old", "eve": "pw"} {
		if err := v.Authenticate(t.Context(), user, []byte(password)); !errors.Is(err, mqtt.ErrBadCredentials) {
			t.Errorf("%s with %s: %v", user, password, err)
		}
	}
	if err := v.Authenticate(t.Context(), "adam", []byte("new")); err != nil {
		t.Errorf("new password: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	v.checked = time.Time{}
	if err := v.Authenticate(t.Context(), "adam", []byte("new")); err == nil || errors.Is(err, mqtt.ErrBadCredentials) {
		t.Errorf("without a file: %v", err)
	}
}

func TestEditorsTakeTurns(t *testing.T) {
	path := newFile(t)
	const editors = 4
	done := make(chan error, editors)
	for i := range editors {
		go func() {
			done <- Edit(path, func(f *File) error { return f.Set(string(rune('a'+i)), "pw") })
		}()
	}
	for range editors {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	f, err := Open(path)
	if err != nil || len(f.Names()) != editors {
		t.Errorf("%v, %v", f.Names(), err)
	}
}

// Files go both ways between here and Mosquitto.
func TestMosquittoPasswd(t *testing.T) {
	tool, err := exec.LookPath("mosquitto_passwd")
	if err != nil {
		t.Skip("mosquitto_passwd is not installed")
	}
	path := filepath.Join(t.TempDir(), "users")
	if out, err := exec.Command(tool, "-b", "-c", path, "adam", "s3cret").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if !f.users["adam"].matches([]byte("s3cret")) || f.users["adam"].matches([]byte("s3cre")) {
		t.Error("Mosquitto's hash is read wrong")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("adam:$7$101$YQ==$YQ==\n#\n")
	f.Fuzz(func(t *testing.T, text string) {
		file := &File{path: "f", users: map[string]hash{}}
		_ = file.parse([]byte(text))
	})
}
