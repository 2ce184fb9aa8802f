package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version and commit are set by make and the release build (-ldflags "-X
// main.version=... -X main.commit=..."): what git knows is in a build only where
// it was built from a clone, and with other bytes for it.
var version, commit = "dev", ""

const versionHelp = `Version says which build this is: its version, the commit it was made from when
the build knows it, and the platform.

    $ cistern version
`

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:  "version",
		Long: versionHelp,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(c.OutOrStdout(), "cistern %s %s/%s %s\n", fullVersion(), runtime.GOOS, runtime.GOARCH, runtime.Version())
			return err
		},
	}
}

// fullVersion adds the commit when the build was told it, or recorded it.
func fullVersion() string {
	c := commit
	if info, ok := debug.ReadBuildInfo(); ok && c == "" {
		c = recordedCommit(info)
	}
	if len(c) < shownCommit {
		return version
	}
	return version + " (" + c[:shownCommit] + ")"
}

// shownCommit is how much of a commit is shown: enough to find it.
const shownCommit = 12

func recordedCommit(info *debug.BuildInfo) string {
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
