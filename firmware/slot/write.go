package slot

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// WriteUpdate writes an update file: image is a slot's, whole sectors. Equal
// input makes an equal file.
func WriteUpdate(w io.Writer, key ed25519.PrivateKey, release Release, image []byte) (Manifest, error) {
	if len(key) != ed25519.PrivateKeySize {
		return Manifest{}, fmt.Errorf("update: %w", ErrKey)
	}
	if len(image) > SlotBytes {
		return Manifest{}, fmt.Errorf("update: the image has %d bytes, a slot has room for %d", len(image), int64(SlotBytes))
	}
	var packed bytes.Buffer
	// One goroutine: what several would write depends on the machine.
	z, err := zstd.NewWriter(&packed, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(windowBytes),
		zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	if err != nil {
		return Manifest{}, err
	}
	if _, err := z.Write(image); err != nil {
		return Manifest{}, err
	}
	if err := z.Close(); err != nil {
		return Manifest{}, err
	}
	m := Manifest{
		Release: release,
		Bytes:   int64(len(image)), SHA256: sha256Hex(image),
		PackedBytes: int64(packed.Len()), PackedSHA256: sha256Hex(packed.Bytes()),
	}
	head, err := m.head()
	if err != nil {
		return Manifest{}, fmt.Errorf("update: %w", err)
	}
	for _, b := range [][]byte{head, ed25519.Sign(key, head), packed.Bytes()} {
		if _, err := w.Write(b); err != nil {
			return Manifest{}, fmt.Errorf("update: %w", err)
		}
	}
	return m, nil
}

func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
