package users

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	// iterationsMax bounds what a foreign file can make us compute.
	iterationsMax = 10_000_000
	saltBytes     = 12 // as mosquitto_passwd
	hashBytes     = sha512.Size
	saltBytesMax  = 64
)

// iterations make a check take 10 ms on a PC and half a second on the smallest
// 32-bit board, which has no instructions for SHA-512. Tests take fewer.
var iterations = 20_000

// hash is a password that can be checked and not be read.
type hash struct {
	iterations int
	salt, sum  []byte
}

// newHash hides a password.
func newHash(password string) (hash, error) {
	h := hash{iterations: iterations, salt: make([]byte, saltBytes)}
	if _, err := rand.Read(h.salt); err != nil {
		return hash{}, err
	}
	var err error
	h.sum, err = pbkdf2.Key(sha512.New, password, h.salt, h.iterations, hashBytes)
	return h, err
}

// matches checks a password, slowly.
func (h hash) matches(password []byte) bool {
	sum, err := pbkdf2.Key(sha512.New, string(password), h.salt, h.iterations, len(h.sum))
	return err == nil && subtle.ConstantTimeCompare(sum, h.sum) == 1
}

func (h hash) String() string {
	e := base64.StdEncoding
	return fmt.Sprintf("$7$%d$%s$%s", h.iterations, e.EncodeToString(h.salt), e.EncodeToString(h.sum))
}

var errFormat = errors.New("is not a password hash that is understood; expected $7$iterations$salt$hash")

func parseHash(s string) (hash, error) {
	p := strings.Split(s, "$")
	if len(p) != 5 || p[0] != "" || p[1] != "7" {
		return hash{}, errFormat
	}
	n, err := strconv.Atoi(p[2])
	if err != nil || n < 1 || n > iterationsMax {
		return hash{}, errFormat
	}
	salt, err := base64.StdEncoding.DecodeString(p[3])
	if err != nil || len(salt) < 1 || len(salt) > saltBytesMax {
		return hash{}, errFormat
	}
	sum, err := base64.StdEncoding.DecodeString(p[4])
	if err != nil || len(sum) != hashBytes {
		return hash{}, errFormat
	}
	return hash{n, salt, sum}, nil
}
