package flash

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"cistern/firmware/slot"
)

const (
	// blockBytes is what is written and read at once: a card's erase block.
	blockBytes = 4 << 20
	// syncBytes is how much may wait in the system's cache: else the progress
	// shown would be the memory's, and an interrupt would come too late.
	syncBytes = 64 << 20
)

// ErrReadBack is found in the error of who wrote to a card that did not keep
// it.
var ErrReadBack = errors.New("it reads back other bytes than were written: it is worn out, or smaller than it says; throw it away")

// Write writes an image to a device, and reads it back. It gives the image's
// sha256.
func Write(ctx context.Context, image io.Reader, bytes int64, to slot.Disk, progress slot.Progress) (string, error) {
	sum, err := write(ctx, image, bytes, to, progress)
	if err != nil {
		return "", err
	}
	if d, ok := to.(interface{ DropCache() error }); ok {
		if err := d.DropCache(); err != nil {
			return "", fmt.Errorf("reading back: %w", err)
		}
	}
	got, err := readBack(ctx, bytes, to, progress)
	if err != nil {
		return "", fmt.Errorf("reading back: %w", err)
	}
	if got != sum {
		return "", ErrReadBack
	}
	return sum, nil
}

func write(ctx context.Context, image io.Reader, bytes int64, to slot.Disk, progress slot.Progress) (string, error) {
	h := sha256.New()
	buf := make([]byte, blockBytes)
	for at := int64(0); at < bytes; {
		if err := ctx.Err(); err != nil {
			return "", fmt.Errorf("stopped after %s: the device holds half an image now: %w", Size(at), err)
		}
		b := buf[:min(blockBytes, bytes-at)]
		if _, err := io.ReadFull(image, b); err != nil {
			return "", fmt.Errorf("reading the image: %w", err)
		}
		h.Write(b)
		if _, err := to.WriteAt(b, at); err != nil {
			return "", fmt.Errorf("writing: %w", err)
		}
		at += int64(len(b))
		if at%syncBytes == 0 || at == bytes {
			if err := to.Sync(); err != nil {
				return "", fmt.Errorf("writing: %w", err)
			}
			progress(slot.StepWrite, at, bytes)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func readBack(ctx context.Context, bytes int64, from slot.Disk, progress slot.Progress) (string, error) {
	h := sha256.New()
	buf := make([]byte, blockBytes)
	for at := int64(0); at < bytes; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		b := buf[:min(blockBytes, bytes-at)]
		if _, err := from.ReadAt(b, at); err != nil {
			return "", err
		}
		h.Write(b)
		at += int64(len(b))
		progress(slot.StepRead, at, bytes)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
