package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

const withUsers = "[gateway]\ndata = 'd'\n[mqtt]\n\npassword_file = 'users'\n[[mqtt.listener]]\naddress = '0.0.0.0:1883'\n"

func TestLoadResolvesPaths(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "c.toml")
	write(t, file, withUsers, 0o644)
	write(t, filepath.Join(dir, "users"), "", 0o600)
	c, err := Load(file, "")
	if err != nil {
		t.Fatal(err)
	}
	if c.Gateway.Data != filepath.Join(dir, "d") || c.MQTT.PasswordFile != filepath.Join(dir, "users") {
		t.Errorf("%+v", c)
	}
}

func TestSecretsMustBePrivate(t *testing.T) {
	dir := t.TempDir()
	file, users := filepath.Join(dir, "c.toml"), filepath.Join(dir, "users")
	write(t, file, withUsers, 0o644)
	for mode, want := range map[os.FileMode]string{
		0o644: "chmod 600 " + users, 0o640: "others may read it (mode 0640", 0o600: "", 0o400: "",
	} {
		write(t, users, "", 0o600)
		if err := os.Chmod(users, mode); err != nil {
			t.Fatal(err)
		}
		_, err := Load(file, "")
		if want == "" && err != nil {
			t.Errorf("%04o: %v", mode, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "c.toml:5:1: mqtt.password_file")) {
			t.Errorf("%04o: got %v", mode, err)
		}
		os.Remove(users)
	}
	if _, err := Load(file, ""); err == nil || !strings.Contains(err.Error(), "can't be read") {
		t.Errorf("missing: %v", err)
	}
}

func TestReadSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p")
	write(t, file, " s3cret \r\n", 0o600)
	if got, err := ReadSecret(file); err != nil || got != " s3cret " {
		t.Errorf("got %q, %v", got, err)
	}
	write(t, file, strings.Repeat("x", 5000), 0o600)
	if _, err := ReadSecret(file); err == nil {
		t.Error("an endless password was taken")
	}
}

func TestSocketPath(t *testing.T) {
	c := Default()
	if got, err := c.SocketPath(); err != nil || got != "cistern-data/cistern.sock" {
		t.Errorf("got %q, %v", got, err)
	}
	c.Gateway.Data = "/" + strings.Repeat("x", 120)
	if _, err := c.SocketPath(); err == nil {
		t.Error("a path that no socket can have was taken")
	}
}
