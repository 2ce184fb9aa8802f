package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"cistern/agent/status"
	"cistern/firmware/machine"
	"cistern/firmware/slot"
)

// updateFile is an update, and what it says of itself. Whether that is true only
// a gateway can tell, which has the key; a file that was cut off is seen here.
type updateFile struct {
	slot.Manifest
	path string
	size int64
}

func readUpdate(path string) (*updateFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	u := &updateFile{path: path, size: info.Size()}
	u.Manifest, err = slot.ReadHead(f, nil)
	if err == nil {
		var head int64
		if head, err = f.Seek(0, io.SeekCurrent); err == nil && head+u.PackedBytes != u.size {
			err = slot.ErrTruncated
			if head+u.PackedBytes < u.size {
				err = slot.ErrDamaged
			}
		}
	}
	if errors.Is(err, slot.ErrNotUpdate) {
		return nil, hinted(fmt.Errorf("%s: %w", path, err), "updates have names like cistern-1.3-pi.update; an image (.img) is for an empty card")
	}
	if err != nil {
		return nil, hinted(fmt.Errorf("%s: %w", path, err), "copy it again from where it was made")
	}
	return u, nil
}

// String says what it is in one line.
func (u *updateFile) String() string {
	return fmt.Sprintf("%s: version %s (commit %s) for board %s, %s", u.path, u.Version, u.Commit, u.Board, humanBytes(u.size))
}

// runsOn reports whether a machine runs this very build, on trial or for good.
func (u *updateFile) runsOn(m *status.Machine) bool { return m.Build == u.Build }

// send has a gateway write it to its other slot. sent hears how much has left.
func (u *updateFile) send(ctx context.Context, agent *status.Client, sent func(int64)) (machine.WrittenUpdate, error) {
	f, err := os.Open(u.path)
	if err != nil {
		return machine.WrittenUpdate{}, err
	}
	defer f.Close()
	return agent.Update(ctx, &counted{r: f, count: sent}, u.size)
}

// counted tells how much was read.
type counted struct {
	r     io.Reader
	n     int64
	count func(int64)
}

// Read implements io.Reader.
func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	c.count(c.n)
	return n, err
}
