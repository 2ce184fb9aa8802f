package users

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"cistern/bridge/mqtt"
)

// checkEvery is how often the file is looked at for changes, at most.
const checkEvery = time.Second

// Verifier checks the users of a password file for the MQTT server.
type Verifier struct {
	path string
	slow chan struct{} // held by who checks a password the slow way
	key  [32]byte      // of proofs; lives as long as the process

	mu      sync.Mutex
	file    *File
	stamp   stamp
	checked time.Time
	proofs  map[string][sha256.Size]byte // of passwords that were checked, by user
}

// stamp tells one state of a file from another.
type stamp struct {
	modified time.Time
	size     int64
}

// NewVerifier reads a password file, which has to exist.
func NewVerifier(path string) (*Verifier, error) {
	v := &Verifier{path: path, slow: make(chan struct{}, 1)}
	if _, err := rand.Read(v.key[:]); err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("password file: %w", err)
	}
	return v, v.reload()
}

var _ mqtt.Authenticator = (*Verifier)(nil)

// decoy is checked for users that do not exist, so that guessing names takes as
// long as guessing passwords.
var decoy = sync.OnceValue(func() hash { h, _ := newHash("decoy"); return h })

// Authenticate implements mqtt.Authenticator.
func (v *Verifier) Authenticate(ctx context.Context, user string, password []byte) error {
	h, known, proof, err := v.lookup(user)
	if err != nil {
		return err
	}
	given := v.proof(user, password)
	if known && hmac.Equal(given[:], proof[:]) {
		return nil
	}
	select {
	case v.slow <- struct{}{}:
		defer func() { <-v.slow }()
	case <-ctx.Done():
		return fmt.Errorf("too many passwords are waiting to be checked: %w", ctx.Err())
	}
	if !known {
		decoy().matches(password)
		return mqtt.ErrBadCredentials
	}
	if !h.matches(password) {
		return mqtt.ErrBadCredentials
	}
	v.remember(user, h, given)
	return nil
}

// proof is what stands for a checked password in memory.
func (v *Verifier) proof(user string, password []byte) (sum [sha256.Size]byte) {
	m := hmac.New(sha256.New, v.key[:])
	fmt.Fprintf(m, "%d:%s", len(user), user)
	m.Write(password)
	m.Sum(sum[:0])
	return sum
}

func (v *Verifier) lookup(user string) (h hash, known bool, proof [sha256.Size]byte, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if time.Since(v.checked) >= checkEvery {
		err = v.refresh()
	}
	h, known = v.file.users[user]
	if proof, ok := v.proofs[user]; ok {
		return h, known, proof, err
	}
	_, _ = rand.Read(proof[:]) // equal to nothing
	return h, known, proof, err
}

// remember keeps a proof unless the user has changed meanwhile.
func (v *Verifier) remember(user string, h hash, proof [sha256.Size]byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if now, ok := v.file.users[user]; ok && string(now.sum) == string(h.sum) {
		v.proofs[user] = proof
	}
}

func (v *Verifier) reload() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.refresh()
}

// refresh reads the file when it has changed; the caller holds mu. A file that
// can't be read keeps the users it had, and says so to who asks.
func (v *Verifier) refresh() error {
	info, err := os.Stat(v.path)
	if errors.Is(err, fs.ErrNotExist) && v.file != nil {
		return fmt.Errorf("the password file is gone: %w", err)
	}
	if err != nil {
		return err
	}
	now := stamp{info.ModTime(), info.Size()}
	if v.file != nil && now == v.stamp {
		v.checked = time.Now()
		return nil
	}
	f, err := Open(v.path)
	if err != nil {
		return err
	}
	v.file, v.stamp, v.checked = f, now, time.Now()
	v.proofs = map[string][sha256.Size]byte{}
	return nil
}
