//go:build deb

package main

import (
	"strings"
	"testing"

	"cistern/cross/vm"
)

// The ways of the commands in the guest.
const (
	etc     = "/etc/cistern"
	install = "dpkg --force-unsafe-io -i /root/"
	status  = "cistern status --config /etc/cistern/cistern.toml"
	mainPID = "systemctl show -P MainPID cistern"
)

// TestInDebian lives through a package's life on a Debian for arm64 with systemd:
// installed, started, configured, upgraded, hung, removed, installed again, purged.
// The records that were confirmed are there until the purge, which says so.
func TestInDebian(t *testing.T) {
	t.Parallel()
	g := startGuest(t)
	steps := []struct {
		name string
		do   func(*guest)
	}{
		{"install", installed},
		{"confined", confined},
		{"unit", wellWritten},
		{"configure", configured},
		{"upgrade", upgraded},
		{"watchdog", watched},
		{"gpio", withGPIO},
		{"remove", removed},
		{"install again", back},
		{"purge", purged},
	}
	for _, s := range steps {
		ok := t.Run(s.name, func(t *testing.T) {
			g.t = t
			s.do(g)
		})
		if g.t = t; !ok {
			t.Fatalf("after a step that failed the next ones tell nothing\n%s", g.vm.Tail())
		}
	}
	_, _ = g.try("systemctl poweroff") // the shell may go before it can say that it went well
	end, err := g.vm.AwaitEnd(within(t, stepMax))
	must(t, err)
	if end != vm.PowerOff {
		t.Errorf("the machine ended: %s", end)
	}
}

// first and second are how many records are published before and after the upgrade.
const first, second = 20, 20

var password string // of the user press-7

// installed: started and enabled at once, and it says how it is.
func installed(g *guest) {
	g.run(install + "older.deb")
	g.has("systemctl is-active cistern; systemctl is-enabled cistern", "active\nenabled")
	g.has("cistern version", "cistern "+older)
	g.has(status, "backlog")
	g.has("stat -c '%U:%G %a %n' /etc/cistern /etc/cistern/cistern.toml /var/lib/cistern /var/lib/cistern/cistern.sock",
		"cistern:cistern 750 /etc/cistern\n", "cistern:cistern 750 /var/lib/cistern\n", "cistern:cistern 600 /var/lib/cistern/cistern.sock\n")
}

