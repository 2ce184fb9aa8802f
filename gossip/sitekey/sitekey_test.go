package sitekey

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func generate(t testing.TB) Key {
	t.Helper()
	k, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSaveAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "site.key")
	k := generate(t)
	if err := k.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil || !got.Equal(k) {
		t.Fatalf("loaded another key, or none: %v", err)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %04o, want 0600", st.Mode().Perm())
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("%d files left, want 1", len(entries))
	}
	if err := generate(t).Save(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second Save: %v, want that the file exists", err)
	}
	if again, _ := Load(path); !again.Equal(k) {
		t.Error("the second Save has changed the key")
	}
}

func TestLoadRefusesWhatOthersCanRead(t *testing.T) {
	for _, mode := range []os.FileMode{0o644, 0o640, 0o602, 0o700} {
		path := filepath.Join(t.TempDir(), "site.key")
		if err := generate(t).Save(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %04o: %v, want advice", mode, err)
		}
	}
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("a folder was taken for a key")
	}
}

func TestParseRefusesDamage(t *testing.T) {
	line := generate(t).encode()
	if _, err := Parse(" " + strings.TrimSpace(line) + "\r\n"); err != nil {
		t.Errorf("white space around it: %v", err)
	}
	for name, bad := range map[string]string{
		"empty":         "",
		"other file":    "-----BEGIN CERTIFICATE-----",
		"cut":           line[:len(line)-6],
		"two lines":     line + line,
		"letter":        strings.Replace(line, line[30:31], map[bool]string{true: "B", false: "A"}[line[30] == 'A'], 1),
		"other version": strings.Replace(line, "-1:", "-2:", 1),
	} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestKeyNeverShows(t *testing.T) {
	k := generate(t)
	j, err := json.Marshal(struct{ K Key }{k})
	if err != nil {
		t.Fatal(err)
	}
	out := fmt.Sprintf("%v %x %s %d %#v %+v %s", k, k, k, k, k, struct{ Key Key }{k}, j)
	for _, secret := range []string{fmt.Sprintf("%x", k[:8]), fmt.Sprintf("%d", k[0:4]), "cistern-site-key"} {
		if strings.Contains(out, strings.Trim(secret, "[]")) {
			t.Errorf("%q shows in %s", secret, out)
		}
	}
}

func TestDerivedAreApart(t *testing.T) {
	a, b := generate(t), generate(t)
	if bytes.Equal(a.Gossip(), b.Gossip()) || a.Fingerprint() == b.Fingerprint() {
		t.Error("two sites derive the same")
	}
	if len(a.Gossip()) != 32 || !bytes.Equal(a.Gossip(), a.Gossip()) {
		t.Error("the gossip key has to be 32 bytes and always the same")
	}
	// What is derived must never change: gateways of different versions would part.
	if got := (Key{1, 2, 3}).Fingerprint(); got != "9b518a46b824d4c3" {
		t.Errorf("fingerprint is now %s", got)
	}
}

func TestAuthorityIsTheSameEverywhere(t *testing.T) {
	k := generate(t)
	a, _, err := k.authority()
	if err != nil {
		t.Fatal(err)
	}
	b, _, _ := k.authority()
	other, _, _ := generate(t).authority()
	if !bytes.Equal(a.Raw, b.Raw) {
		t.Error("two gateways of a site derive two authorities")
	}
	if bytes.Equal(a.Raw, other.Raw) {
		t.Error("two sites derive one authority")
	}
	if !a.NotBefore.Equal(validFrom) || !a.NotAfter.Equal(validTo) {
		t.Errorf("valid from %v to %v", a.NotBefore, a.NotAfter)
	}
}

// handshake returns what either side says of it.
func handshake(t *testing.T, client, server *tls.Config) (c, s *tls.Conn, cErr, sErr error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan error, 1)
	go func() {
		raw, err := ln.Accept()
		if err == nil {
			s = tls.Server(raw, server)
			err = s.Handshake()
			if err != nil {
				raw.Close()
			}
		}
		done <- err
	}()
	raw, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	raw.SetDeadline(time.Now().Add(10 * time.Second))
	c = tls.Client(raw, client)
	if cErr = c.Handshake(); cErr == nil {
		c.Write([]byte("x")) // TLS 1.3: the client is done before the server has judged it
	}
	return c, s, cErr, <-done
}

