package segstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"cistern/segstore/batch"
	"cistern/segstore/segment"
)

// A patch file holds batches of one partition and one leader epoch that follow
// each other. Its header, 64 bytes, big-endian; CRC is CRC-32C:
//
//	 0 magic            "CISTPAT\x01"
//	 8 store ID         16 bytes
//	24 partition        u32  the store's own number for it
//	28 leader epoch     i32
//	32 first offset     i64
//	40 next offset      i64  one past the last
//	48 length           u32  of the batches that follow
//	52 CRC              u32  of the batches
//	56 CRC              u32  of bytes 0 to 55
//	60 zero             u32
type patchHeader struct {
	Store  segment.StoreID
	Ref    uint32
	Epoch  int32
	First  int64
	Next   int64
	Length uint32
	CRC    uint32
}

const (
	patchMagic     = "CISTPAT\x01"
	patchHeaderLen = 64
	patchSuffix    = ".patch"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func patchName(n uint32) string { return fmt.Sprintf("%08d%s", n, patchSuffix) }

// parsePatchName returns the number of a patch's file name.
func parsePatchName(name string) (uint32, bool) {
	base, ok := strings.CutSuffix(name, patchSuffix)
	if !ok || len(base) != 8 {
		return 0, false
	}
	n, err := strconv.ParseUint(base, 10, 32)
	return uint32(n), err == nil
}

// appendPatch appends a whole patch file. Length and CRC are worked out here.
func (h patchHeader) appendPatch(dst, batches []byte) []byte {
	start := len(dst)
	dst = append(dst, patchMagic...)
	dst = append(dst, h.Store[:]...)
	dst = binary.BigEndian.AppendUint32(dst, h.Ref)
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.Epoch))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.First))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Next))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(batches)))
	dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(batches, castagnoli))
	dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
	dst = binary.BigEndian.AppendUint32(dst, 0)
	return append(dst, batches...)
}

// parsePatchHeader reads the header of a patch file that is size bytes long.
func parsePatchHeader(b []byte, size int64) (h patchHeader, err error) {
	if len(b) < patchHeaderLen || string(b[:8]) != patchMagic {
		return h, errors.New("patch: it has no header of this version")
	}
	if crc32.Checksum(b[:56], castagnoli) != binary.BigEndian.Uint32(b[56:]) || binary.BigEndian.Uint32(b[60:]) != 0 {
		return h, fmt.Errorf("patch: header: %w", segment.ErrChecksum)
	}
	copy(h.Store[:], b[8:])
	h.Ref, h.Epoch = binary.BigEndian.Uint32(b[24:]), int32(binary.BigEndian.Uint32(b[28:]))
	h.First, h.Next = int64(binary.BigEndian.Uint64(b[32:])), int64(binary.BigEndian.Uint64(b[40:]))
	h.Length, h.CRC = binary.BigEndian.Uint32(b[48:]), binary.BigEndian.Uint32(b[52:])
	switch {
	case h.First < 0 || h.Next <= h.First:
		return h, fmt.Errorf("patch: it claims to hold offsets %d to %d", h.First, h.Next-1)
	case int64(h.Length) != size-patchHeaderLen:
		return h, fmt.Errorf("patch: it claims to hold %d bytes of batches, the file has %d", h.Length, size-patchHeaderLen)
	}
	return h, nil
}

// parsePatch verifies a whole patch file and returns its batches, a part of b.
func parsePatch(b []byte) (patchHeader, []byte, error) {
	h, err := parsePatchHeader(b, int64(len(b)))
	if err != nil {
		return h, nil, err
	}
	batches := b[patchHeaderLen:]
	if crc32.Checksum(batches, castagnoli) != h.CRC {
		return h, nil, fmt.Errorf("patch: batches: %w", segment.ErrChecksum)
	}
	at := h.First
	for rest := batches; len(rest) > 0; {
		one, more, err := batch.Next(rest)
		if err != nil {
			return h, nil, fmt.Errorf("patch: %w", err)
		}
		b, err := batch.Verify(one)
		if err != nil {
			return h, nil, fmt.Errorf("patch: %w", err)
		}
		if b.BaseOffset != at || b.LeaderEpoch != h.Epoch {
			return h, nil, fmt.Errorf("patch: found is a batch at offset %d of leader epoch %d, expected %d of %d", b.BaseOffset, b.LeaderEpoch, at, h.Epoch)
		}
		at, rest = b.NextOffset(), more
	}
	if at != h.Next {
		return h, nil, fmt.Errorf("patch: its batches end at offset %d, its header says %d", at, h.Next)
	}
	return h, batches, nil
}
