package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// StoreID tells one store's segments from another's.
type StoreID [16]byte

// Header is page 0 of a segment. It is written once per use of the file,
// together with the first commit, and never changed while that use lasts.
type Header struct {
	Store     StoreID
	ID        uint64 // unique in the store and rising: the generation
	FirstSeq  uint64 // sequence number of the first commit
	SizeBytes uint32 // of the file
	Lane      uint8
}

const (
	headerMagic = "CISTSEG\x01"
	headerLen   = 56
)

// Why a header, commit or footer was not accepted. Both are expected at the
// end of a log and in segments never used; anywhere else they mean corruption.
var (
	ErrNotWritten = errors.New("nothing was written here in this use of the segment")
	ErrChecksum   = errors.New("checksum does not match")
)

// AppendTo appends the header as one whole page.
func (h Header) AppendTo(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, headerMagic...)
	dst = append(dst, h.Store[:]...)
	dst = binary.BigEndian.AppendUint64(dst, h.ID)
	dst = binary.BigEndian.AppendUint64(dst, h.FirstSeq)
	dst = binary.BigEndian.AppendUint32(dst, h.SizeBytes)
	dst = append(dst, h.Lane, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, 0)
	dst = binary.BigEndian.AppendUint32(dst, crcOf(dst[start:]))
	return append(dst, make([]byte, PageSize-(len(dst)-start))...)
}

// ParseHeader reads the first bytes of page 0.
func ParseHeader(page []byte) (Header, error) {
	if len(page) < headerLen || string(page[:8]) != headerMagic {
		return Header{}, fmt.Errorf("segment header: %w", ErrNotWritten)
	}
	if crcOf(page[:headerLen-4]) != binary.BigEndian.Uint32(page[headerLen-4:]) {
		return Header{}, fmt.Errorf("segment header: %w", ErrChecksum)
	}
	h := Header{
		ID:        binary.BigEndian.Uint64(page[24:]),
		FirstSeq:  binary.BigEndian.Uint64(page[32:]),
		SizeBytes: binary.BigEndian.Uint32(page[40:]),
		Lane:      page[44],
	}
	copy(h.Store[:], page[8:])
	return h, nil
}

func crcOf(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }
