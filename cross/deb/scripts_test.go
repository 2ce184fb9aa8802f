package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// machine is a folder that a package's scripts take for the whole machine.
type machine struct {
	t    *testing.T
	root string
}

func newMachine(t *testing.T) machine {
	m := machine{t, t.TempDir()}
	for _, dir := range []string{"bin", "var/lib/cistern", "var/lib/misc", "etc/cistern"} {
		m.ok(os.MkdirAll(m.at(dir), 0o755))
	}
	m.put("etc/cistern/site.key", "k")
	m.tool("cistern", "exit 3") // no agent is running
	return m
}

func (m machine) at(name string) string { return filepath.Join(m.root, name) }

func (m machine) ok(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m machine) put(name, text string) {
	m.t.Helper()
	m.ok(os.WriteFile(m.at(name), []byte(text), 0o644))
}

// tool puts a script into the way of a program.
func (m machine) tool(name, script string) {
	m.t.Helper()
	m.ok(os.WriteFile(m.at("bin/"+name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
}

// run runs a script of the package, whose ways lead into the machine, and returns
// what it printed. It has to succeed: dpkg would go no further.
func (m machine) run(script string, args ...string) string {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join("package", script))
	m.ok(err)
	within := strings.NewReplacer("/var/lib/", m.at("var/lib")+"/", "/etc/cistern", m.at("etc/cistern"),
		"/run/systemd", m.at("run/systemd"), "/usr/bin/deb-systemd", m.at("bin/deb-systemd"))
	c := exec.CommandContext(m.t.Context(), "sh", append([]string{"-c", within.Replace(string(text)), script}, args...)...)
	c.Env = append(os.Environ(), "PATH="+m.at("bin")+":"+os.Getenv("PATH"))
	out, err := c.CombinedOutput()
	if err != nil {
		m.t.Errorf("%s %v: %v\n%s", script, args, err, out)
	}
	return string(out)
}

func (m machine) says(out, want string) {
	m.t.Helper()
	if !strings.Contains(out, want) {
		m.t.Errorf("no %q in\n%s", want, out)
	}
}

func (m machine) gone(names ...string) {
	m.t.Helper()
	for _, name := range names {
		if _, err := os.Lstat(m.at(name)); !os.IsNotExist(err) {
			m.t.Errorf("%s is still there: %v", name, err)
		}
	}
}

const undrained = "var/lib/misc/cistern.undrained"

func TestRemoveThenPurge(t *testing.T) {
	m := newMachine(t)
	m.tool("cistern", `echo "backlog  40 records"`)
	m.says(m.run("prerm", "remove"), "not at the centre: 40 records")
	m.run("postrm", "remove")
	out := m.run("postrm", "purge")
	m.says(out, "deleting records that are not at the centre: 40 records")
	m.says(out, "etc/cistern: site.key")
	m.gone("var/lib/cistern", "etc/cistern", undrained)
	m.run("postrm", "purge") // again
}

func TestRemoveWithNothingToLose(t *testing.T) {
	m := newMachine(t)
	m.says(m.run("prerm", "remove"), "unknown: the agent was not running")
	m.tool("cistern", `echo "backlog  none"`)
	if out := m.run("prerm", "remove"); out != "" {
		t.Errorf("said: %s", out)
	}
	m.gone(undrained)
	m.put(undrained, "x")
	if out := m.run("prerm", "upgrade", "2.0"); out != "" {
		t.Errorf("an upgrade: %s", out)
	}
}

// The service's folder is the service's: root must not write where it leads.
func TestRemoveFollowsNoLinkOfTheService(t *testing.T) {
	m := newMachine(t)
	m.put("shadow", "root")
	m.ok(os.Symlink(m.at("shadow"), m.at("var/lib/cistern/undrained")))
	m.run("prerm", "remove")
	if b, err := os.ReadFile(m.at("shadow")); err != nil || string(b) != "root" {
		t.Errorf("written through a link: %q, %v", b, err)
	}
}

// A full disk, a data folder that is a card's: the package still goes.
func TestWhatCantBeWrittenOrDeleted(t *testing.T) {
	m := newMachine(t)
	m.ok(os.RemoveAll(m.at("var/lib/misc"))) // as good as full
	m.says(m.run("prerm", "remove"), "not at the centre")
	m.tool("rm", `case "$*" in -f*) exec /bin/rm "$@" ;; esac; echo "rm: Device or resource busy" >&2; exit 1`)
	m.says(m.run("postrm", "purge"), "var/lib/cistern is not gone whole")
}
