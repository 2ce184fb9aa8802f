package source

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"cistern/segstore/ingest"
)

func TestMosquittoDeliversInOrder(t *testing.T) {
	m := startMosquitto(t, "max_inflight_messages 200\nmax_queued_messages 0")
	p := m.publisher()
	publish(t, p, "plant/state", 9001, 9003, true) // 9003 stays
	a := &memory{}
	s := quick(t, m.config(), a)
	run(t, s)
	eventually(t, "connection", connected(s))
	eventually(t, "the retained message", func() bool { return s.Status().SkippedRetained == 1 })
	publish(t, p, "plant/temp", 1, 3000, false)
	eventually(t, "3000 acknowledged", func() bool { st := s.Status(); return st.Committed == 3000 && st.InWindow == 0 })
	publish(t, p, "plant/state", 3001, 3001, true) // live, though retained
	eventually(t, "the live one", func() bool { return s.Status().Committed == 3001 })
	if got := a.stored(); !slices.Equal(got, numbers(1, 3001)) {
		t.Errorf("stored %d records, or not in order", len(got))
	}
}

func TestMosquittoKeepsWhatIsPublishedWhileWeAreAway(t *testing.T) {
	m := startMosquitto(t, "")
	p := m.publisher()
	a := &memory{}
	s := quick(t, m.config(), a)
	stop := run(t, s)
	eventually(t, "connection", connected(s))
	publish(t, p, "plant/temp", 1, 100, false)
	eventually(t, "100 committed", func() bool { return s.Status().Committed == 100 })
	stop()
	publish(t, p, "plant/temp", 101, 200, false)
	s = quick(t, m.config(), a)
	run(t, s)
	eventually(t, "the rest", func() bool { return s.Status().Committed >= 100 })
	if got := a.stored(); !slices.Equal(got, numbers(1, 200)) {
		t.Errorf("a clean stop repeated or lost something: %v", got)
	}
	eventually(t, "the session resumed", func() bool { return s.Status().SessionPresent }) // paho may deliver before it says so
}

func TestMosquittoRestart(t *testing.T) {
	dir := t.TempDir()
	m := startMosquitto(t, fmt.Sprintf("persistence true\npersistence_location %s/\nmax_inflight_messages 200", dir))
	a := &memory{}
	s := quick(t, m.config(), a)
	run(t, s)
	eventually(t, "connection", connected(s))
	upTo := func(n int) func() bool {
		return func() bool { return len(firstCopies(a.stored())) == n }
	}
	publish(t, m.publisher(), "plant/temp", 1, 100, false)
	eventually(t, "1 to 100", upTo(100))

	m.stop(syscall.SIGTERM)
	eventually(t, "the loss", func() bool { return s.Status().ConnectedSince.IsZero() })
	m.start(m.process.Path)
	publish(t, m.publisher(), "plant/temp", 101, 200, false)
	eventually(t, "101 to 200", upTo(200))
	eventually(t, "the connection told", connected(s)) // as above
	if st := s.Status(); !st.SessionPresent || st.SessionsLost != 0 {
		t.Errorf("status: %+v", st)
	}

	m.stop(syscall.SIGKILL) // with no session saved
	os.RemoveAll(filepath.Join(dir, "mosquitto.db"))
	m.start(m.process.Path)
	eventually(t, "the lost session", func() bool { return s.Status().SessionsLost == 1 })
	eventually(t, "the subscription", connected(s))
	publish(t, m.publisher(), "plant/temp", 201, 300, false)
	eventually(t, "201 to 300", upTo(300))
	if got := firstCopies(a.stored()); !slices.Equal(got, numbers(1, 300)) {
		t.Errorf("stored %v", got)
	}
}

