package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"cistern/firmware/init/card"
	"cistern/firmware/init/clock"
	"cistern/firmware/init/lan"
	"cistern/firmware/init/trial"
	"cistern/firmware/machine"
	"cistern/firmware/slot"
)

// Where things are.
const (
	agentProgram  = "/bin/cistern"
	fsckProgram   = "/sbin/e2fsck"
	fsckConfig    = "/etc/e2fsck.conf"
	certificates  = "/etc/ssl/certs/ca-certificates.crt"
	releaseFile   = "/etc/cistern/" + slot.ReleaseFile
	publicFile    = "/etc/cistern/" + slot.PublicFile
	dataDir       = "/data"
	agentData     = "/data/cistern"
	machineData   = "/data/machine"
	runDir        = "/run/cistern"
	configDir     = runDir + "/etc"
	agentTemp     = runDir + "/tmp"
	logDir        = runDir + "/log"
	agentLog      = logDir + "/agent.log"
	notifySocket  = runDir + "/notify.sock"
	machineSocket = runDir + "/machine.sock"
	configFile    = configDir + "/cistern.toml"
	overlayFile   = configDir + "/gateway.toml"
)

// agentUser is the agent's user and group.
const agentUser = 990

// system is what the steps of a boot leave for each other.
type system struct {
	options  options
	release  slot.Release
	console  *console
	children *children
	watch    *watch
	device   string // of the card
	config   machine.Config
	hostname string
	data     data
	clock    *clock.Keeper
	box      *box
	agent    *agent
	ends     chan ending
	stepped  chan struct{} // servers have confirmed the clock

	lan atomic.Pointer[lan.Settings]
}

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: runs as the first process of a Cistern image only; to try an image: make qemu")
		os.Exit(2)
	}
	// An end of this process would be a kernel panic. Whatever happens here, the
	// machine restarts, and a slot on trial is not booted again.
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(os.Stderr, "cistern: this is a bug in init, please report it: %v\n%s", r, debug.Stack())
		}
		unix.Sync()
		_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	}()
	s := &system{ends: make(chan ending, 1), stepped: make(chan struct{}, 1)}
	s.clock = clock.New(func(f string, a ...any) { s.console.say(f, a...) }, func() { signalOnce(s.stepped) })
	failed := s.prepare()
	if err := s.boot(errors.Join(failed...)); err != nil {
		s.standStill(err)
	}
}

// prepare makes what everything else needs, and tells what of it failed.
func (s *system) prepare() (failed []error) {
	failed = append(failed, mounts()...)
	s.console = newConsole(os.Stderr) // the kernel opened /dev/console as it
	text, err := os.ReadFile(releaseFile)
	if err == nil {
		s.release, err = slot.ParseRelease(text)
	}
	if err != nil {
		failed = append(failed, err)
	}
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		failed = append(failed, err)
	}
	var wrong []error
	s.options, wrong = parseOptions(string(cmdline))
	s.console.say("%s (%.12s) for %s", s.release.Version, s.release.Commit, s.options.board)
	for _, w := range append(failed, wrong...) {
		s.console.say("%v", w)
	}
	if err := harden(); err != nil {
		s.console.say("%v", err)
	}
	s.children = newChildren()
	s.watch = newWatch(s.options.watchdog, s.console.say)
	return failed
}

// boot goes through the steps, and then waits for an order to end.
func (s *system) boot(failed error) error {
	if failed != nil {
		return fmt.Errorf("this slot's system is damaged: %w", failed)
	}
	s.floor(time.Time{})
	device, err := findCard(s.console.say)
	if err != nil {
		return err
	}
	s.device = device
	disk, err := slot.Open(device)
	if err != nil {
		return err
	}
	s.operatorsFiles(disk)
	run, err := running("/", s.options, disk, s.release)
	if err != nil {
		s.console.say("slot: %v", err)
	}
	s.console.say("card: %s, slot %s", device, run.Slot)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.network(ctx) // also without data: so that it can be seen from afar that it lives
	s.data, err = s.mountData(disk)
	if err == nil {
		err = folders()
	}
	if err != nil {
		return errors.Join(err, onTrial(run))
	}
	if kept, err := os.ReadFile(clockFile); err == nil {
		at, _ := time.Parse(time.RFC3339, strings.TrimSpace(string(kept))) // none is no floor
		s.floor(at)
	}
	s.makeBox(disk, run)
	if err := s.serve(ctx); err != nil {
		return errors.Join(err, onTrial(run))
	}
	return nil
}

