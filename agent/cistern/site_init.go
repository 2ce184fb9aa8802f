package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"cistern/agent/secret"
	"cistern/gossip/sitekey"
)

const siteInitHelp = `Init makes the key of a new site, a file that only its owner can read, and says
what to do with it. Do this once, on one gateway: a site is the gateways that have
the same key.

    $ cistern site init --key /etc/cistern/site.key

A key that is there is never overwritten.
`

const siteInitNext = `%[1]s is the key of a new site (fingerprint %[2]s). Whoever has it can join the
site and read its records. It has to belong to the user that the agent runs as. Copy
it to every gateway, for example:

    scp %[1]s root@gateway-2:%[3]s

and write into the configuration of each, with its own name and address:

    [gateway]
    name = "gateway-1"
    site = "plant-7"

    [site]
    key_file = "%[3]s"
    gossip = "10.0.0.11:7610"
    listen = "10.0.0.11:7611"
    join = ["10.0.0.11:7610", "10.0.0.12:7610", "10.0.0.13:7610"]

Start them in any order. The site begins when three of them see each other
(bootstrap_expect = 3), and "cistern site" shows it on any of them. A site of one
or two gateways needs bootstrap_expect = 1 or 2 on all of them.
`

func newSiteInit() *cobra.Command {
	key := "site.key"
	c := &cobra.Command{
		Use:  "init",
		Long: siteInitHelp,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			k, err := sitekey.Generate()
			if err != nil {
				return err
			}
			if err := k.Save(key); err != nil {
				if errors.Is(err, fs.ErrExist) {
					return hinted(err, "a gateway that joins a site takes that site's key; for another site name another file with --key")
				}
				return err
			}
			if err := secret.Give(key, filepath.Dir(key)); err != nil {
				return err
			}
			full, err := filepath.Abs(key)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), siteInitNext, key, k.Fingerprint(), full)
			return err
		},
	}
	c.Flags().StringVar(&key, "key", key, "the `FILE` to make")
	return c
}
