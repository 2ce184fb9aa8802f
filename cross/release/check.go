package main

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"cistern/firmware/image"
)

// check looks at a binary as a gateway's kernel would, and returns its size.
func check(t target, path string, s image.Source) (int64, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	if err := checkELF(t, content); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	for _, told := range []string{s.Version, s.Commit} {
		if !bytes.Contains(content, []byte(told)) {
			return 0, fmt.Errorf("%s: the linker did not write %q into it: are version and commit still variables of main?", path, told)
		}
	}
	size := int64(len(content))
	if t.bytesMax > 0 && size > t.bytesMax {
		return 0, fmt.Errorf("%s: %d bytes, at most %d are promised", path, size, t.bytesMax)
	}
	return size, nil
}

func checkELF(t target, content []byte) error {
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return err
	}
	if f.Machine != t.machine {
		return fmt.Errorf("it is for %v, and %s is %v", f.Machine, t.name, t.machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			return fmt.Errorf("it is not static: it has %v", p.Type)
		}
	}
	return nil
}

// writeSums writes SHA256SUMS, as sha256sum -c reads it.
func writeSums(dir string, files []string) error {
	var b strings.Builder
	for _, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(content), filepath.Base(path))
	}
	return os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(b.String()), 0o644)
}
