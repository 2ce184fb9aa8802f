package mqtt

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// The cost of a password check. bcrypt rather than argon2id, which wants
// memory by the tens of MiB per check that a gateway does not have. Cost 10 is
// about 50 ms on a PC and 350 ms on a small Pi: slow enough for whoever stole
// the file, bearable for a site of devices that come back after a power cut,
// since a user's second device does not pay again (see PasswordFile).
const (
	hashCost     = 10
	hashCostMax  = 14 // of imported hashes: beyond, one check takes seconds
	checksAtOnce = 1  // bcrypt runs at a time; the other cores belong to ingest
)

// Limits of a password file.
const (
	userNameMax     = 256
	passwordMax     = 72 // bytes; bcrypt looks at no more
	usersMax        = 10_000
	passwordFileMax = 4 << 20
	recheckAfter    = time.Second // how often a changed file is looked for
)

// PasswordFile is an Authenticator that reads lines of "user:hash" (bcrypt)
// from a file that only its owner may read. It notices when the file changes.
//
// A user's last good password is remembered as a keyed hash, so that only the
// first connect of each user, and wrong passwords, cost a bcrypt run; and of
// those only checksAtOnce go on at a time. A storm of bad connects thus
// takes one core at most, and known devices pass it by.
type PasswordFile struct {
	path string
	key  [32]byte      // of the keyed hashes; new in every process
	slot chan struct{} // held while bcrypt runs

	mu      sync.Mutex
	users   map[string][]byte // bcrypt hashes
	good    map[string]goodPassword
	seen    fs.FileInfo
	checked time.Time
}

type goodPassword struct {
	hash string // the bcrypt hash it was good for
	mac  [sha256.Size]byte
}

// ErrBusy is returned when too many passwords are being checked.
var ErrBusy = errors.New("mqtt: too many passwords to check, try again later")

// OpenPasswordFile loads path.
func OpenPasswordFile(path string) (*PasswordFile, error) {
	f := &PasswordFile{path: path, slot: make(chan struct{}, checksAtOnce), good: map[string]goodPassword{}}
	rand.Read(f.key[:])
	users, info, err := readPasswordFile(path)
	if err != nil {
		return nil, err
	}
	f.users, f.seen, f.checked = users, info, time.Now()
	return f, nil
}

// Len returns the number of users.
func (f *PasswordFile) Len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.users)
}

// Authenticate implements Authenticator.
func (f *PasswordFile) Authenticate(ctx context.Context, user string, password []byte) error {
	mac := f.mac(user, password)
	hash, known := f.lookUp(user, mac)
	if known {
		return nil
	}
	select {
	case f.slot <- struct{}{}:
		defer func() { <-f.slot }()
	case <-ctx.Done():
		return ErrBusy
	}
	if hash == nil {
		// As slow as a wrong password, so that users can't be found by time.
		bcrypt.CompareHashAndPassword(nobody(), password)
		return ErrBadCredentials
	}
	if len(password) > passwordMax || bcrypt.CompareHashAndPassword(hash, password) != nil {
		return ErrBadCredentials
	}
	f.mu.Lock()
	f.good[user] = goodPassword{string(hash), mac}
	f.mu.Unlock()
	return nil
}

// lookUp returns the user's hash, and whether the password is known to match.
func (f *PasswordFile) lookUp(user string, mac [sha256.Size]byte) (hash []byte, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh()
	hash = f.users[user]
	g, ok := f.good[user]
	return hash, ok && hash != nil && g.hash == string(hash) && hmac.Equal(g.mac[:], mac[:])
}

// refresh reads the file again when it changed. A file that can't be read
// leaves the users as they are: half an edit must not lock a site out.
func (f *PasswordFile) refresh() {
	now := time.Now()
	if now.Sub(f.checked) < recheckAfter {
		return
	}
	f.checked = now
	info, err := os.Stat(f.path)
	if err != nil || os.SameFile(info, f.seen) && info.ModTime().Equal(f.seen.ModTime()) && info.Size() == f.seen.Size() {
		return
	}
	if users, info, err := readPasswordFile(f.path); err == nil {
		f.users, f.seen = users, info
		clear(f.good)
	}
}

func (f *PasswordFile) mac(user string, password []byte) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, f.key[:])
	fmt.Fprintf(h, "%d:%s", len(user), user)
	h.Write(password)
	h.Sum(sum[:0])
	return sum
}

// nobody is a hash that no password has.
var nobody = sync.OnceValue(func() []byte {
	hash, _ := bcrypt.GenerateFromPassword([]byte(rand.Text()), hashCost)
	return hash
})

func readPasswordFile(path string) (map[string][]byte, fs.FileInfo, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("mqtt: password file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("mqtt: password file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, nil, fmt.Errorf("mqtt: password file %s may be read by others (mode %04o): chmod 600 %s", path, info.Mode().Perm(), path)
	}
	if info.Size() > passwordFileMax {
		return nil, nil, fmt.Errorf("mqtt: password file %s has %d bytes, the limit is %d", path, info.Size(), passwordFileMax)
	}
	users := map[string][]byte{}
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		user, hash, _ := strings.Cut(line, ":")
		if err := checkEntry(user, hash); err != nil {
			return nil, nil, fmt.Errorf("mqtt: password file %s, line %d: %w", path, n, err)
		}
		users[user] = []byte(hash)
	}
	if len(users) > usersMax {
		return nil, nil, fmt.Errorf("mqtt: password file %s has %d users, the limit is %d", path, len(users), usersMax)
	}
	return users, info, lines.Err()
}

func checkEntry(user, hash string) error {
	if err := checkUserName(user); err != nil {
		return err
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil {
		return fmt.Errorf("user %q: not a bcrypt hash; set a password with cistern user add", user)
	}
	if cost > hashCostMax {
		return fmt.Errorf("user %q: bcrypt cost %d is more than %d, each connect would take seconds", user, cost, hashCostMax)
	}
	return nil
}

func checkUserName(user string) error {
	if user == "" || len(user) > userNameMax || user[0] == '#' || strings.ContainsFunc(user, func(r rune) bool { return r <= ' ' || r == ':' || r == 0x7f }) {
		return fmt.Errorf("user name %q: needs 1 to %d bytes without spaces, colons and control characters, and no # at the start", user, userNameMax)
	}
	return nil
}