// A gateway that refuses for longer than a connection can bear it: the source
// gives up and returns until it is taken again, and the queue stays where it is.
func TestMosquittoKeepsTheQueueOfAFullGateway(t *testing.T) {
	m := startMosquitto(t, "max_queued_messages 0")
	a := &memory{}
	config := m.config()
	config.Window = 50
	s := quick(t, config, a)
	s.timing.stall = 50 * time.Millisecond
	s.timing.retryMin, s.timing.retryMax = time.Millisecond, 5*time.Millisecond
	run(t, s)
	eventually(t, "connection", connected(s))
	p := m.publisher()
	publish(t, p, "plant/temp", 1, 500, false)
	a.set(func(a *memory) { a.refuse = ingest.ErrFull })
	publish(t, p, "plant/temp", 501, 2000, false)
	attempts := func() (n int) { a.set(func(a *memory) { n = a.calls }); return n }
	before := attempts()
	eventually(t, "a hundred attempts", func() bool { return attempts() >= before+100 })
	if st := s.Status(); st.Waiting == "" && st.LastError == "" {
		t.Errorf("status: %+v", st)
	}
	a.set(func(a *memory) { a.refuse = nil })
	eventually(t, "all of them", func() bool { return len(firstCopies(a.stored())) == 2000 })
	if got := firstCopies(a.stored()); !slices.Equal(got, numbers(1, 2000)) {
		t.Error("first copies are not in order")
	}
}

func TestMosquittoPassword(t *testing.T) {
	dir := t.TempDir()
	users := filepath.Join(dir, "users")
	if out, err := exec.Command("mosquitto_passwd", "-b", "-c", users, "cistern", "secret").CombinedOutput(); err != nil {
		t.Skipf("mosquitto_passwd: %v %s", err, out)
	}
	m := startMosquitto(t, "password_file "+users)
	config := m.config()
	config.User, config.PasswordFile = "cistern", filepath.Join(dir, "password")
	write(t, config.PasswordFile, []byte("wrong\n"))
	s := quick(t, config, &memory{})
	run(t, s)
	eventually(t, "the refusal", failing(s, "check user, password_file"))
	if st := s.Status(); !st.ConnectedSince.IsZero() {
		t.Errorf("status: %+v", st)
	}
	write(t, config.PasswordFile, []byte("secret\n")) // no restart needed
	eventually(t, "connection", connected(s))
}

func TestMosquittoTLS(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t)
	other := newAuthority(t)
	ca.issue(t, dir, "broker", net.IPv4(127, 0, 0, 1))
	ca.issue(t, dir, "gateway", nil)
	write(t, filepath.Join(dir, "ca.pem"), ca.pem)
	write(t, filepath.Join(dir, "other.pem"), other.pem)
	m := startMosquitto(t, fmt.Sprintf("cafile %[1]s/ca.pem\ncertfile %[1]s/broker.pem\nkeyfile %[1]s/broker.key\nrequire_certificate true", dir))

	good := m.config()
	good.URL = "mqtts://" + m.address()
	good.TLS = TLS{CAFile: dir + "/ca.pem", CertFile: dir + "/gateway.pem", KeyFile: dir + "/gateway.key"}
	for _, c := range []struct {
		name   string
		change func(*Config)
		err    string // "" connects
	}{
		{"own CA and client certificate", func(*Config) {}, ""},
		{"server name from the configuration", func(c *Config) { c.TLS.ServerName = "broker" }, ""},
		{"another server name", func(c *Config) { c.TLS.ServerName = "elsewhere" }, "not elsewhere"},
		{"another CA", func(c *Config) { c.TLS.CAFile = dir + "/other.pem" }, "unknown authority"},
		{"the system's CAs", func(c *Config) { c.TLS.CAFile = "" }, "unknown authority"},
		{"no client certificate", func(c *Config) { c.TLS.CertFile, c.TLS.KeyFile = "", "" }, "connect:"},
		{"a clock after the certificate", func(c *Config) { c.Now = func() time.Time { return time.Now().AddDate(9, 0, 0) } }, "expired"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := good
			c.change(&config)
			s := quick(t, config, &memory{})
			run(t, s)
			if c.err == "" {
				eventually(t, "connection", connected(s))
				return
			}
			eventually(t, "error with "+c.err, failing(s, c.err))
			if st := s.Status(); !st.ConnectedSince.IsZero() {
				t.Errorf("status: %+v", st)
			}
		})
	}
}

// authority is a CA for one test.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

func newAuthority(t *testing.T) *authority {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{certificate, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue writes name.pem and name.key into dir.
func (a *authority) issue(t *testing.T, dir, name string, ip net.IP) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip != nil {
		template.IPAddresses = []net.IP{ip}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
