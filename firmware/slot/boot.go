package slot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Files in the root of p1.
const (
	AutobootFile = "autoboot.txt"
	// TryFile is read where no Pi firmware is: by who plays it for the emulator.
	TryFile = "boot.txt"
)

// ErrBootFile is found in the error of who reads an autoboot.txt or boot.txt
// that says something else than we ever write.
var ErrBootFile = errors.New("says something else than Cistern writes")

// autobootText is the format of the Pi's firmware: the second section counts
// for a boot that was asked to be a try.
const autobootText = "[all]\ntryboot_a_b=1\nboot_partition=%d\n[tryboot]\nboot_partition=%d\n"

// AutobootSector is autoboot.txt for a card that boots s, and s.Other() on a
// try: one sector, padded with newlines.
func AutobootSector(s Slot) [SectorBytes]byte {
	return pad(fmt.Sprintf(autobootText, s.Partition(), s.Other().Partition()))
}

// TrySector is boot.txt.
func TrySector(try bool) [SectorBytes]byte {
	if try {
		return pad("try=1\n")
	}
	return pad("try=0\n")
}

func pad(text string) [SectorBytes]byte {
	var b [SectorBytes]byte
	n := copy(b[:], text)
	for i := n; i < len(b); i++ {
		b[i] = '\n'
	}
	return b
}

// Default reads which slot the card boots when nothing is tried.
func Default(card io.ReaderAt) (Slot, error) {
	text, _, err := readBoot(card, AutobootFile)
	if err != nil {
		return 0, err
	}
	return parseAutoboot(text)
}

func parseAutoboot(text string) (Slot, error) {
	for _, s := range []Slot{A, B} {
		if text == fmt.Sprintf(autobootText, s.Partition(), s.Other().Partition()) {
			return s, nil
		}
	}
	return 0, fmt.Errorf("%s: %w", AutobootFile, ErrBootFile)
}

// SetDefault makes the card boot s from now on, by writing one sector in
// place. An autoboot.txt that somebody has edited is put right by it; one that
// is missing or too short is not.
func SetDefault(card Disk, s Slot) error {
	return writeBoot(card, AutobootFile, AutobootSector(s))
}

// Try reads whether the next boot is to be a try of the other slot, where no
// Pi firmware keeps that in mind.
func Try(card io.ReaderAt) (bool, error) {
	text, _, err := readBoot(card, TryFile)
	if err != nil {
		return false, err
	}
	switch text {
	case "try=0\n":
		return false, nil
	case "try=1\n":
		return true, nil
	}
	return false, fmt.Errorf("%s: %w", TryFile, ErrBootFile)
}

// SetTry writes what Try reads.
func SetTry(card Disk, try bool) error {
	return writeBoot(card, TryFile, TrySector(try))
}

// readBoot gives a file's text without its padding, and where on the card its
// sector is.
func readBoot(card io.ReaderAt, name string) (string, int64, error) {
	at, n, err := bootSector(card, name)
	if err != nil {
		return "", 0, err
	}
	b := make([]byte, n)
	if _, err := card.ReadAt(b, at); err != nil {
		return "", 0, fmt.Errorf("%s: %w", name, err)
	}
	// An editor may have saved it with another system's line ends.
	text := strings.ReplaceAll(string(b), "\r\n", "\n")
	return strings.TrimRight(text, "\r\n") + "\n", at, nil // the sector may end between the two
}

func writeBoot(card Disk, name string, b [SectorBytes]byte) error {
	at, n, err := bootSector(card, name)
	if err != nil {
		return err
	}
	if text := bytes.TrimRight(b[:], "\n"); n <= int64(len(text)) {
		return fmt.Errorf("%s: has room for %d bytes of %d: somebody has edited it; "+
			"put the file of the image back, 512 bytes long", name, n, len(text)+1)
	}
	if err := writeSector(card, at, b); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// bootFileMax is what a boot file may have got by an editor: its line ends twice
// as long, and some more of them.
const bootFileMax = 4 << 10

// bootSector finds a file's sector on the card: an operator's laptop may have
// moved it, and may have made it longer. What counts must be in the sector, since
// nothing else of the file is looked at or written.
func bootSector(card io.ReaderAt, name string) (at, bytes int64, err error) {
	if _, err := ReadTable(card); err != nil {
		return 0, 0, err
	}
	f, err := OpenFAT(io.NewSectionReader(card, BootStart, BootBytes))
	if err != nil {
		return 0, 0, fmt.Errorf("partition %d: %w", BootPartition, err)
	}
	at, bytes, err = f.firstSector(name)
	if err != nil {
		return 0, 0, fmt.Errorf("partition %d: %w", BootPartition, err)
	}
	whole, err := f.ReadFile(name, bootFileMax)
	if err == nil && len(whole) > SectorBytes && strings.TrimSpace(string(whole[SectorBytes:])) != "" {
		err = fmt.Errorf("%s: goes on after %d bytes: somebody has edited it; put the file of the image back: %w", name, SectorBytes, ErrBootFile)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("partition %d: %w", BootPartition, err)
	}
	if at+SectorBytes > BootBytes {
		return 0, 0, fmt.Errorf("partition %d: %s lies outside of it: %w", BootPartition, name, ErrFAT)
	}
	return BootStart + at, bytes, nil
}
