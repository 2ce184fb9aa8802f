package slot

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
)

// updateMagic is the first line of an update file. Another number is another
// format.
const updateMagic = "CISTERN UPDATE 1\n"

const (
	// manifestBytesMax is more than a manifest ever has.
	manifestBytesMax = 4096
	// PackedBytesMax is what an update file may have after its head.
	PackedBytesMax = 128 << 20
	// windowBytes is the memory that unpacking takes, at both ends.
	windowBytes = 8 << 20
)

// What can be wrong with an update file. One of them is found in every error
// of ReadHead and Apply that is the file's own fault.
var (
	ErrNotUpdate = errors.New("not an update file of Cistern")
	ErrTruncated = errors.New("the update file ends too soon")
	ErrManifest  = errors.New("the update's manifest makes no sense")
	ErrSignature = errors.New("not signed with the key that this gateway trusts")
	ErrBoard     = errors.New("made for another board")
	ErrDamaged   = errors.New("the update file is damaged")
)

// Manifest says what an update holds. It is signed, and through its sums so is
// everything after it.
type Manifest struct {
	Release
	// Bytes and SHA256 are of the slot's image, unpacked.
	Bytes  int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// PackedBytes and PackedSHA256 are of what follows the head in the file.
	PackedBytes  int64  `json:"packed_size"`
	PackedSHA256 string `json:"packed_sha256"`
}

func (m Manifest) check() error {
	if err := m.Release.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrManifest, err)
	}
	switch {
	case m.Bytes < SectorBytes || m.Bytes > SlotBytes || m.Bytes%SectorBytes != 0:
		return fmt.Errorf("%w: %d bytes for a slot of %d", ErrManifest, m.Bytes, int64(SlotBytes))
	case m.PackedBytes < 1 || m.PackedBytes > PackedBytesMax:
		return fmt.Errorf("%w: %d packed bytes, at most %d are taken", ErrManifest, m.PackedBytes, int64(PackedBytesMax))
	}
	for _, sum := range []string{m.SHA256, m.PackedSHA256} {
		if b, err := hex.DecodeString(sum); err != nil || len(b) != sha256.Size {
			return fmt.Errorf("%w: %q is no sha256", ErrManifest, sum)
		}
	}
	return nil
}

// head is what is signed: the magic, the manifest's length, the manifest.
func (m Manifest) head() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if len(text) > manifestBytesMax {
		return nil, fmt.Errorf("%w: it has %d bytes, at most %d are read", ErrManifest, len(text), manifestBytesMax)
	}
	b := binary.BigEndian.AppendUint32([]byte(updateMagic), uint32(len(text)))
	return append(b, text...), nil
}

// ReadHead reads an update's manifest and checks its signature; what follows
// in r is the packed image. A nil key checks no signature: for looking only.
func ReadHead(r io.Reader, pub ed25519.PublicKey) (Manifest, error) {
	head := make([]byte, len(updateMagic)+4)
	if _, err := io.ReadFull(r, head); err != nil {
		return Manifest{}, short(err)
	}
	if !bytes.HasPrefix(head, []byte(updateMagic)) {
		return Manifest{}, ErrNotUpdate
	}
	n := binary.BigEndian.Uint32(head[len(updateMagic):])
	if n == 0 || n > manifestBytesMax {
		return Manifest{}, fmt.Errorf("%w: it has %d bytes, at most %d are read", ErrManifest, n, manifestBytesMax)
	}
	text, sig := make([]byte, n), make([]byte, ed25519.SignatureSize)
	for _, b := range [][]byte{text, sig} {
		if _, err := io.ReadFull(r, b); err != nil {
			return Manifest{}, short(err)
		}
	}
	switch {
	case pub == nil:
	case len(pub) != ed25519.PublicKeySize:
		return Manifest{}, fmt.Errorf("update: the key has %d bytes: %w", len(pub), ErrKey)
	case !ed25519.Verify(pub, append(head, text...), sig):
		return Manifest{}, ErrSignature
	}
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	return m, m.check()
}

// short names the end of a file that should go on.
func short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	return fmt.Errorf("reading the update: %w", err)
}

// packed reads the part after the head: exactly as many bytes as the manifest
// says, and it knows in the end whether they were the right ones.
type packed struct {
	r    io.Reader
	left int64
	sum  hash.Hash
	err  error // of r itself, before somebody wraps it
}

func newPacked(r io.Reader, m Manifest) *packed {
	return &packed{r: r, left: m.PackedBytes, sum: sha256.New()}
}

func (p *packed) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n, err := p.r.Read(b[:min(int64(len(b)), p.left)])
	p.sum.Write(b[:n])
	p.left -= int64(n)
	switch {
	case err == io.EOF && p.left > 0:
		p.err = ErrTruncated
	case err != nil && err != io.EOF:
		p.err = short(err)
	}
	return n, p.err
}

// finish reads what the unpacker left over and compares.
func (p *packed) finish(m Manifest) error {
	if _, err := io.Copy(io.Discard, p); err != nil {
		return err
	}
	if got := hex.EncodeToString(p.sum.Sum(nil)); got != m.PackedSHA256 {
		return ErrDamaged
	}
	var b [1]byte
	switch n, err := io.ReadFull(p.r, b[:]); {
	case n > 0:
		return fmt.Errorf("%w: something follows its end", ErrDamaged)
	case err != io.EOF:
		return short(err)
	}
	return nil
}
