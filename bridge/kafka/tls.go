package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"
)

// TLS says how to secure connections to a cluster.
type TLS struct {
	CAFile     string // PEM; empty: the system's roots
	CertFile   string // PEM, client certificate; empty: none
	KeyFile    string // PEM, its key
	ServerName string // empty: the host that was dialed

	// Now is the clock that certificates are checked against, nil for the
	// machine's. A gateway without a battery clock knows better than its kernel.
	Now func() time.Time
}

// Load reads the files and returns the configuration: TLS 1.2 at least.
func (t TLS) Load() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, Time: t.Now}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading CA file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA file %s holds no PEM certificate", t.CAFile)
		}
	}
	switch {
	case t.CertFile == "" && t.KeyFile == "":
		return c, nil
	case t.CertFile == "" || t.KeyFile == "":
		return nil, errors.New("a client certificate needs both a certificate file and a key file")
	}
	cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("loading client certificate: %w", err)
	}
	c.Certificates = []tls.Certificate{cert}
	return c, nil
}
