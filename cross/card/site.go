// Package card is a gateway from the outside, as an operator and the weather
// see it: an image is made, goes onto a card, the card into a board, the power
// comes, goes in the middle of a write, and comes back; updates are sent; and
// the books of package rig tell whether what was confirmed is at the centre.
//
// The board is an emulator (cross/vm), the card a disk whose cache forgets
// (cross/vm/nbd). The tests are behind the build tag "image": `make test-image`.
// They need qemu-system-arm, mtools and e2fsprogs, no root and no real card.
package card

import (
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"

	"cistern/cross/vm"
	"cistern/firmware/image"
	"cistern/firmware/slot"
	"cistern/gossip/sitekey"
)

// Ports of the gateways here.
const (
	MQTTPort = 1883
	SitePort = 7611
	HTTPPort = 8080
)

// Site is a site's folder, as `cistern-image new` makes one, with listeners
// that let everybody in: they are on this computer's loopback.
type Site struct {
	Dir string
	Key sitekey.Key
}

const siteConfig = `[site]
key_file = "site.key"
gossip = "0.0.0.0:7610"
listen = "0.0.0.0:%d"
bootstrap_expect = 1

[[mqtt.listener]]
address = "0.0.0.0:%d"
anonymous = true

[status]
http = "0.0.0.0:%d"
`

const uplinkConfig = `
[uplink.kafka]
brokers = [%q]
create_topics = true
`

// NewSite writes the folder, with a key of its own and the keys of updates.
func NewSite(dir string) (*Site, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	key, err := sitekey.Generate()
	if err != nil {
		return nil, err
	}
	s := &Site{Dir: dir, Key: key}
	if err := key.Save(filepath.Join(dir, "site.key")); err != nil {
		return nil, err
	}
	if err := image.WriteKeys(dir); err != nil {
		return nil, err
	}
	return s, os.WriteFile(s.Config(), []byte(config("")), 0o600)
}

// OpenSite reads one that is there.
func OpenSite(dir string) (*Site, error) {
	key, err := sitekey.Load(filepath.Join(dir, "site.key"))
	return &Site{dir, key}, err
}

// Config is the name of the site's cistern.toml.
func (s *Site) Config() string { return filepath.Join(s.Dir, image.ConfigFile) }

// UpdateKey is what signs updates for its gateways.
func (s *Site) UpdateKey() (ed25519.PrivateKey, error) {
	return image.ReadPrivate(filepath.Join(s.Dir, slot.PrivateFile))
}

// config is a cistern.toml. uplink is a broker's port on this computer, empty
// for none.
func config(uplink string) string {
	text := fmt.Sprintf(siteConfig, SitePort, MQTTPort, HTTPPort)
	if uplink != "" {
		text += fmt.Sprintf(uplinkConfig, vm.Host+":"+uplink)
	}
	return text
}
