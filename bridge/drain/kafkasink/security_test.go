package kafkasink

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kversion"

	"cistern/bridge/drain"
	"cistern/bridge/kafka"
)

func TestSecurity(t *testing.T) {
	files, server := certificates(t)
	users := []kfake.Opt{kfake.EnableSASL(), kfake.SeedTopics(1, "secret"),
		kfake.Superuser(kafka.Plain, "p", "p-secret"),
		kfake.Superuser(kafka.ScramSHA256, "s256", "s256-secret"),
		kfake.Superuser(kafka.ScramSHA512, "s512", "s512-secret")}
	tests := map[string]struct {
		opts []kfake.Opt
		tls  *kafka.TLS
		sasl *kafka.SASL
		fail string // in the uplink's last error; empty: it drains
	}{
		"TLS":               {opts: []kfake.Opt{kfake.SeedTopics(1, "secret"), kfake.TLS(server)}, tls: &files},
		"TLS, PLAIN":        {opts: append(users, kfake.TLS(server)), tls: &files, sasl: &kafka.SASL{Mechanism: kafka.Plain, User: "p", Password: "p-secret"}},
		"TLS, SCRAM 512":    {opts: append(users, kfake.TLS(server)), tls: &files, sasl: &kafka.SASL{Mechanism: kafka.ScramSHA512, User: "s512", Password: "s512-secret"}},
		"SCRAM 256":         {opts: users, sasl: &kafka.SASL{Mechanism: kafka.ScramSHA256, User: "s256", Password: "s256-secret"}},
		"SCRAM 512 at 2.8":  {opts: append(users, kfake.MaxVersions(kversion.V2_8_0())), sasl: &kafka.SASL{Mechanism: kafka.ScramSHA512, User: "s512", Password: "s512-secret"}},
		"wrong password":    {opts: users, sasl: &kafka.SASL{Mechanism: kafka.ScramSHA256, User: "s256", Password: "guess"}, fail: "authentication failed"},
		"PLAIN, wrong":      {opts: users, sasl: &kafka.SASL{Mechanism: kafka.Plain, User: "p", Password: "guess"}, fail: "authentication failed"},
		"unknown authority": {opts: []kfake.Opt{kfake.SeedTopics(1, "secret"), kfake.TLS(server)}, tls: &kafka.TLS{}, fail: "certificate"},
		"wrong name": {opts: []kfake.Opt{kfake.SeedTopics(1, "secret"), kfake.TLS(server)},
			tls: &kafka.TLS{CAFile: files.CAFile, CertFile: files.CertFile, KeyFile: files.KeyFile, ServerName: "elsewhere"}, fail: "elsewhere"},
		"no client certificate": {opts: []kfake.Opt{kfake.SeedTopics(1, "secret"), kfake.TLS(server)}, tls: &kafka.TLS{CAFile: files.CAFile}, fail: "certificate required"},
		"expired by our clock": {opts: []kfake.Opt{kfake.SeedTopics(1, "secret"), kfake.TLS(server)},
			tls: &kafka.TLS{CAFile: files.CAFile, CertFile: files.CertFile, KeyFile: files.KeyFile, Now: func() time.Time { return time.Now().AddDate(3, 0, 0) }}, fail: "expired"},
		"too old": {opts: []kfake.Opt{kfake.SeedTopics(1, "secret"), kfake.MaxVersions(kversion.V0_10_2())}, fail: "does not speak what is needed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := fakeCentral(t, tt.opts...)
			var s setup
			s.sink.Client.SASL = tt.sasl
			if tt.tls != nil {
				cfg, err := tt.tls.Load()
				if err != nil {
					t.Fatal(err)
				}
				s.sink.Client.TLS = cfg
			}
			log := newLog("secret", 0).fill(t, 5, 10)
			g := c.gateway(s, log)
			defer g.stop()
			if tt.fail == "" {
				g.drained(log)
				return
			}
			status := g.until("the uplink says why", func(s drain.Status) bool { return s.Uplink.State == drain.UplinkDown })
			if !strings.Contains(status.Uplink.LastError, tt.fail) || strings.Contains(status.Uplink.LastError, "guess") {
				t.Errorf("last error is %q, want it to speak of %q and of no password", status.Uplink.LastError, tt.fail)
			}
		})
	}
}

// certificates makes an authority, a server for 127.0.0.1 that wants client
// certificates, and the files of a client.
func certificates(t *testing.T) (kafka.TLS, *tls.Config) {
	t.Helper()
	dir := t.TempDir()
	ca, caKey := certificate(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	srv, srvKey := certificate(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, ca, caKey)
	cli, cliKey := certificate(t, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca, caKey)
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := x509.MarshalPKCS8PrivateKey(cliKey)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return kafka.TLS{
			CAFile:   write("ca.pem", "CERTIFICATE", ca.Raw),
			CertFile: write("client.pem", "CERTIFICATE", cli.Raw),
			KeyFile:  write("client.key", "PRIVATE KEY", key),
		}, &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{srv.Raw}, PrivateKey: srvKey}},
			ClientAuth:   tls.RequireAndVerifyClientCert,
			ClientCAs:    pool,
		}
}

func certificate(t *testing.T, c, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.Subject = pkix.Name{CommonName: "cistern test"}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)
	if parent == nil {
		parent, parentKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}