// errTrial is in the error of a boot that was on trial.
var errTrial = errors.New("this slot is on trial")

func onTrial(r trial.Running) error {
	if r.OnTrial() {
		return errTrial
	}
	return nil
}

// operatorsFiles copies the configuration and takes our part out of it.
func (s *system) operatorsFiles(disk *slot.File) {
	n, err := card.CopyConfig(disk, configDir, agentUser, agentUser)
	if err != nil {
		s.console.say("configuration: %v", err)
	}
	s.console.say("configuration: %d files", n)
	s.config, err = machine.Load(configFile, overlayFile)
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			s.console.say("configuration: %s; its default is used", line)
		}
	}
	s.hostname = hostname("/", s.config)
	if err := unix.Sethostname([]byte(s.hostname)); err != nil {
		s.console.say("hostname: %v", err)
	}
	if err := os.WriteFile("/etc/hosts", lan.Hosts(s.hostname), 0o644); err != nil {
		s.console.say("hostname: %v", err)
	}
	s.console.say("hostname: %s", s.hostname)
}

// floor makes the clock show at least when the image was built and what was
// noted last.
func (s *system) floor(kept time.Time) {
	info, err := os.Stat(releaseFile)
	if err != nil {
		return // said before
	}
	s.clock.Raise(info.ModTime(), kept)
}

func (s *system) keepTime() error {
	return trial.WriteFile(clockFile, []byte(time.Now().UTC().Format(time.RFC3339)+"\n"))
}

// network begins to keep the network and the clock.
func (s *system) network(ctx context.Context) {
	go s.clock.Run(ctx)
	s.lan.Store(&lan.Settings{})
	k := &lan.Keeper{Config: s.config, Hostname: s.hostname, Say: s.console.say, Changed: s.netChanged}
	go func() {
		for { // what ends it is the kernel's, and may pass
			err := k.Run(ctx)
			if ctx.Err() != nil {
				return
			}
			s.console.say("%v; beginning anew", err)
			select {
			case <-time.After(5 * time.Second):
			case <-ctx.Done():
			}
		}
	}()
}

func (s *system) netChanged(n lan.Settings) {
	s.lan.Store(&n)
	if err := os.WriteFile("/etc/resolv.conf", lan.ResolvConf(n), 0o644); err != nil {
		s.console.say("network: %v", err)
	}
	if n.Address.IsValid() {
		s.clock.Use(n.NTP)
	}
}

// Where a boot can't go on.
const (
	sayAgainEvery = time.Minute
	// againAfter: a card that was not found may be after a restart.
	againAfter = 5 * time.Minute
	forever    = 100 * 365 * 24 * time.Hour
)

// standStill is the end of a boot without an agent. A slot on trial restarts
// into the other one at once; a card that is not there may be after a restart;
// everything else waits for a person, with the reason said again and again.
func (s *system) standStill(err error) {
	s.watch.allow(forever)
	s.console.say("can't go on: %v", err)
	if errors.Is(err, errTrial) {
		s.finish(ending{why: "on trial"})
		return
	}
	for began := sinceBoot(); ; {
		time.Sleep(sayAgainEvery)
		s.console.say("can't go on: %v", err)
		if sinceBoot()-began > againAfter && !errors.Is(err, errPerson) {
			s.finish(ending{})
			return
		}
	}
}

// give lets the agent have the devices of a board: GPIO lines and LEDs. They may
// appear late, so this is done before each start. Boards without them are fine.
func give() {
	for _, pattern := range []string{"/dev/gpiochip*", "/sys/class/leds/*/brightness", "/sys/class/leds/*/trigger"} {
		names, _ := filepath.Glob(pattern) // the pattern is fine
		for _, name := range names {
			if os.Chown(name, 0, agentUser) == nil {
				_ = os.Chmod(name, 0o660) // the agent says what it can't use
			}
		}
	}
}
