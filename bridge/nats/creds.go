package nats

import (
	"crypto/ed25519"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
)

const credsBytesMax = 64 << 10

// Creds is what a credentials file holds: a user's JWT, and the key that proves
// that it is ours.
type Creds struct {
	jwt string
	key ed25519.PrivateKey
}

// LoadCreds reads a credentials file as `nsc` writes it.
func LoadCreds(path string) (*Creds, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > credsBytesMax {
		return nil, fmt.Errorf("%s has %d bytes: that is no credentials file", path, info.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c, err := parseCreds(string(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func parseCreds(s string) (*Creds, error) {
	jwt, seed := armored(s, "NATS USER JWT"), armored(s, "USER NKEY SEED")
	if jwt == "" || seed == "" {
		return nil, errors.New("it needs a block \"NATS USER JWT\" and a block \"USER NKEY SEED\", as nsc generate creds writes them")
	}
	key, err := parseSeed(seed)
	if err != nil {
		return nil, err
	}
	return &Creds{jwt, key}, nil
}

// armored returns what stands between a block's first line and its last.
func armored(s, name string) string {
	_, rest, ok := strings.Cut(s, "BEGIN "+name)
	if !ok {
		return ""
	}
	_, rest, _ = strings.Cut(rest, "\n")
	body, _, ok := strings.Cut(rest, "---")
	if !ok {
		return ""
	}
	return strings.TrimSpace(body)
}

// Sizes of a seed: two bytes that say what it is, the key, a checksum.
const (
	seedPrefix = 2
	seedLen    = seedPrefix + ed25519.SeedSize + 2
)

// Type bytes of nkeys: the seed of a user.
const (
	nkeySeed = 18 << 3 // 'S'
	nkeyUser = 20 << 3 // 'U'
)

// parseSeed decodes an nkey seed, https://github.com/nats-io/nkeys.
func parseSeed(s string) (ed25519.PrivateKey, error) {
	b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(s)
	switch {
	case err != nil || len(b) != seedLen:
		return nil, errors.New("the nkey seed can't be read")
	case b[0]&0xf8 != nkeySeed || b[0]&7<<5|b[1]>>3 != nkeyUser:
		return nil, errors.New("the nkey seed is not a user's")
	}
	if sum := crc16(b[:seedLen-2]); b[seedLen-2] != byte(sum) || b[seedLen-1] != byte(sum>>8) {
		return nil, errors.New("the nkey seed has a wrong checksum: it was copied wrong")
	}
	return ed25519.NewKeyFromSeed(b[seedPrefix : seedPrefix+ed25519.SeedSize]), nil
}

// crc16 is CRC-16/XMODEM, polynomial 0x1021.
func crc16(b []byte) uint16 {
	var sum uint16
	for _, c := range b {
		sum ^= uint16(c) << 8
		for range 8 {
			if sum&0x8000 != 0 {
				sum = sum<<1 ^ 0x1021
			} else {
				sum <<= 1
			}
		}
	}
	return sum
}

// sign answers the server's challenge.
func (c *Creds) sign(nonce string) string {
	return base64.RawURLEncoding.EncodeToString(ed25519.Sign(c.key, []byte(nonce)))
}
