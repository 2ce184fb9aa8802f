//go:build docs

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"cistern/agent/config"
)

var testManual = manual{version: "v1.2.3", date: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)}

// Every command that people may use has a page, and nobody else has one.
func TestDocsForEveryCommand(t *testing.T) {
	dir := t.TempDir()
	if err := writeDocs(newRoot(), dir, testManual); err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "man1", "*"))
	if err != nil || len(pages) != len(commands(newRoot())) {
		t.Errorf("%d pages for %d commands, %v", len(pages), len(commands(newRoot())), err)
	}
	for _, name := range []string{"man1/cistern.1", "man1/cistern-run.1", "man1/cistern-site-init.1", "man5/cistern.toml.5", "bash/cistern", "zsh/_cistern", "fish/cistern.fish"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() < 200 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "man1/cistern-docs.1")); err == nil {
		t.Error("there is a page for this command itself")
	}
	if out, err := exec.Command("bash", "-n", filepath.Join(dir, "bash/cistern")).CombinedOutput(); err != nil {
		t.Errorf("bash can't read its completion: %v\n%s", err, out)
	}
}

func TestDocsPageOfACommand(t *testing.T) {
	c := &cobra.Command{Use: "add NAME", Long: "Add makes a user - or two.\n.dots and 'quotes' stay, and so does \\.\n\n    $ cistern add x\n    x-1\n"}
	c.Flags().String("file", "", "the password `FILE`")
	root := &cobra.Command{Use: "cistern"}
	root.AddCommand(c)
	want := `.TH CISTERN-ADD 1 2026-11-22 "cistern v1.2.3" "Cistern"
.SH NAME
cistern-add \- Add makes a user \- or two
.SH SYNOPSIS
.B cistern add NAME [OPTIONS]
.SH DESCRIPTION
.PP
Add makes a user \- or two.
\&.dots and \(aqquotes\(aq stay, and so does \e.
.PP
.RS 4
.nf
$ cistern add x
x\-1
.fi
.RE
.SH OPTIONS
.TP
\fB\-\-file\fR \fIFILE\fR
the password FILE
.SH SEE ALSO
cistern(1), cistern.toml(5)
`
	if got := testManual.command(c); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Every key of the sample stands on the page.
func TestDocsOfTheConfiguration(t *testing.T) {
	page := testManual.sample(config.Sample)
	for line := range strings.Lines(config.Sample) {
		key, _, isKey := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "# "), " = ")
		if isKey && !strings.HasPrefix(line, "##") && !strings.Contains(page, "\n"+roff(key)+" = ") {
			t.Errorf("the page leaves out %s", key)
		}
	}
}

func TestDocsNeedTheSourcesDate(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if _, err := sourceDate(); err == nil {
		t.Error("a date that is none was taken")
	}
}
