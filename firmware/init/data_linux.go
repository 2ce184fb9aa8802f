package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"cistern/firmware/init/card"
	"cistern/firmware/init/keep"
	"cistern/firmware/machine"
	"cistern/firmware/slot"
)

// cardMax is how long a card may take to appear: a USB reader behind a hub
// needs some seconds.
const cardMax = 60 * time.Second

// lookEvery is how often it is looked for. The kernel could tell, but only here
// and only once.
const lookEvery = 100 * time.Millisecond

// findCard waits for a disk with our partitions.
func findCard(say func(string, ...any)) (string, error) {
	for began := sinceBoot(); ; time.Sleep(lookEvery) {
		device, others, err := card.Find("/")
		if err == nil {
			for _, o := range others {
				say("card: %s is one of Cistern's too and is not used; remove it if that is wrong", o)
			}
			return device, nil
		}
		if sinceBoot()-began > cardMax {
			return "", err
		}
	}
}

// data is the data partition once it is mounted.
type data struct {
	machine.Data
	mounted bool
}

// errPerson is found in the error of what only a person can put right.
var errPerson = errors.New("the agent is not started")

// mountData checks, grows and mounts the data partition.
func (s *system) mountData(disk *slot.File) (data, error) {
	device := card.Partition(s.device, slot.DataPartition)
	d := data{Data: machine.Data{Device: device}}
	kind, err := card.Identify(disk)
	if err != nil {
		return d, fmt.Errorf("%w: %w. Nothing is ever formatted here: write the card anew with the image, or put the right one in", err, errPerson)
	}
	d.Type = string(kind)
	if kind == card.Ext4 {
		v := s.check(device)
		if d.Fsck = v.Said; !v.Mount {
			return d, fmt.Errorf("%s %s: %w. %s", device, v.Said, errPerson, v.Do)
		}
		s.console.say("data: %s is %s", device, v.Said)
	} else {
		d.Fsck = "left to F2FS itself, which recovers when it is mounted"
	}
	// A large card's file system is grown by writing a part of each of its groups,
	// and F2FS recovers while it is mounted: that may take as long as a check.
	s.watch.allow(keep.CheckMax)
	defer s.watch.allow(keep.BootMax)
	part, larger, err := card.Grow(disk, s.device)
	if err != nil { // it is as large as it was; that can be lived with
		s.console.say("data: not grown: %v", err)
	} else if larger {
		s.console.say("data: its partition has %d MiB now", part.Bytes>>20)
	}
	const flags = unix.MS_NOATIME | unix.MS_LAZYTIME | unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC
	if err := unix.Mount(device, dataDir, string(kind), flags, card.Options(kind)); err != nil {
		return d, fmt.Errorf("mounting %s as %s: %w: %w. The lines of the kernel above say more", device, kind, err, errPerson)
	}
	d.mounted = true
	s.fill(&d, kind, part)
	return d, nil
}

// fill makes the file system fill its partition.
func (s *system) fill(d *data, kind card.Kind, part slot.Partition) {
	d.Bytes = part.Bytes
	if kind != card.Ext4 || part.Bytes == 0 {
		return // F2FS can't be grown while it is mounted
	}
	grown, bytes, err := card.GrowFS(dataDir, part)
	switch {
	case err != nil:
		s.console.say("data: %v; it goes on with the size it has", err)
	case grown:
		s.console.say("data: grown to %d MiB", bytes>>20)
		fallthrough
	default:
		d.Bytes = bytes
	}
}

// check runs e2fsck and reads its verdict.
func (s *system) check(device string) card.Verdict {
	s.watch.allow(keep.CheckMax)
	out, in, err := os.Pipe()
	if err != nil {
		return card.Verdict{Said: err.Error()}
	}
	defer out.Close()
	// -p: repair what can be without leaving anything out. Nothing is asked.
	pid, end, err := s.children.start(fsckProgram, []string{"-p", device}, []string{"E2FSCK_CONFIG=" + fsckConfig}, []*os.File{in, in, in}, nil)
	in.Close()
	if err != nil {
		return card.Verdict{Said: "could not be checked: " + err.Error(), Do: "This image is damaged: write the card's slot anew."}
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.console.line("e2fsck: " + lines.Text())
		}
	}()
	defer func() { // its last words are what a person needs
		_ = out.SetReadDeadline(time.Now().Add(lastWordsMax))
		<-read
	}()
	select {
	case status := <-end:
		if !status.Exited() {
			return card.Judge(-int(status.Signal()))
		}
		return card.Judge(status.ExitStatus())
	case <-time.After(keep.CheckMax):
		_ = unix.Kill(pid, unix.SIGKILL) // it may have ended just now
		return card.Verdict{Said: fmt.Sprintf("was not checked within %s", keep.CheckMax), Do: "The card is far too slow, or failing: copy it, and use another."}
	}
}

// folders makes what is expected on the data partition.
func folders() error {
	if err := folder(agentData, agentUser, 0o700); err != nil {
		return err
	}
	return folder(machineData, 0, 0o755)
}

// folder makes one, or gives it its owner and mode.
func folder(path string, owner int, mode os.FileMode) error {
	if err := os.MkdirAll(path, mode); err != nil {
		return err
	}
	return errors.Join(os.Chown(path, owner, owner), os.Chmod(path, mode))
}

// noteTime writes down what the clock shows, when it was set and now and then, so
// that the next boot is not before it.
func (s *system) noteTime(ctx context.Context) {
	tick := time.NewTicker(noteTimeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.stepped:
		case <-ctx.Done():
			return
		}
		if err := s.keepTime(); err != nil {
			s.console.say("clock: %v", err)
		}
	}
}

// noteTimeEvery is a write of one page per hour.
const noteTimeEvery = time.Hour

var clockFile = filepath.Join(machineData, "clock")