func config(t testing.TB, k Key, name string) *tls.Config {
	t.Helper()
	c, err := k.TLS(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMutualTLS(t *testing.T) {
	k := generate(t)
	c, s, cErr, sErr := handshake(t, config(t, k, "gate-1"), config(t, k, "Gate_2.shed"))
	if cErr != nil || sErr != nil {
		t.Fatalf("client: %v, server: %v", cErr, sErr)
	}
	if got := PeerName(c.ConnectionState()); got != "Gate_2.shed" {
		t.Errorf("client met %q", got)
	}
	if got := PeerName(s.ConnectionState()); got != "gate-1" {
		t.Errorf("server met %q", got)
	}
	if v := c.ConnectionState().Version; v != tls.VersionTLS13 {
		t.Errorf("version %x", v)
	}
}

func TestKeysDiffer(t *testing.T) {
	a, b := generate(t), generate(t)
	_, _, cErr, sErr := handshake(t, config(t, a, "a"), config(t, b, "b"))
	if !errors.Is(Explain(cErr), ErrKeysDiffer) || !errors.Is(Explain(sErr), ErrKeysDiffer) {
		t.Errorf("client: %v, server: %v", Explain(cErr), Explain(sErr))
	}

	t.Run("a client that does not mind", func(t *testing.T) {
		c := config(t, a, "a")
		c.InsecureSkipVerify = true
		if _, _, _, sErr := handshake(t, c, config(t, b, "b")); !errors.Is(Explain(sErr), ErrKeysDiffer) {
			t.Errorf("server: %v", sErr)
		}
	})
	t.Run("a client without certificate", func(t *testing.T) {
		c := config(t, b, "a")
		c.Certificates = nil
		if _, _, _, sErr := handshake(t, c, config(t, b, "b")); sErr == nil {
			t.Error("the server took it")
		}
	})
	t.Run("TLS 1.2", func(t *testing.T) {
		c := config(t, b, "a")
		c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		if _, _, _, sErr := handshake(t, c, config(t, b, "b")); sErr == nil || errors.Is(Explain(sErr), ErrKeysDiffer) {
			t.Errorf("server: %v", sErr)
		}
	})
}

// Scenario 38: a gateway that boots in 1970, or a day ahead, is let in. The time
// that TLS sees is fixed, and certificates are valid at either end of it.
func TestClockDoesNotMatter(t *testing.T) {
	k := generate(t)
	for _, now := range []time.Time{time.Unix(1, 0), time.Date(9998, 1, 1, 0, 0, 0, 0, time.UTC)} {
		c, s := config(t, k, "a"), config(t, k, "b")
		if got := c.Time(); !got.Equal(checkedAt) {
			t.Errorf("certificates are checked at %v", got)
		}
		c.Time = func() time.Time { return now }
		s.Time = c.Time
		if _, _, cErr, sErr := handshake(t, c, s); cErr != nil || sErr != nil {
			t.Errorf("%v: client: %v, server: %v", now, cErr, sErr)
		}
	}
}

func TestNames(t *testing.T) {
	for _, good := range []string{"a", "gw-1", "shed.north", "A_b", strings.Repeat("x", NameBytesMax), "_x", "7"} {
		if err := CheckName(good); err != nil {
			t.Error(err)
		}
		k := Key{7}
		if _, _, cErr, sErr := handshake(t, config(t, k, good), config(t, k, good)); cErr != nil || sErr != nil {
			t.Errorf("%s: client: %v, server: %v", good, cErr, sErr)
		}
	}
	for _, bad := range []string{"", ".", "-a", "a-", "a..b", "a b", "ä", "a/b", serverName, strings.Repeat("x", NameBytesMax+1)} {
		if _, err := (Key{}).TLS(bad); err == nil {
			t.Errorf("%q is allowed", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Key{}.encode())
	f.Add("cistern-site-key-1:AAAA")
	f.Fuzz(func(t *testing.T, line string) {
		if k, err := Parse(line); err == nil {
			if again, err := Parse(k.encode()); err != nil || again != k {
				t.Fatal("a key does not survive being written")
			}
		}
	})
}
