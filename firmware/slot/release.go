package slot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ReleaseFile is in the root of every slot.
const ReleaseFile = "release.json"

// releaseBytesMax is far more than one has.
const releaseBytesMax = 4096

// The boards there are images for.
const (
	BoardPi   = "pi"
	BoardQemu = "qemu"
)

// Release says which system this is.
type Release struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Board   string `json:"board"`
	// Build tells systems apart that have the same version: it is made of what
	// is in them.
	Build string `json:"build"`
}

// ErrRelease is found in the error of who reads a damaged release.json.
var ErrRelease = errors.New("no release that can be read")

// wordMax bounds each word of a Release: they end up in file names, logs and on
// command lines.
const wordMax = 128

// Check holds that every word is there, printable, and safe in a file name.
func (r Release) Check() error {
	for _, w := range []struct{ name, word string }{
		{"version", r.Version}, {"commit", r.Commit}, {"board", r.Board}, {"build", r.Build},
	} {
		if w.word == "" || len(w.word) > wordMax {
			return fmt.Errorf("release: %s has %d characters, not 1 to %d: %w", w.name, len(w.word), wordMax, ErrRelease)
		}
		bad := func(c rune) bool { return c <= ' ' || c > '~' || c == '/' || c == '\\' }
		if strings.ContainsFunc(w.word, bad) {
			return fmt.Errorf("release: %s is %q: letters, digits and signs but no slash: %w", w.name, w.word, ErrRelease)
		}
	}
	return nil
}

// ParseRelease reads release.json.
func ParseRelease(b []byte) (Release, error) {
	var r Release
	if err := json.Unmarshal(b, &r); err != nil {
		return Release{}, fmt.Errorf("release: %w: %w", ErrRelease, err)
	}
	return r, r.Check()
}

// ReadRelease tells which system is in a slot. r begins where the slot begins:
// s.On(card), or the partition's own device.
func ReadRelease(r io.ReaderAt) (Release, error) {
	f, err := OpenFAT(r)
	if err != nil {
		return Release{}, err
	}
	b, err := f.ReadFile(ReleaseFile, releaseBytesMax)
	if err != nil {
		return Release{}, err
	}
	return ParseRelease(b)
}
