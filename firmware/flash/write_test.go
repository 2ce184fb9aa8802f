package flash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"cistern/firmware/slot"
)

// device is a slot.Disk over a file that can lose what it was given.
type device struct {
	*slot.File
	lose  int64 // a write that begins here never arrives; negative: none
	onEnd func()
}

func (d *device) WriteAt(p []byte, off int64) (int, error) {
	if d.onEnd != nil {
		d.onEnd()
	}
	if off == d.lose {
		return len(p), nil
	}
	return d.File.WriteAt(p, off)
}

func open(t *testing.T, bytes int64) (*device, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "device")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(bytes); err != nil {
		t.Fatal(err)
	}
	return &device{File: slot.NewFile(f), lose: -1}, path
}

// testImage is not empty anywhere.
func testImage() []byte {
	b := make([]byte, 3*blockBytes+blockBytes/2)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func nothing(string, int64, int64) {}

func TestWrite(t *testing.T) {
	img := testImage()
	d, path := open(t, int64(len(img))*2)
	last := map[string]int64{}
	sum, err := Write(t.Context(), bytes.NewReader(img), int64(len(img)), d, func(step string, done, total int64) { last[step] = done })
	if err != nil {
		t.Fatal(err)
	}
	if want := sha256.Sum256(img); sum != hex.EncodeToString(want[:]) {
		t.Errorf("sum %s", sum)
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got[:len(img)], img) {
		t.Errorf("the device holds something else: %v", err)
	}
	if n := int64(len(img)); last[slot.StepWrite] != n || last[slot.StepRead] != n {
		t.Errorf("progress ended at %v of %d", last, n)
	}
}

func TestADeviceThatDoesNotKeepIt(t *testing.T) {
	img := testImage()
	d, _ := open(t, int64(len(img)))
	d.lose = blockBytes
	if _, err := Write(t.Context(), bytes.NewReader(img), int64(len(img)), d, nothing); !errors.Is(err, ErrReadBack) {
		t.Errorf("%v", err)
	}
}

func TestAnImageThatIsTooShort(t *testing.T) {
	img := testImage()
	d, _ := open(t, int64(len(img)))
	if _, err := Write(t.Context(), bytes.NewReader(img[:len(img)-1]), int64(len(img)), d, nothing); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
}

func TestInterrupted(t *testing.T) {
	img := testImage()
	d, _ := open(t, int64(len(img)))
	ctx, cancel := context.WithCancel(t.Context())
	d.onEnd = cancel
	if _, err := Write(ctx, bytes.NewReader(img), int64(len(img)), d, nothing); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
