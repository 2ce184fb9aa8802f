package machinetest

import (
	"crypto/ed25519"
	"crypto/rand"
	"os"

	"cistern/firmware/slot"
)

// WriteUpdate writes an update file of that release, about as large as the image
// it says it holds: noise, that can't be packed. It is signed with a key of its own.
func WriteUpdate(path string, r slot.Release, imageBytes int) (slot.Manifest, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return slot.Manifest{}, err
	}
	image := make([]byte, imageBytes/slot.SectorBytes*slot.SectorBytes)
	if _, err := rand.Read(image); err != nil {
		return slot.Manifest{}, err
	}
	f, err := os.Create(path)
	if err != nil {
		return slot.Manifest{}, err
	}
	m, err := slot.WriteUpdate(f, key, r, image)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return m, err
}
