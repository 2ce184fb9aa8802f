// Command deb makes the Debian packages: armhf (ARMv6, so that it runs on every
// Raspberry Pi), arm64 and amd64, each with the agent, its service, manual pages
// and completions. nfpm puts them together, from a module of its own (folder
// nfpm); folder package holds what goes in as it is.
//
// Two runs over the same source make the same bytes: all times are the commit's.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	agent "cistern/cross/build"
)

func main() { agent.Command("deb", run) }

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("deb", flag.ContinueOnError)
	out := f.String("out", "build/deb", "the `folder` for the packages")
	version := f.String("version", "", "the agent's `version` (default: what git describes)")
	only := f.String("arch", "", "these architectures only: a `list` of "+strings.Join(names(), ","))
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%q: there are flags only; see -help", f.Arg(0))
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	b, err := newBuild(ctx, *version, *out)
	if err != nil {
		return err
	}
	for _, a := range chosen {
		path, err := b.pack(ctx, a)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		fmt.Printf("%s  %.1f MB\n", path, float64(info.Size())/1e6)
	}
	return nil
}
