package slot

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// blockBytes is what is written and read at once.
const blockBytes = 1 << 20

// Progress is told how many of how many bytes are done. It is called from the
// one who called Apply, twice over the whole: writing, then reading back.
type Progress func(step string, done, total int64)

// The steps that Progress is told.
const (
	StepWrite = "write"
	StepRead  = "read back"
)

// Apply writes the update in r to dst, which is a slot (see Slot.On) that
// nothing runs from. Signature and board are checked before the first byte is
// written. The slot's boot sector is taken away first and written last, so
// that a slot is whole or boots nothing; then everything is read back and
// compared. What an error leaves behind is a slot without a system.
func Apply(r io.Reader, pub ed25519.PublicKey, board string, dst Disk, progress Progress) (Manifest, error) {
	if len(pub) != ed25519.PublicKeySize {
		return Manifest{}, fmt.Errorf("update: %w", ErrKey)
	}
	m, err := ReadHead(r, pub)
	if err != nil {
		return Manifest{}, fmt.Errorf("update: %w", err)
	}
	if m.Board != board {
		return m, fmt.Errorf("update: made for the board %q, this is %q: %w", m.Board, board, ErrBoard)
	}
	if progress == nil {
		progress = func(string, int64, int64) {}
	}
	if err := apply(r, m, dst, progress); err != nil {
		return m, fmt.Errorf("update %s: %w", m.Version, errors.Join(err, wipe(dst)))
	}
	return m, nil
}

// wipe takes the boot sector away.
func wipe(dst Disk) error {
	var none [SectorBytes]byte
	if _, err := dst.WriteAt(none[:], 0); err != nil {
		return fmt.Errorf("writing the slot: %w", err)
	}
	return syncSlot(dst)
}

func syncSlot(dst Disk) error {
	if err := dst.Sync(); err != nil {
		return fmt.Errorf("writing the slot: %w", err)
	}
	return nil
}

func apply(r io.Reader, m Manifest, dst Disk, progress Progress) error {
	p := newPacked(r, m)
	z, err := zstd.NewReader(p, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(windowBytes), zstd.WithDecoderMaxMemory(SlotBytes))
	if err != nil {
		return err
	}
	defer z.Close()
	// Before anything else changes: a slot must never have a boot sector and
	// half a system.
	if err := wipe(dst); err != nil {
		return err
	}
	first, err := unpack(z, p, m, dst, progress)
	if err != nil {
		return err
	}
	if err := p.finish(m); err != nil {
		return err
	}
	if err := syncSlot(dst); err != nil {
		return err
	}
	if _, err := dst.WriteAt(first, 0); err != nil {
		return fmt.Errorf("writing the slot: %w", err)
	}
	if err := syncSlot(dst); err != nil {
		return err
	}
	return readBack(m, dst, progress)
}

// unpack writes everything but the first sector, which it gives back.
func unpack(z io.Reader, p *packed, m Manifest, dst Disk, progress Progress) ([]byte, error) {
	sum := sha256.New()
	first := make([]byte, SectorBytes)
	buf := make([]byte, blockBytes)
	for at := int64(0); at < m.Bytes; {
		b := buf[:min(blockBytes, m.Bytes-at)]
		if _, err := io.ReadFull(z, b); err != nil {
			return nil, unpackError(p, err)
		}
		sum.Write(b)
		off, rest := at, b
		if at == 0 {
			copy(first, b)
			off, rest = SectorBytes, b[SectorBytes:]
		}
		if _, err := dst.WriteAt(rest, off); err != nil {
			return nil, fmt.Errorf("writing the slot: %w", err)
		}
		at += int64(len(b))
		progress(StepWrite, at, m.Bytes)
	}
	var b [1]byte
	if n, err := io.ReadFull(z, b[:]); n > 0 {
		return nil, fmt.Errorf("%w: it holds more than its manifest says", ErrDamaged)
	} else if err != io.EOF {
		return nil, unpackError(p, err)
	}
	if hex.EncodeToString(sum.Sum(nil)) != m.SHA256 {
		return nil, ErrDamaged
	}
	return first, nil
}

// unpackError tells a file that is damaged from one that could not be read.
func unpackError(p *packed, err error) error {
	if p.err != nil {
		return p.err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// ErrReadBack is found in the error of an update that the card did not keep.
var ErrReadBack = errors.New("the card reads back other bytes than were written: it is worn out or not what it says it is")

func readBack(m Manifest, dst Disk, progress Progress) error {
	if err := dropCache(dst); err != nil {
		return fmt.Errorf("reading the slot back: %w", err)
	}
	sum := sha256.New()
	buf := make([]byte, blockBytes)
	for at := int64(0); at < m.Bytes; {
		b := buf[:min(blockBytes, m.Bytes-at)]
		if _, err := dst.ReadAt(b, at); err != nil {
			return fmt.Errorf("reading the slot back: %w", err)
		}
		sum.Write(b)
		at += int64(len(b))
		progress(StepRead, at, m.Bytes)
	}
	if hex.EncodeToString(sum.Sum(nil)) != m.SHA256 {
		return ErrReadBack
	}
	return nil
}