// confined: it runs as its user, without a capability, behind a filter.
func confined(g *guest) {
	g.has("pid=$("+mainPID+"); stat -c %U /proc/$pid; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/$pid/status",
		"cistern\n", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2")
	g.has("pid=$("+mainPID+"); grep -E ' (/|/etc|/usr) ' /proc/$pid/mountinfo", " ro,")
	g.refused("test -e /proc/$(" + mainPID + ")/root/dev/vda")
}

// wellWritten: systemd finds nothing to complain about.
func wellWritten(g *guest) {
	if out := g.run("systemd-analyze verify --man=no cistern.service"); out != "" {
		g.t.Errorf("systemd-analyze verify: %s", out)
	}
	out := g.has("systemd-analyze security --no-pager cistern.service | tail -1", "Overall exposure level for cistern.service: ")
	if _, level, _ := strings.Cut(out, ": "); !strings.HasPrefix(level, "1.") {
		g.t.Errorf("systemd judges the service: %s", out)
	}
}

// configured: a listener with users, made by root and read by the service.
func configured(g *guest) {
	password = strings.TrimSpace(g.run("cistern user add press-7 --generate --file " + etc + "/users"))
	g.run("cistern site init --key " + etc + "/site.key")
	g.has("stat -c '%U %a' "+etc+"/users "+etc+"/site.key", "cistern 600\ncistern 600\n")
	g.run("cat >>" + etc + `/cistern.toml <<'END'
[[mqtt.listener]]
address = ":1883"
[mqtt]
password_file = "users"
END
cistern config check ` + etc + `/cistern.toml
systemctl restart cistern`)
	g.publish(password, 0, first)
	g.stored(first)
	g.has(status, "backlog  20 records")
}

// upgraded: another version, the same records, the same configuration.
func upgraded(g *guest) {
	before := g.run(mainPID + "; sha256sum " + etc + "/*")
	g.run(install + "newer.deb")
	g.has("dpkg-query -W cistern; cistern version; systemctl is-active cistern", newerHere, newer, "\nactive")
	if after := g.run("sha256sum " + etc + "/*"); !strings.HasSuffix(before, after) {
		g.t.Errorf("the configuration was\n%sand is\n%s", before, after)
	}
	if pid := g.run(mainPID); strings.HasPrefix(before, pid) {
		g.t.Errorf("the old agent still runs: %s", pid)
	}
	g.has(status+" --json", `"version": "`+newer)
	g.stored(first)
	g.publish(password, first, first+second)
	g.stored(first + second)
}

// watched: an agent that hangs is ended for want of signs of life, and the next one
// has everything.
func watched(g *guest) {
	g.run(`mkdir -p /run/systemd/system/cistern.service.d
printf '[Service]\nWatchdogSec=12\nTimeoutAbortSec=3\n' >/run/systemd/system/cistern.service.d/test.conf
systemctl daemon-reload
systemctl restart cistern`)
	// Alive it stays, for longer than that.
	g.run("pid=$(" + mainPID + "); sleep 16; test $pid = $(" + mainPID + ")")
	g.run(`pid=$(` + mainPID + `)
kill -STOP $pid
while [ $(` + mainPID + `) = $pid ] || ! systemctl is-active --quiet cistern; do sleep 0.5; done`)
	g.run("test $(systemctl show -P NRestarts cistern) = 1")
	g.has("journalctl -u cistern -t systemd -n 50 --no-pager -o cat", "Watchdog timeout")
	g.stored(first + second)
	g.run("rm -r /run/systemd/system/cistern.service.d; systemctl daemon-reload")
}

// withGPIO: the service reaches a GPIO chip with the drop-in, and only with it.
func withGPIO(g *guest) {
	const opens = `mkdir -p /run/systemd/system/cistern.service.d
printf '[Service]\nExecStartPre=/bin/bash -c "exec 3<>/dev/gpiochip0"\nRestart=no\n' >/run/systemd/system/cistern.service.d/test.conf
printf 'g gpio - -\n' >/run/gpio.conf && systemd-sysusers /run/gpio.conf
chgrp gpio /dev/gpiochip0 && chmod 0660 /dev/gpiochip0
systemctl daemon-reload
`
	g.refused(opens + "systemctl restart cistern")
	g.run(`mkdir -p /etc/systemd/system/cistern.service.d
cp /usr/share/doc/cistern/examples/gpio.conf /etc/systemd/system/cistern.service.d/
systemctl daemon-reload && systemctl restart cistern`)
	g.run("test -c /proc/$(" + mainPID + ")/root/dev/gpiochip0")
	g.stored(first + second)
	g.run("rm -r /run/systemd/system/cistern.service.d /etc/systemd/system/cistern.service.d; systemctl daemon-reload")
}

// removed: the program is gone; records, configuration and secrets stay, and what
// is not at the centre is said.
func removed(g *guest) {
	g.has("dpkg -r cistern", "records here that are not at the centre: 40 records", "they stay in /var/lib/cistern")
	g.refused("pidof cistern")
	g.refused("test -e /usr/bin/cistern")
	g.has("ls "+etc, "cistern.toml", "site.key", "users")
	g.has("cat /var/lib/misc/cistern.undrained", "40 records")
}

// back: installed again, everything is as it was.
func back(g *guest) {
	g.run(install + "newer.deb")
	g.has("systemctl is-active cistern", "active")
	g.stored(first + second)
	g.publish(password, first+second, first+second+1)
	g.stored(first + second + 1)
}

// purged: nothing is left but the user, and what was deleted was said.
func purged(g *guest) {
	g.has("dpkg -P cistern", "deleting records that are not at the centre: 41 records", "deleting /var/lib/cistern: ", "deleting /etc/cistern: ", "site.key")
	g.run("test ! -e " + etc + " && test ! -e /var/lib/cistern && test ! -e /var/lib/misc/cistern.undrained && test ! -e /lib/systemd/system/cistern.service")
	if out := g.run("find /etc/systemd /var/lib/systemd /usr -xdev -name '*cistern*'; systemctl --failed --plain --no-legend"); out != "" {
		g.t.Errorf("left behind: %s", out)
	}
}
