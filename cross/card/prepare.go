package card

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"cistern/firmware/image"
	"cistern/firmware/slot"
)

// configure writes cistern.toml into the card's boot partition.
func configure(ctx context.Context, file, text string) error {
	cmd := exec.CommandContext(ctx, "mcopy", "-o", "-i", fmt.Sprintf("%s@@%d", file, slot.BootStart), "-",
		"::"+image.BootFolder+"/"+image.ConfigFile)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("writing the configuration onto the card: mcopy (Debian: mtools): %w: %s", err, out)
	}
	return nil
}

// copySparse copies a file and leaves out what is empty in it. The copy has at
// least so many bytes.
func copySparse(to, from string, bytes int64) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := out.Truncate(max(bytes, info.Size())); err != nil {
		return err
	}
	buf, empty := make([]byte, 1<<20), string(make([]byte, 1<<20))
	for at := int64(0); ; {
		n, err := io.ReadFull(in, buf)
		if n > 0 && string(buf[:n]) != empty[:n] {
			if _, err := out.WriteAt(buf[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return out.Close()
		default:
			return err
		}
	}
}
