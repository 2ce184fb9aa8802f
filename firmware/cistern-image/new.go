package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"cistern/firmware/image"
)

const newHelp = `New makes a folder with what a site's cards need:

    cistern.toml   the configuration of all gateways: edit it
    gateway.toml   what differs on one gateway; a sample: copy it for each
    site.key       the site's secret
    users          who may publish; "cistern user add NAME --file users" adds devices
    update.key     signs updates: keep it safe, it never goes onto a card
    update.pub     its other half, which the gateways trust

    $ cistern-image new plant-7
`

// siteConfig is for three gateways; what else there is, "cistern config" tells.
const siteConfig = `# The configuration of all gateways of this site. Every key: cistern config
# What differs between them stands in gateway.toml.

[gateway]
site = "%s"

[site]
key_file = "site.key"
gossip = "0.0.0.0:7610"
listen = "0.0.0.0:7611"
# They find each other by mDNS in one network. Across routers, write the gossip
# addresses of some instead: join = ["10.0.0.11:7610", "10.0.0.12:7610"]
mdns = true
# How many gateways must see each other before the site begins. With one or two
# in all, write 1 or 2.
bootstrap_expect = 3

[mqtt]
# Who may publish: cistern user add NAME --file users
password_file = "users"

[[mqtt.listener]]
address = "0.0.0.0:1883"

# The centre. Until it is named here, gateways buffer.
# [uplink.kafka]
# brokers = ["kafka.example.com:9092"]
`

const gatewayConfig = `# What differs on this one gateway. It goes onto its card, into the folder
# cistern of the first partition: cistern-image flash --gateway FILE, or by hand.
# Any key of cistern.toml may stand here too, and wins.

[machine]
# The gateway's name on the site, for ever. Without it, it is made from the
# board's serial number: cistern-1a2b3c4d
# hostname = "hall-1"

# "dhcp", or an address with its network:
# address = "10.0.0.11/24"
# router = "10.0.0.1"
# dns = ["10.0.0.1"]

# Where the time comes from. Empty: what DHCP says, else pool.ntp.org.
# ntp = []

[site]
# What fails together: a power circuit, a building. Copies go to different zones.
# zone = "hall-1"
`

const newNext = `%[1]s is ready. Next:

  1. edit %[1]s/cistern.toml: the uplink, how many gateways
  2. add a user for your devices:     cistern user add NAME --file %[1]s/users
  3. build the image:                 make image CONFIG=%[1]s/cistern.toml
  4. for each gateway copy gateway.toml, and flash a card with it:
                                      make flash DEV=/dev/sdX GATEWAY=hall-1.toml

Keep a copy of %[1]s/site.key and %[1]s/update.key in a safe place.
`

func newNew() *cobra.Command {
	check := checking{}
	c := &cobra.Command{
		Use:  "new FOLDER",
		Long: newHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cistern, err := check.find(c)
			if err != nil {
				return err
			}
			if err := scaffold(c.Context(), cistern, args[0]); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), newNext, args[0])
			return err
		},
	}
	c.Flags().StringVar(&check.checker, "checker", "", "make keys with this cistern `PROGRAM` (default: the source tree's)")
	return c
}

// scaffold fills a folder that is not there yet, or is empty.
func scaffold(ctx context.Context, cistern, dir string) error {
	there, err := os.ReadDir(dir)
	switch {
	case err == nil && len(there) > 0:
		return fmt.Errorf("%s: has files in it, which might be a site's: name another folder", dir)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	full, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		image.ConfigFile:  fmt.Sprintf(siteConfig, siteName(filepath.Base(full))),
		image.GatewayFile: gatewayConfig,
		"users":           "",
	} {
		if err := image.WriteNew(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if err := image.WriteKeys(dir); err != nil {
		return err
	}
	made := exec.CommandContext(ctx, cistern, "site", "init", "--key", filepath.Join(dir, "site.key"))
	if out, err := made.CombinedOutput(); err != nil {
		return fmt.Errorf("making %s: %w: %s", filepath.Join(dir, "site.key"), err, strings.TrimSpace(string(out)))
	}
	return checkFolder(ctx, cistern, dir)
}

// siteName makes one of a folder's name: it goes into records and topics.
func siteName(folder string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, folder)
	if name = strings.Trim(name, "-."); name == "" {
		return "default"
	}
	return name[:min(len(name), siteNameMax)]
}

// siteNameMax is shorter than what the agent takes.
const siteNameMax = 40
