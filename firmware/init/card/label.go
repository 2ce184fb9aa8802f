package card

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"

	"cistern/firmware/slot"
)

// ErrNoData is found in the error of a data partition that is not ours.
var ErrNoData = errors.New("the data partition holds no file system of Cistern")

// superblockAt and superblockBytes say what is looked at, in both file systems.
const (
	superblockAt    = 1024
	superblockBytes = 2048
)

// Identify tells which file system the data partition holds, from its
// superblock: ext4's or F2FS's, with our label on it.
func Identify(card io.ReaderAt) (Kind, error) {
	b := make([]byte, superblockBytes)
	if _, err := card.ReadAt(b, slot.DataStart+superblockAt); err != nil {
		return "", fmt.Errorf("data partition: %w", err)
	}
	kind, label := superblock(b)
	if kind == "" {
		return "", fmt.Errorf("data partition: neither ext4 nor F2FS: %w", ErrNoData)
	}
	if label != slot.DataLabel {
		return "", fmt.Errorf("data partition: %s with the label %q, not %q: %w", kind, label, slot.DataLabel, ErrNoData)
	}
	return kind, nil
}

func superblock(b []byte) (Kind, string) {
	const (
		ext4Magic, ext4MagicAt, ext4LabelAt = 0xef53, 0x38, 0x78
		f2fsMagic, f2fsLabelAt              = 0xf2f52010, 0x7c
	)
	le := binary.LittleEndian
	switch {
	case le.Uint16(b[ext4MagicAt:]) == ext4Magic:
		label, _, _ := strings.Cut(string(b[ext4LabelAt:ext4LabelAt+16]), "\x00")
		return Ext4, label
	case le.Uint32(b) == f2fsMagic:
		var units []uint16
		for at := f2fsLabelAt; at < f2fsLabelAt+64 && le.Uint16(b[at:]) != 0; at += 2 {
			units = append(units, le.Uint16(b[at:]))
		}
		return F2FS, string(utf16.Decode(units))
	}
	return "", ""
}
