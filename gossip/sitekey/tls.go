package sitekey

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"time"
)

// NameBytesMax limits the name of a gateway, which goes into its certificate.
const NameBytesMax = 63

// serverName is in every certificate beside the gateway's own name. Gateways
// are dialed by address, so this is the name that a client asks for: TLS checks
// it in the ordinary way, and there is no verification of our own to get wrong.
const serverName = "gateway.cistern.internal"

var (
	validFrom = time.Unix(0, 0).UTC()
	validTo   = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	// checkedAt is when all certificates are checked, whatever the clock says.
	checkedAt = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// CheckName reports why a gateway can't have this name.
func CheckName(name string) error {
	bad := name == "" || len(name) > NameBytesMax || name == serverName || strings.Contains(name, "..") ||
		strings.Trim(name, ".-") != name
	for _, r := range name {
		bad = bad || !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", r)
	}
	if bad {
		return fmt.Errorf("gateway name %q: needs 1 to %d of A-Z a-z 0-9 . _ - and neither dot nor dash at its ends", name, NameBytesMax)
	}
	return nil
}

// TLS returns the configuration of the gateway with that name, for both ends of
// a connection: TLS 1.3, and each side shows a certificate of this site.
func (k Key) TLS(name string) (*tls.Config, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	ca, caKey, err := k.authority()
	if err != nil {
		return nil, fmt.Errorf("site key: certificate authority: %w", err)
	}
	cert, err := issue(name, ca, caKey)
	if err != nil {
		return nil, fmt.Errorf("site key: certificate of %s: %w", name, err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{*cert},
		ServerName:   serverName,
		RootCAs:      pool,
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
		Time:         func() time.Time { return checkedAt },
		// A resumed session would save 1 ms a day and outlive a change of key.
		SessionTicketsDisabled: true,
	}, nil
}

// authority returns the site's certificate authority. Nothing in it is random
// or of this gateway: Ed25519 signs without randomness, so that all gateways
// arrive at the same bytes.
func (k Key) authority() (*x509.Certificate, ed25519.PrivateKey, error) {
	private := ed25519.NewKeyFromSeed(k.derive("certificate authority", ed25519.SeedSize))
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "cistern site"},
		NotBefore:             validFrom,
		NotAfter:              validTo,
		IsCA:                  true,
		MaxPathLenZero:        true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(nil, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	ca, err := x509.ParseCertificate(der)
	return ca, private, err
}

// issue makes a certificate for this process alone.
func issue(name string, ca *x509.Certificate, caKey ed25519.PrivateKey) (*tls.Certificate, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(2)), // 1 is the authority's
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name, serverName},
		NotBefore:    validFrom,
		NotAfter:     validTo,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, public, caKey)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf}, err
}

// PeerName returns the gateway's name from the certificate that the other side
// has shown, "" when it has shown none.
func PeerName(s tls.ConnectionState) string {
	if len(s.VerifiedChains) == 0 || len(s.PeerCertificates[0].DNSNames) == 0 {
		return ""
	}
	return s.PeerCertificates[0].DNSNames[0]
}

// Explain wraps the error of a handshake in ErrKeysDiffer when that is what it
// means, on either side of it.
func Explain(err error) error {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) || refusedByPeer(err) {
		return fmt.Errorf("%w: copy the key file of one gateway to all of its site (%w)", ErrKeysDiffer, err)
	}
	return err
}

// refusedByPeer recognises the alert that says the other side did not accept
// our certificate. crypto/tls does not export its type.
func refusedByPeer(err error) bool {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return false
	}
	text := op.Err.Error()
	return strings.HasSuffix(text, "bad certificate") || strings.HasSuffix(text, "unknown certificate authority")
}
