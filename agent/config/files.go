package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// namedFile is a file that the configuration names.
type namedFile struct {
	path   *string
	key    string // where it is named
	secret bool
}

// files lists every file c names, so that one loop resolves and one checks.
func (c *Config) files() []namedFile {
	all := []namedFile{{&c.Site.KeyFile, "site.key_file", true}, {&c.MQTT.PasswordFile, "mqtt.password_file", true}}
	for i := range c.MQTT.Sources {
		s, key := &c.MQTT.Sources[i], fmt.Sprintf("mqtt.source[%d]", i)
		all = append(all, namedFile{&s.PasswordFile, key + ".password_file", true})
		all = append(all, s.TLS.files(key+".tls")...)
	}
	return append(all, c.Uplink.files()...)
}

func (u *Uplink) files() []namedFile {
	all := []namedFile{
		{&u.Kafka.SASL.PasswordFile, "uplink.kafka.sasl.password_file", true},
		{&u.MQTT.PasswordFile, "uplink.mqtt.password_file", true},
		{&u.NATS.PasswordFile, "uplink.nats.password_file", true},
		{&u.NATS.CredsFile, "uplink.nats.creds_file", true},
	}
	all = append(all, u.Kafka.TLS.files("uplink.kafka.tls")...)
	all = append(all, u.MQTT.TLS.files("uplink.mqtt.tls")...)
	return append(all, u.NATS.TLS.files("uplink.nats.tls")...)
}

func (t *TLS) files(key string) []namedFile {
	return []namedFile{
		{&t.CAFile, key + ".ca_file", false},
		{&t.CertFile, key + ".cert_file", false},
		{&t.KeyFile, key + ".key_file", true},
	}
}

// resolve makes relative paths start at the folder of the file that names them.
func (c *Config) resolve(doc *document) {
	paths := []namedFile{{&c.Gateway.Data, "gateway.data", false}, {&c.Status.Socket, "status.socket", false}}
	for _, f := range append(paths, c.files()...) {
		if *f.path == "" || filepath.IsAbs(*f.path) {
			continue
		}
		if file := doc.fileOf(f.key); file != "" {
			*f.path = filepath.Join(filepath.Dir(file), *f.path)
		}
	}
}

func (c *Config) checkFiles(doc *document) {
	for _, f := range c.files() {
		if *f.path == "" {
			continue
		}
		info, err := os.Stat(*f.path)
		switch {
		case err != nil:
			doc.fail(f.key, "", "can't be read: %s", err)
		case !info.Mode().IsRegular():
			doc.fail(f.key, "", "%s is not a file", *f.path)
		case f.secret && info.Mode().Perm()&0o077 != 0:
			doc.fail(f.key, "chmod 600 "+*f.path, "%s holds secrets, and others may read it (mode %04o; allowed are 0600 and 0400)",
				*f.path, info.Mode().Perm())
		}
	}
}

// secretBytesMax bounds a file that holds one password.
const secretBytesMax = 4096

// ReadSecret returns what a password file holds, without the newline that
// editors leave behind.
func ReadSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Size() > secretBytesMax {
		return "", fmt.Errorf("%s has %d bytes; a password may have %d", path, info.Size(), secretBytesMax)
	}
	b, err := os.ReadFile(path)
	return strings.TrimRight(string(b), "\r\n"), err
}

// SocketPath is where the gateway answers the command line.
func (c *Config) SocketPath() (string, error) {
	path := c.Status.Socket
	if path == "" {
		path = filepath.Join(c.Gateway.Data, "cistern.sock")
	}
	if err := checkSocket(path); err != nil {
		return "", fmt.Errorf("status socket: %w; set socket in [status] to a shorter one", err)
	}
	return path, nil
}
