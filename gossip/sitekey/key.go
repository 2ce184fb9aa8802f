// Package sitekey answers one question: who may speak on this site?
//
// A site has one secret of 32 bytes. Whoever has it is one of its gateways;
// whoever has not gets no further than a refused handshake. There is no
// registration, no certificate authority to run and nothing that expires, since
// gateways sit in cabinets for years, often without a clock.
//
// Everything else is derived from the key by HKDF, each with a label of its
// own, so that none of it tells anything about the key or about the others:
//
//	site key ─┬─ Gossip       the key that encrypts gossip
//	          ├─ Fingerprint  what may be shown, compared and multicast
//	          └─ a certificate authority (Ed25519)
//	               └─ TLS     mutual TLS 1.3, a new certificate per process
//
// Every gateway derives the same authority, bit for bit, and signs its own
// certificate with it. The authority is therefore as secret as the key, and the
// name in a certificate is what a gateway of this site says of itself: it keeps
// strangers out, not one gateway from posing as another.
//
// Certificates are valid from 1970 to 9999 and checked at a fixed moment, so the
// wall clock never decides who may join. To shut out a stolen gateway, give the
// others a new key.
package sitekey

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Key is the secret of a site. It never shows in logs or messages, whatever
// verb prints it; Save is the only way out.
type Key [32]byte

// ErrKeysDiffer is found in the error of whoever meets a gateway that has
// another site key.
var ErrKeysDiffer = errors.New("the site keys differ")

const (
	// prefix tells what the line is, and its version.
	prefix = "cistern-site-key-1:"
	// checkBytes of the key's hash follow it, so that a key that was copied by
	// hand and mistyped is not taken for that of another site.
	checkBytes = 4

	salt = "cistern site key 1"
)

// Generate returns a new key.
func Generate() (Key, error) {
	var k Key
	_, err := rand.Read(k[:])
	return k, err
}

// Gossip returns the 32 bytes that encrypt gossip (AES-256).
func (k Key) Gossip() []byte { return k.derive("gossip", 32) }

// Fingerprint returns what tells two site keys apart and says nothing else
// about them.
func (k Key) Fingerprint() string { return hex.EncodeToString(k.derive("fingerprint", 8)) }

// Equal compares without telling by its duration where they differ.
func (k Key) Equal(o Key) bool { return subtle.ConstantTimeCompare(k[:], o[:]) == 1 }

func (k Key) derive(label string, n int) []byte {
	b, err := hkdf.Key(sha256.New, k[:], []byte(salt), label, n)
	if err != nil {
		panic("sitekey: " + err.Error()) // only for an n beyond HKDF's limit, and ours are constants
	}
	return b
}

// Format keeps the key out of everything that fmt prints.
func (Key) Format(s fmt.State, _ rune) { fmt.Fprint(s, "[site key]") }

// MarshalText keeps it out of JSON logs.
func (Key) MarshalText() ([]byte, error) { return []byte("[site key]"), nil }

// encode returns the line that Save writes.
func (k Key) encode() string {
	sum := sha256.Sum256(k[:])
	return prefix + base64.RawURLEncoding.EncodeToString(append(k[:], sum[:checkBytes]...)) + "\n"
}

// Parse reads a key from the line that Save wrote.
func Parse(line string) (Key, error) {
	var k Key
	coded, ok := strings.CutPrefix(strings.TrimSpace(line), prefix)
	if !ok {
		return k, fmt.Errorf("not a site key: it has to begin with %q", prefix)
	}
	b, err := base64.RawURLEncoding.DecodeString(coded)
	if err != nil || len(b) != len(k)+checkBytes {
		return k, errors.New("not a site key: it has been cut or changed; copy the whole line again")
	}
	sum := sha256.Sum256(b[:len(k)])
	if string(sum[:checkBytes]) != string(b[len(k):]) {
		return k, errors.New("not a site key: a character of it is wrong; copy the whole line again")
	}
	return Key(b[:len(k)]), nil
}
