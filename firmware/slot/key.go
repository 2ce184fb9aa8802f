package slot

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// The files that `cistern-image keygen` writes, and PublicFile in an image.
const (
	PrivateFile = "update.key"
	PublicFile  = "update.pub"
)

const (
	publicPrefix  = "cistern-update-pub:"
	privatePrefix = "cistern-update-key:"
)

// ErrKey is found in the error of who reads a damaged key.
var ErrKey = errors.New("no key that can be read")

// EncodePublic is the text of update.pub.
func EncodePublic(k ed25519.PublicKey) string {
	return publicPrefix + base64.StdEncoding.EncodeToString(k) + "\n"
}

// EncodePrivate is the text of update.key. Who has it can put any system on
// every gateway that has the other half.
func EncodePrivate(k ed25519.PrivateKey) string {
	return privatePrefix + base64.StdEncoding.EncodeToString(k.Seed()) + "\n"
}

// ParsePublic reads update.pub.
func ParsePublic(text string) (ed25519.PublicKey, error) {
	b, err := parseKey(text, publicPrefix, PublicFile, ed25519.PublicKeySize)
	return ed25519.PublicKey(b), err
}

// ParsePrivate reads update.key.
func ParsePrivate(text string) (ed25519.PrivateKey, error) {
	b, err := parseKey(text, privatePrefix, PrivateFile, ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(b), nil
}

// HoldsPrivate says whether a file, whatever it is called, has an update.key in
// it.
func HoldsPrivate(b []byte) bool {
	for line := range strings.Lines(string(b)) {
		if _, err := ParsePrivate(line); err == nil {
			return true
		}
	}
	return false
}

func parseKey(text, prefix, name string, size int) ([]byte, error) {
	text = strings.TrimSpace(text)
	rest, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return nil, fmt.Errorf("%s: does not begin with %q: %w", name, prefix, ErrKey)
	}
	b, err := base64.StdEncoding.Strict().DecodeString(rest)
	if err != nil || len(b) != size {
		return nil, fmt.Errorf("%s: has not %d bytes after %q, as base64: %w", name, size, prefix, ErrKey)
	}
	return b, nil
}
