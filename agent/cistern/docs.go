//go:build docs

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"cistern/agent/config"
)

const docsHelp = `Docs writes what a package ships beside the program: manual pages in man1 and
man5, and completions for bash, zsh and fish. It is in builds with the tag "docs"
only: ` + "`make deb`" + ` makes one.

    $ go run -tags docs ./agent/cistern docs build/docs
`

func init() { buildTagged = append(buildTagged, newDocs) }

func newDocs() *cobra.Command {
	return &cobra.Command{
		Use:    "docs DIR",
		Long:   docsHelp,
		Hidden: true,
		Args:   arguments(1, 1, "one DIR"),
		RunE: func(c *cobra.Command, args []string) error {
			date, err := sourceDate()
			if err != nil {
				return err
			}
			return writeDocs(c.Root(), args[0], manual{version: version, date: date})
		},
	}
}

// sourceDate is the day on the pages: that of the source, so that two builds
// make the same pages.
func sourceDate() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, usage("export SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)", "SOURCE_DATE_EPOCH is %q: it has to be seconds since 1970", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// writeDocs writes everything under dir.
func writeDocs(root *cobra.Command, dir string, m manual) error {
	for _, sub := range []string{"man1", "man5", "bash", "zsh", "fish"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	write := func(name, text string) error {
		return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)
	}
	for _, c := range commands(root) {
		if err := write(filepath.Join("man1", pageName(c)+".1"), m.command(c)); err != nil {
			return err
		}
	}
	if err := write("man5/cistern.toml.5", m.sample(config.Sample)); err != nil {
		return err
	}
	for name, generate := range map[string]func(string) error{
		"bash/cistern":      func(to string) error { return root.GenBashCompletionFileV2(to, true) },
		"zsh/_cistern":      root.GenZshCompletionFile,
		"fish/cistern.fish": func(to string) error { return root.GenFishCompletionFile(to, true) },
	} {
		if err := generate(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// commands returns c and all below it that people may use.
func commands(c *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			all = append(all, commands(sub)...)
		}
	}
	return all
}
